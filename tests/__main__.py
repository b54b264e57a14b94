"""The tests, run by trial: C{python -m tests [-j N] [--unit|--integration|--workers|--traffic] [NAME ...]}.

It is C{trial [-j N] NAME ...}, with all tests as the default.

  - C{--unit} selects the tests that open no socket, C{--integration} the others, C{--workers} the integration tests to
    which several workers can make a difference, and C{--traffic} those that send messages of all kinds through a proxy.
  - With C{-j N}, N processes run the tests, after those that measure time.
  - C{--durations N} prints the N slowest modules and tests at the end.
  - Under C{EGRESS_NO_SKIP=1} a skipped test fails the run.
  - C{passed failed skipped} are appended to the file that C{EGRESS_TEST_RESULTS} names.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import TestCase, TestSuite

import attrs
from twisted.trial.reporter import TextReporter
from twisted.trial.runner import TestLoader, TrialRunner

from tests import durations

INTEGRATION = "integration"


def unit_names() -> list[str]:
    """Return every test package and module except the integration tests."""
    here = Path(__file__).parent
    packages = [path.parent.name for path in here.glob("*/__init__.py") if path.parent.name != INTEGRATION]
    modules = [path.stem for path in here.glob("test_*.py")]
    return [f"tests.{name}" for name in sorted(packages + modules)]


# In a worker, deciding, relaying, resolving and connecting are the same as in a single process.  Tests
# that need one process or no proxy, and tests that set the number of workers, are therefore excluded.
# What remains is what several processes do together: they start, stop, reload and restart, share the listeners, the CA,
# the audit log, its store, the policy and the metrics, and each counts its own failed passwords.
ALIKE = frozenset(
    {
        *("adapters", "approvals", "authorization", "egressauthz", "explain", "learning", "parity", "policy"),
        *("dns_order", "dns_servers", "origin_faults", "origin_terms", "origin_tls", "upstream", "upstream_tls"),
        *("bulk", "client_certificates", "streaming", "tunnels"),
        *(
            "http2",
            "http2_bulk",
            "http2_listener",
            "http2_origins",
            "messages",
            "notifications",
            "scorecard",
            "socks",
            "splice",
            "terms",
            "tutorial",
        ),
        "upgrades",
        *("body_memory", "fairness", "first_denial", "limits", "run", "run_clients", "shared_work", "soak", "workers"),
        *("browsers", "completion", "doctor", "existing_settings", "grpc", "init", "isolate", "isolate_sandbox"),
        *(
            "activation",
            "autobahn",
            "audit_spool",
            "browser_http2",
            "console",
            "container",
            "content",
            "full_disk",
            "github_action",
            "node_example",
            "postgresql",
            "prometheus",
            "proxy_protocol",
            "replicas",
            "systemd",
            "trust",
            "undici",
        ),
    }
)

# What a proxy does with messages, for the compiled build: each of its compiled modules runs in some of them.
TRAFFIC = (
    *("authorization", "connection_auth", "content", "grpc", "http2", "http2_listener", "http2_origins", "limits"),
    *("messages", "origin_faults", "origin_terms", "origin_tls", "scorecard", "socks", "splice.EpollTests"),
    *("start.BuildTests", "streaming", "terms", "tunnels", "upgrades", "upstream"),
)

# They measure times and need both cores, so each runs separately.
MEASURING = frozenset({"fairness", "soak"})


def integration_names() -> list[str]:
    """Return the integration tests."""
    return [f"tests.{INTEGRATION}"]


def workers_names() -> list[str]:
    """Return the integration tests that are relevant to several workers behind each C{twistd}."""
    modules = sorted(path.stem for path in (Path(__file__).parent / INTEGRATION).glob("test_*.py"))
    return [f"tests.{INTEGRATION}.{name}" for name in modules if name.removeprefix("test_") not in ALIKE]


def traffic_names() -> list[str]:
    """Return the integration tests that send messages of all kinds."""
    return [f"tests.{INTEGRATION}.test_{name}" for name in TRAFFIC]


GROUPS = {"unit": unit_names, "integration": integration_names, "workers": workers_names, "traffic": traffic_names}


def is_measuring(test: TestCase) -> bool:
    """Return whether a test belongs to a module that measures time."""
    return type(test).__module__.rpartition(".")[2].removeprefix("test_") in MEASURING


def cases_in(suite: Any) -> Iterator[Any]:
    """Return the test cases of a suite."""
    for each in suite:
        if isinstance(each, TestSuite):
            yield from cases_in(each)
        else:
            yield each


# The last line that trial prints, for example "FAILED (skips=1, failures=2, successes=7)".
SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \((?P<counts>.*)\))?$", re.MULTILINE)


@attrs.frozen
class Result:
    """The result of a run.

    @ivar status: the exit status of the run.
    """

    status: int
    passed: int
    failed: int
    skipped: int


def run_here(suite: TestSuite) -> Result:
    """Run tests in this process."""
    result: Any = TrialRunner(TextReporter, workingDirectory="_trial_temp").run(suite)
    return Result(
        0 if result.wasSuccessful() else 1,
        result.successes + len(result.expectedFailures),
        len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses),
        len(result.skips),
    )


def run_in_processes(number: int, tests: list[TestCase]) -> Result:
    """Run tests in several processes.

    The command line is the public interface to that, and returns the counts only in its output.
    """
    command = [sys.executable, "-u", "-m", "twisted.trial", "--jobs", str(number), "--reporter", "text"]
    output = bytearray()
    with subprocess.Popen([*command, *(test.id() for test in tests)], stdout=subprocess.PIPE, bufsize=0) as trial:
        assert trial.stdout is not None
        while piece := trial.stdout.read(1 << 16):
            output += piece
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    counts: dict[str, int] = {}
    for found in SUMMARY.finditer(output.decode("utf-8", "replace")):
        counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", found["counts"] or "")}
    failed = sum(counts.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
    passed = counts.get("successes", 0) + counts.get("expectedFailures", 0)
    return Result(trial.returncode, passed, failed, counts.get("skips", 0))


def run_measured(arguments: list[str], number: int) -> int:
    """Run the tests in a process that records their durations, and print the longest ones.

    @return: the exit status.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "durations"
        file.touch()
        variables = {**os.environ, durations.VARIABLE: str(file)}
        status = subprocess.run([sys.executable, "-m", "tests", *arguments], env=variables, check=False).returncode
        print(f"\n{durations.report(file, number)}")
    return status


