"""Tests for L{egress.launch.isolate.helper}.  For all of it, see C{tests.integration.test_isolate_sandbox}."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import helper, network
from egress.launch.isolate.first_process import FAILED
from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.messages import RUN, Command, Failed, Ready, View, decode, encode_command, encode_view

_MAPS = IdMaps("u", "g", complete=False)
_CHILD = 7


class HelperTests(SynchronousTestCase):
    """The conversation with the proxy, without namespaces."""

    def setUp(self) -> None:
        self.proxy, self.its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.proxy.close)
        self.addCleanup(self.its.close)
        self.calls: list[str] = []
        for module, names in (
            (helper, ("enter_user_namespace", "unshare", "build", "mount_processes", "check_nesting", "hide")),
            (network, ("bring_up", "redirect")),
        ):
            for name in names:
                self.patch(module, name, self.step(name))
        self.patch(helper, "end_with_parent", lambda number: None)
        self.patch(helper, "block_signals", set)
        self.patch(helper, "own_id_maps", lambda: _MAPS)
        self.patch(network, "open_sockets", self.open_sockets)
        self.patch(helper, "run_first_process", self.run_command)
        self.patch(helper, "terminal_restored", nullcontext)
        self.patch(os, "fork", lambda: _CHILD)
        self.patch(helper, "supervise", lambda process: 3 if process == _CHILD else 0)

    def step(self, name: str, error: OSError | None = None) -> Callable[..., None]:
        def run(*arguments: Any, **options: Any) -> None:
            self.calls.append(name)
            if error is not None:
                raise error

        return run

    def run_command(self, command: Command, *arguments: Any) -> int:
        self.calls.append(f"run {command.executable}")
        return 7

    def open_sockets(self) -> list[tuple[str, socket.socket]]:
        own, self.other = socket.socketpair()
        self.addCleanup(self.other.close)
        return [("proxy", own)]

    def main(self) -> int:
        return helper.main(self.its.detach(), encode_view(View()))

    def inside(self) -> int:
        return helper.run_inside(self.its, _MAPS, set(), lambda: None)

    def test_outside(self) -> None:
        """The namespaces are complete before the first process of the sandbox starts; its status is the result."""
        self.assertEqual(self.main(), 3)
        self.assertEqual(self.calls, ["enter_user_namespace", "unshare", "bring_up", "redirect", "build"])

    def test_inside(self) -> None:
        command = Command("/bin/sh", ["sh"], {}, ["/key"])
        file = os.memfd_create("command")
        os.write(file, encode_command(command))
        socket.send_fds(self.proxy, [RUN], [file])
        os.close(file)
        self.assertEqual((self.inside(), self.calls), (7, ["mount_processes", "check_nesting", "hide", "run /bin/sh"]))
        data, descriptors, _, _ = socket.recv_fds(self.proxy, 1000, 5)
        self.assertEqual(decode(data), Ready(["proxy"]))
        with socket.socket(fileno=descriptors[0]) as passed:
            passed.sendall(b"x")
        self.assertEqual(self.other.recv(2), b"x")
        self.assertEqual(self.other.recv(2), b"", "the helper closed its socket")

    def test_proxy_ended(self) -> None:
        """Nothing runs without the proxy."""
        self.proxy.shutdown(socket.SHUT_WR)
        self.assertEqual((self.inside(), self.calls[-1]), (FAILED, "check_nesting"))

    def test_failed(self) -> None:
        """The proxy receives the step and the error."""
        error = PermissionError(errno.EPERM, "no", "/proc/x")
        for module, name, step in (
            (helper, "enter_user_namespace", "user namespace"),
            (helper, "unshare", "namespaces"),
            (network, "bring_up", "network"),
            (network, "redirect", "packet filter"),
            (helper, "build", "file system"),
        ):
            self.patch(module, name, self.step(name, error))
            own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.addCleanup(own.close)
            self.assertEqual(helper.main(its.detach(), encode_view(View())), FAILED)
            self.assertEqual(decode(own.recv(1000)), Failed(step, errno.EPERM, "[Errno 1] no: '/proc/x'"))
            self.patch(module, name, self.step(name))

    def test_unknown_machine(self) -> None:
        self.patch(os, "uname", lambda: SimpleNamespace(machine="mips"))
        self.assertEqual((self.main(), self.calls), (FAILED, []))
        self.assertEqual(decode(self.proxy.recv(1000)), Failed("machine", 0, "mips"))
