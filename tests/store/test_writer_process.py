"""Tests for L{egress.store.writer_process}, with processes in memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.store.writer_ipc import IGNORED
from egress.store.writer_process import ChildProcess
from tests.store.lines import FakeSocket


class _Popen:
    """A process in memory."""

    pid = 42

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.options: dict[str, Any] = {}
        self.blocked: set[Any] = set()
        self.status: int | None = None
        self.killed = False
        self.is_stuck = False

    def __call__(self, arguments: list[str], **options: Any) -> _Popen:
        self.arguments, self.options = arguments, options
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return self

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed = True

    def wait(self, seconds: float) -> int:
        if self.is_stuck or not (self.killed or self.status is not None):
            raise subprocess.TimeoutExpired("writer", seconds)
        return 0


class ChildTests(SynchronousTestCase):
    """The process has only what it needs."""

    def setUp(self) -> None:
        self.ours, self.other = FakeSocket(), FakeSocket()
        self.popen = _Popen()
        self.patch(socket, "socketpair", lambda: (self.ours, self.other))
        self.patch(subprocess, "Popen", self.popen)

    def child(self) -> ChildProcess:
        child = ChildProcess()
        self.addCleanup(os.close, child.errors)
        return child

    def test_start(self) -> None:
        self.patch(os, "environ", {"EGRESS_AUTHZ_TOKEN": "hunter2", "PGPASSFILE": "/pass"})
        child = self.child()
        self.assertEqual((child.pid, child.line), (42, self.ours))
        self.assertGreaterEqual(self.ours.options[socket.SOL_SOCKET, socket.SO_SNDBUF], 512 * 1024, "for many records")
        self.assertEqual(self.popen.arguments[:3], [sys.executable, "-m", "egress.store.writer_program"])
        options = self.popen.options
        self.assertEqual(options["env"].keys(), {"PGPASSFILE", "PYTHONPATH"})
        self.assertEqual((options["stdin"], options["stdout"]), (subprocess.DEVNULL, subprocess.DEVNULL))
        self.assertEqual(options["pass_fds"], (1_000_000,))
        self.assertLessEqual(set(IGNORED), self.popen.blocked)
        self.assertNotIn(signal.SIGTERM, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        self.assertTrue(self.other.closed, "otherwise the end of the process would not end the socket")
        self.assertRaises(OSError, os.fstat, options["stderr"])

    def test_not_started(self) -> None:
        before = sorted(os.listdir("/proc/self/fd"))

        def popen(*_: object, **__: object) -> None:
            raise OSError(11, "Resource temporarily unavailable")

        self.patch(subprocess, "Popen", popen)
        self.assertRaises(OSError, ChildProcess)
        self.assertTrue(self.ours.closed)
        self.assertTrue(self.other.closed)
        self.assertEqual(sorted(os.listdir("/proc/self/fd")), before)

    def test_end(self) -> None:
        child = self.child()
        for status, expected in ((None, None), (1, "exited with status 1"), (-9, "was killed by SIGKILL")):
            self.popen.status = status
            self.assertEqual(child.ended(), expected)

    def test_wait(self) -> None:
        """A process that does not end is killed, and a process that cannot be killed is not waited for."""
        child = self.child()
        self.popen.status = 0
        child.wait(5.0)
        self.assertFalse(self.popen.killed)
        self.popen.status = None
        child.wait(5.0)
        self.assertTrue(self.popen.killed)
        self.popen.is_stuck = True
        child.wait(5.0)
        self.assertTrue(self.ours.closed)