def main(arguments: list[str]) -> int:
    """Run the tests.

    @return: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m tests", description="Run the tests.")
    parser.add_argument("-j", dest="processes", type=int, default=1, metavar="N", help="the number of processes")
    for group in GROUPS:
        parser.add_argument(f"--{group}", dest="groups", action="append_const", const=group, default=[])
    parser.add_argument("--durations", type=int, metavar="N", help="print the N slowest modules and tests")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a package, module, class or method")
    options = parser.parse_args(arguments)
    if options.durations is not None and durations.VARIABLE not in os.environ:
        return run_measured(arguments, options.durations)
    names = options.names + [name for group in options.groups for name in GROUPS[group]()]
    suite = TestLoader().loadByNames(names or ["tests"], recurse=True)
    tests = list(cases_in(suite))
    others = [test for test in tests if not is_measuring(test)]
    status = 0
    if options.processes == 1 or not others:
        result = run_here(suite)
    else:
        if measuring := [test.id() for test in tests if is_measuring(test)]:
            # In a separate process: a reactor runs once.
            status = subprocess.run([sys.executable, "-m", "tests", *measuring], check=False).returncode
        result = run_in_processes(options.processes, others)
    report = os.environ.get("EGRESS_TEST_RESULTS")
    if report:
        with open(report, "a", encoding="ascii") as file:
            file.write(f"{result.passed} {result.failed} {result.skipped}\n")
    if result.skipped and os.environ.get("EGRESS_NO_SKIP") == "1":
        print(f"\n{result.skipped} tests were skipped, and EGRESS_NO_SKIP is set: the run has failed")
        return 1
    return status or result.status or (0 if result.passed else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
