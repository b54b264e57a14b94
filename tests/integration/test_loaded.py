"""A proxy in a fork behaves like one of a new interpreter (L{tests.integration.loaded})."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.integration.base import IntegrationTestCase, children, plugin, proxy_environment
from tests.integration.loaded import Fork, can_fork, loaded_program
from tests.integration.processes import Process

# Of /proc/PID/status.
STATE = re.compile(r"^(Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|ShdPnd):[ \t]*(.*)", re.MULTILINE)
SIGNALS = re.compile(r"^(Sig(?:Pnd|Blk|Ign|Cgt)):\s+(\w+)", re.MULTILINE)
# The C library uses signals 32 and 33 for threads, once there are any.
OWN_SIGNALS = (1 << 31) - 1


def state(pid: int) -> dict[str, str | int]:
    """Return what a process has from the one that started it."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    masks = {name: int(mask, 16) & OWN_SIGNALS for name, mask in SIGNALS.findall(text)}
    return {**dict(STATE.findall(text)), **masks}


class ForkTests(IntegrationTestCase):
    """The process of a fork."""

    def start(self, name: str, *options: str, forked: bool = True, **env: Any) -> Process:
        """Start a proxy.

        @param name: of its working directory.
        """
        process = Process(
            plugin("egressproxy", "--listen", "tcp:0:interface=127.0.0.1", *options),
            self.directory / name,
            "egressproxy",
            proxy_environment(**env),
            start=Fork if forked else None,
        )
        self.addCleanup(process.stop)
        return process

    def start_both(self, *options: str, **env: Any) -> tuple[Process, Process]:
        """Start a proxy in a new interpreter, and one in a fork."""
        return self.start("new", *options, forked=False, **env), self.start("fork", *options, **env)

    def working(self) -> list[str]:
        """Return the options of a proxy that starts."""
        policy = self.write("policy.toml", 'version = 1\ndefault = "deny"\n')
        return ["--ca-dir", str(self.directory / "ca"), "--policy", str(policy)]

    def test_a_failed_start(self) -> None:
        """Arguments, environment, directory, output and exit status."""
        both = self.start_both("--ca-dir", "missing/ca", EGRESS_POLICY="missing.toml")
        (status, output), found = [(process.popen.wait(30), process.output()) for process in both]
        self.assertEqual(status, 1)
        self.assertIn("missing.toml", output)
        self.assertEqual(found, (status, output))

    def test_descriptors(self) -> None:
        new, fork = self.start_both("--workers", "1", *self.working())
        for process in (new, fork):
            process.wait_for("listens on")
        # A start closes its pipes after that.
        self.wait_until(lambda: self.descriptors(new) == self.descriptors(fork), "they have the same descriptors")
        for process in (new, fork):
            self.assertEqual(process.stop(), -signal.SIGTERM)
            self.assertEqual(process.popen.returncode, -signal.SIGTERM)

    def descriptors(self, process: Process) -> list[str]:
        """Return what the descriptors of a process are."""
        # What the numbers stand for differs: sockets and pipes have inode numbers.
        found = [os.readlink(each).partition("[")[0] for each in Path(f"/proc/{process.popen.pid}/fd").iterdir()]
        return sorted(each.replace("/fork/", "/new/") for each in found)

    def test_state(self) -> None:
        """Signals, limits, umask, users, directory, session and process group."""
        found = []
        for process in self.start_both("--workers", "1", *self.working()):
            process.wait_for("listens on")
            pid = process.popen.pid
            here = Path(f"/proc/{pid}")
            self.assertEqual((here / "cwd").readlink(), process.log.parent.resolve())
            found.append((state(pid), (here / "limits").read_text("ascii"), os.getpgid(pid), os.getsid(pid)))
        self.assertIn("SigIgn", found[0][0])
        self.assertEqual(*found)

    def test_children(self) -> None:
        """They have its environment and its signals."""
        found = []
        for process in self.start_both("--workers", "2", *self.working(), EGRESS_TRACE="none"):
            process.wait_for("listens on")
            worker = children(process.popen.pid)[0]
            # The Python path begins with the working directory.
            environ = Path(f"/proc/{worker}/environ").read_bytes().replace(b"/fork:", b"/new:").split(b"\0")
            found.append((sorted(environ), state(worker)))
        self.assertIn(b"EGRESS_TRACE=none", found[0][0])
        self.assertEqual(*found)

    def test_ctrl_c(self) -> None:
        """It ends each fork, and leaves the interpreter to say how they ended."""
        fork = self.start("fork", "--workers", "1", *self.working())
        fork.wait_for("listens on")
        program = loaded_program()
        for pid in (program.pid, fork.popen.pid):
            os.kill(pid, signal.SIGINT)
        self.assertEqual(fork.popen.wait(20), -signal.SIGINT)
        self.assertFalse(program.has_ended)

    def test_waiting_for_one_that_runs(self) -> None:
        fork = self.start("fork", "--workers", "1", *self.working())
        self.assertRaises(subprocess.TimeoutExpired, fork.popen.wait, 0.01)
        self.assertIsNone(fork.popen.poll())

    def test_threads(self) -> None:
        """Several threads start proxies, and stop them."""
        found = []

        def run(number: int) -> None:
            fork = self.start(str(number), "--workers", "1", *self.working())
            fork.wait_for("listens on")
            found.append(fork.stop())

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, 4 * [-signal.SIGTERM])

    def test_the_interpreter_ends(self) -> None:
        """The status of its forks is unknown, and the next start has another one."""
        fork = Fork(plugin("egressproxy", "--help"), self.directory, self.directory / "log", proxy_environment())
        pid = loaded_program().pid
        os.kill(pid, signal.SIGKILL)
        error = self.assertRaises(AssertionError, fork.wait, 20)
        self.assertEqual(str(error), "the interpreter that forks proxies ended with -9")
        self.assertEqual(self.start("next", "--help").popen.wait(20), 0)
        self.assertNotEqual(loaded_program().pid, pid)

    def test_what_is_read_before_a_program_runs(self) -> None:
        self.assertTrue(can_fork({"EGRESS_AUTHZ_URL": "", "HTTPS_PROXY": ""}))
        for name in ("PYTHONPATH", "MALLOC_ARENA_MAX", "LC_ALL"):
            self.assertFalse(can_fork({name: ""}))
