"""Tests for L{egress.launch.isolate.helper}.  For all of it, see C{tests.integration.test_isolate_sandbox}."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import helper, network
from egress.launch.isolate.first_process import FAILED
from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.messages import RUN, Command, Failed, Ready, decode, encode_command

_MAPS = IdMaps("u", "g", complete=False)


class HelperTests(SynchronousTestCase):
    """The conversation with the proxy, without namespaces."""

    def setUp(self) -> None:
        self.proxy, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(self.proxy.close)
        self.descriptor = its.detach()
        self.ran: list[Command] = []
        self.patch(helper, "end_with_parent", lambda number: None)
        self.patch(helper, "block_signals", set)
        self.patch(helper, "own_id_maps", lambda: _MAPS)
        self.patch(helper, "_make_sandbox", lambda maps, step: None)
        self.patch(helper, "_run", self.run_command)
        self.patch(network, "open_sockets", self.open_sockets)

    def run_command(self, command: Command, maps: IdMaps, blocked: Any) -> int:
        self.ran.append(command)
        return 7

    def open_sockets(self) -> list[tuple[str, socket.socket]]:
        own, self.other = socket.socketpair()
        self.addCleanup(self.other.close)
        return [("proxy", own)]

    def test_command(self) -> None:
        command = Command("/bin/sh", ["sh"], {})
        file = os.memfd_create("command")
        os.write(file, encode_command(command))
        socket.send_fds(self.proxy, [RUN], [file])
        os.close(file)
        self.assertEqual((helper.main(self.descriptor), self.ran), (7, [command]))
        data, descriptors, _, _ = socket.recv_fds(self.proxy, 1000, 5)
        self.assertEqual(decode(data), Ready(["proxy"]))
        with socket.socket(fileno=descriptors[0]) as passed:
            passed.sendall(b"x")
        self.assertEqual(self.other.recv(2), b"x")
        self.assertEqual(self.other.recv(2), b"", "the helper closed its socket")

    def test_proxy_ended(self) -> None:
        """Nothing runs without the proxy."""
        self.proxy.shutdown(socket.SHUT_WR)
        self.assertEqual((helper.main(self.descriptor), self.ran), (FAILED, []))

    def test_failed(self) -> None:
        """The proxy learns the step and the error."""

        def refused(maps: IdMaps, step: Any) -> None:
            step.run("mounts", lambda: os.stat("/absent/file"))

        self.patch(helper, "_make_sandbox", refused)
        self.assertEqual((helper.main(self.descriptor), self.ran), (FAILED, []))
        failed = decode(self.proxy.recv(1000))
        assert isinstance(failed, Failed)
        self.assertEqual((failed.step, failed.error_number), ("mounts", errno.ENOENT))
        self.assertIn("/absent/file", failed.detail)
