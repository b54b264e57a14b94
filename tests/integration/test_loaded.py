"""A program in a fork behaves like one of a new interpreter (L{tests.integration.loaded})."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.integration.base import IntegrationTestCase, children, plugin, proxy_environment, run_egress
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


class CommandTests(IntegrationTestCase):
    """A command in a fork."""

    def run_in_both(self, *arguments: str, **env: str) -> CompletedProcess[str]:
        """Run a command in a new interpreter, and in a fork: the result is the same."""
        new = subprocess.run(
            [sys.executable, "-m", "egress", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.directory,
            env=proxy_environment(**env),
            check=False,
        )
        fork = run_egress(*arguments, directory=self.directory, **env)
        for done in (fork, new):
            done.stdout = re.sub(r" +\d+\.\d ms", " some time", done.stdout)
        self.assertEqual(vars(fork), vars(new))
        return fork

    def test_output(self) -> None:
        self.write("policy.toml", 'version = 1\ndefault = "deny"\n')
        done = self.run_in_both("explain", "--policy", "policy.toml", "GET", "https://a.test/")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("deny", done.stdout)

    def test_errors(self) -> None:
        done = self.run_in_both("explain", "GET", "https://a.test/", EGRESS_POLICY="missing.toml")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")
        self.assertIn("missing.toml", done.stderr)

    def test_a_wrong_command_line(self) -> None:
        done = self.run_in_both("clients")
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage: egress", done.stderr)

    def test_input(self) -> None:
        """The input of each fork is its own, and so are its random bytes."""
        salts = set()
        for password in ("first", "second"):
            line = run_egress("client", "ann", stdin=f"{password}\n").stdout
            name, scheme, n, r, p, salt, digest = line.strip().split(":")
            self.assertEqual((name, scheme), ("ann", "scrypt"))
            found = hashlib.scrypt(
                password.encode(),
                salt=bytes.fromhex(salt),
                n=int(n),
                r=int(r),
                p=int(p),
                maxmem=1 << 26,
                dklen=len(digest) // 2,
            )
            self.assertEqual(found.hex(), digest)
            salts.add(salt)
        self.assertEqual(len(salts), 2)


class ForkTestCase(IntegrationTestCase):
    """Base: proxies in new interpreters and in forks."""

    def working(self) -> list[str]:
        """Return the options of a proxy that starts."""
        policy = self.write("policy.toml", 'version = 1\ndefault = "deny"\n')
        return ["--ca-dir", str(self.directory / "ca"), "--policy", str(policy)]

    def descriptors(self, pid: int) -> list[str]:
        """Return what the descriptors of a process are."""
        # What the numbers stand for differs: sockets and pipes have inode numbers.
        found = [os.readlink(each).partition("[")[0] for each in Path(f"/proc/{pid}/fd").iterdir()]
        return sorted(each.replace("/fork/", "/new/") for each in found)

    def wait_for_same_descriptors(self, new: int, fork: int) -> None:
        """Wait until two processes have the same descriptors: they start to listen at different times."""
        self.wait_until(lambda: self.descriptors(new) == self.descriptors(fork), "they have the same descriptors")


class ForkTests(ForkTestCase):
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
        self.wait_for_same_descriptors(new.popen.pid, fork.popen.pid)
        for process in (new, fork):
            self.assertEqual(process.stop(), -signal.SIGTERM)
            self.assertEqual(process.popen.returncode, -signal.SIGTERM)

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
        self.assertEqual(str(error), "the interpreter that forks programs ended with -9")
        self.assertEqual(self.start("next", "--help").popen.wait(20), 0)
        self.assertNotEqual(loaded_program().pid, pid)

    def test_what_is_read_before_a_program_runs(self) -> None:
        self.assertTrue(can_fork({"EGRESS_AUTHZ_URL": "", "HTTPS_PROXY": ""}))
        for name in ("PYTHONPATH", "MALLOC_ARENA_MAX", "LC_ALL"):
            self.assertFalse(can_fork({name: ""}))


class WorkerTests(ForkTestCase):
    """The workers of a proxy, which are forks, too."""

    def start(self, name: str, workers: int, *options: str, **env: str) -> Process:
        """Start a proxy with two workers.

        @param workers: the number of those that are forks.
        """
        process = Process(
            plugin("egressproxy", "--listen", "tcp:0:interface=127.0.0.1", "--workers", "2", *options),
            self.directory / name,
            "egressproxy",
            proxy_environment(**env),
            start=partial(Fork, workers=workers),
        )
        self.addCleanup(self.stop_cleanly, process)
        return process

    def start_both(self, **env: str) -> tuple[Process, Process]:
        """Start a proxy whose workers are new interpreters, and one whose workers are forks."""
        both = self.start("new", 0, *self.working(), **env), self.start("fork", 2, *self.working(), **env)
        for process in both:
            process.wait_for("listens on")
        return both

    def is_fork(self, pid: int) -> bool:
        """Return whether a process is a fork: it has the command line of the interpreter."""
        return b"loaded_program" in Path(f"/proc/{pid}/cmdline").read_bytes()

    def test_which_are_forks(self) -> None:
        """A worker that is restarted is a new interpreter."""
        proxy = self.start("one", 2, *self.working())
        proxy.wait_for("listens on")
        workers = children(proxy.popen.pid)
        self.assertEqual([self.is_fork(pid) for pid in workers], [True, True])
        os.kill(workers[0], signal.SIGKILL)
        proxy.wait_for("was killed by SIGKILL; restarting", "worker 1 started as process", "worker 2 started")

        def is_new() -> bool:
            """Until the other worker runs its program, it has the command line of its parent."""
            return [self.is_fork(pid) for pid in children(proxy.popen.pid) if pid not in workers] == [False]

        self.wait_until(is_new, "another worker in a new interpreter")

    def test_state(self) -> None:
        """Signals, limits, umask, users, directory, session, process group and descriptors."""
        both = [children(process.popen.pid) for process in self.start_both()]
        for workers in zip(*both, strict=True):
            new, fork = workers
            self.assertEqual(*([state(pid), os.getpgid(pid), os.getsid(pid)] for pid in workers))
            for name in ("limits", "cgroup"):
                self.assertEqual(*(Path(f"/proc/{pid}/{name}").read_text("ascii") for pid in workers))
            self.assertEqual(*(Path(f"/proc/{pid}/cwd").readlink() for pid in workers))
            self.wait_for_same_descriptors(new, fork)
            self.wait_for_same_numbers(new, fork)

    def wait_for_same_numbers(self, new: int, fork: int) -> None:
        """Wait until the lowest descriptors of two workers are the same: they begin to listen at different times."""

        def lowest(pid: int) -> list[int]:
            found = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
            self.assertEqual(found[:4], [0, 1, 2, 3])
            return found[:5]

        self.wait_until(lambda: lowest(new) == lowest(fork), "the lowest descriptors are the same")

    def test_environment(self) -> None:
        """A worker's own children have its environment, without the options of the proxy."""
        found = []
        for process in self.start_both(NAME="value", EGRESS_AUDIT_STORE=f"sqlite:{self.directory / 'audit.db'}"):
            (pid, *_) = self.writers(process)
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            found.append(sorted(environ.replace(b"/fork:", b"/new:").split(b"\0")))
        self.assertIn(b"NAME=value", found[0])
        self.assertFalse([each for each in found[0] if each.startswith(b"EGRESS_")])
        self.assertEqual(*found)

    def writers(self, process: Process) -> list[int]:
        """Send a request, and return the processes with which the workers write it to the store."""
        address = re.search(r"listens on ([\d.]+):(\d+)", process.output())
        assert address is not None
        with socket.create_connection((address[1], int(address[2])), 20) as client:
            client.sendall(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            self.assertIn(b" 403 ", client.recv(100))
        found: list[int] = []

        def exist() -> bool:
            """Until it runs its program, a child has the command line and the environment of its parent."""
            inner = [pid for worker in children(process.popen.pid) for pid in children(worker)]
            found[:] = [pid for pid in inner if b"writer_program" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            return bool(found)

        self.wait_until(exist, "a process that writes the store")
        return found

    def test_a_failed_start(self) -> None:
        """No fork that waits to become a worker outlives the proxy."""
        process = self.start("one", 2, "--ca-dir", "missing/ca", "--policy", "missing.toml")
        waiting = set(children(process.popen.pid))
        self.assertEqual(process.popen.wait(30), 1)
        for pid in waiting:
            self.wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the end of a fork")  # type: ignore[misc]
