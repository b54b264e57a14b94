"""Tests in several processes: forks of this process, which loads all tests once.

C{trial --jobs} loads the tests in each of its processes, and sends each test, its result and all log events in
messages, which it reads byte by byte: that takes about as much CPU time as the unit tests themselves.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs
from twisted.python import log
from twisted.trial.reporter import TextReporter
from twisted.trial.runner import TestLoader
from twisted.trial.unittest import TestCase

# What a reporter counts, in the order of its own summary.
_COUNTED: Final = ("skips", "expectedFailures", "failures", "errors", "unexpectedSuccesses")
# The bytes of the number of a test: a pipe keeps so few together.
_NUMBER: Final = 4


@attrs.frozen
class Result:
    """The result of a run.

    @ivar status: the exit status of the run.
    """

    status: int
    passed: int
    failed: int
    skipped: int


def result_of(counts: Counter[str], *, successful: bool = True) -> Result:
    """Return the result of a run with these counts.

    @param successful: whether nothing else has failed.
    """
    failed = counts["failures"] + counts["errors"] + counts["unexpectedSuccesses"]
    passed = counts["successes"] + counts["expectedFailures"]
    return Result(0 if successful and not failed else 1, passed, failed, counts["skips"])


def counts_of(reporter: Any) -> Counter[str]:
    """Return what a reporter has counted."""
    counts = {name: len(getattr(reporter, name)) for name in _COUNTED}
    return Counter({"run": reporter.testsRun, "successes": reporter.successes, **counts})


def tests_in(suite: Any) -> Iterator[Any]:
    """Yield the single tests of a suite."""
    try:
        inner = iter(suite)
    except TypeError:
        yield suite
    else:
        for each in inner:
            yield from tests_in(each)


class _Stream:
    """The output of a reporter.

    @ivar descriptor: what it is written to.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def write(self, text: str) -> None:
        """Write text at once."""
        os.write(self.descriptor, text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Do nothing."""


class _Fork:
    """A process that runs tests, in a directory of its own.

    @param line: it reads the numbers of its tests from there.
    @param other: the other end, which it closes.
    """

    def __init__(self, directory: Path, tests: list[Any], line: int, other: int) -> None:
        directory.mkdir()
        self._report, self._counts, self._current = (directory / name for name in ("report", "counts", "current"))
        self._pid = os.fork()
        if self._pid == 0:
            os.close(other)
            self._leave(directory, tests, line)

    def _leave(self, directory: Path, tests: list[Any], line: int) -> NoReturn:
        """Run tests, and end this process."""
        status = 1
        try:
            os.chdir(directory)
            self._run(tests, line)
            status = 0
        except BaseException:
            # Whatever it is: the frames of the caller belong to the other process.
            traceback.print_exc()
        finally:
            if "coverage" in sys.modules and (measuring := sys.modules["coverage"].Coverage.current()) is not None:
                measuring.stop()
                measuring.save()
            # The programs that tests share stop there.
            atexit._run_exitfuncs()  # noqa: SLF001
            os._exit(status)

    def _run(self, tests: list[Any], line: int) -> None:
        """Run the tests whose numbers come."""
        stream = _Stream(os.dup(sys.stdout.fileno()))
        for number, name in enumerate((os.devnull, "stdout", "stderr")):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY
            opened = os.open(name, flags)
            os.dup2(opened, number)
            os.close(opened)
        # Asynchronous tests have installed a reactor, whose descriptors all processes have.  The next import installs
        # another one.
        if sys.modules.pop("twisted.internet.reactor", None) is not None:
            del sys.modules["twisted.internet"].reactor
        # Otherwise, Twisted would keep the events until a log begins.
        log.startLoggingWithObserver(lambda event: None, setStdout=False)
        reporter = TextReporter(stream)
        current = os.open(self._current, os.O_WRONLY | os.O_CREAT)
        while data := os.read(line, _NUMBER):
            number = int.from_bytes(data, "big")
            test, tests[number] = tests[number], None
            if isinstance(test, TestCase):
                # With the reactor of this process.
                test = type(test)(test.id().rpartition(".")[2])
            os.ftruncate(current, 0)
            os.pwrite(current, test.id().encode(), 0)
            test.run(reporter)
        stream.descriptor = os.open(self._report, os.O_WRONLY | os.O_CREAT)
        if not reporter.wasSuccessful() or reporter.skips:
            reporter.done()
        self._counts.write_text(json.dumps(counts_of(reporter)), "ascii")

    def wait(self) -> Counter[str]:
        """Wait for its end, and print what failed.

        @return: what it counted.
        """
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if self._counts.exists():
            sys.stdout.write(f"\n{self._report.read_text('utf-8')}" if self._report.stat().st_size else "")
            if code == 0:
                return Counter(json.loads(self._counts.read_text("ascii")))
        test = self._current.read_text() if self._current.exists() else "no test"
        errors = self._current.with_name("stderr")
        print(f"\n[ERROR]\na process ended with status {code}, with {test}", flush=True)
        print(errors.read_text("utf-8", "replace")[-4000:] if errors.exists() else "")
        return Counter(errors=1)


def run_in_forks(number: int, names: Sequence[str]) -> Result:
    """Run tests in several processes.

    @param number: of processes.
    """
    began = time.monotonic()
    here = Path.cwd()
    # Not a TemporaryDirectory: each fork would remove it at its end.
    directory = Path(tempfile.mkdtemp(prefix="egress-trial-"))
    try:
        # Tests start programs of other users.
        directory.chmod(0o755)
        os.chdir(directory)
        tests = list(tests_in(TestLoader().loadByNames(list(names), recurse=True)))
        print(f"Running {len(tests)} tests.", flush=True)
        counts = _run_all(number, tests, directory)
    finally:
        os.chdir(here)
        shutil.rmtree(directory, ignore_errors=True)
    # Each test has run: no process has ended early.
    successful = counts["run"] == len(tests)
    result = result_of(counts, successful=successful)
    print(f"\n{'-' * 79}\nRan {counts['run']} of {len(tests)} tests in {time.monotonic() - began:.3f}s\n")
    shown = ", ".join(f"{kind}={counts[kind]}" for kind in (*_COUNTED, "successes") if counts[kind])
    print(f"{'FAILED' if result.status else 'PASSED'} ({shown})", flush=True)
    return result


def _run_all(number: int, tests: list[Any], directory: Path) -> Counter[str]:
    if threading.active_count() != 1:
        raise SystemExit("an import has started a thread, which does not survive a fork")
    # The memory of what is loaded stays common.
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    forks = [_Fork(directory / str(each), tests, reading, writing) for each in range(min(number, len(tests)))]
    os.close(reading)
    try:
        for each in range(len(tests)):
            os.write(writing, each.to_bytes(_NUMBER, "big"))
    except BrokenPipeError:
        pass  # all processes have ended, and say why
    finally:
        os.close(writing)
    counts: Counter[str] = Counter()
    for fork in forks:
        counts.update(fork.wait())
    return counts
