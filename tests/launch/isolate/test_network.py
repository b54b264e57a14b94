"""Tests for L{egress.launch.isolate.network}."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import network
from egress.launch.isolate.links import routes, routes6, up
from egress.launch.isolate.netlink import ACKNOWLEDGE, REQUEST, message
from egress.launch.isolate.network import (
    PROXY_PORT,
    TRANSPARENT_PORT,
    bring_up,
    open_sockets,
    redirect,
    send_netlink,
)
from egress.launch.isolate.rules import rules, rules6
from tests.launch.isolate.kernel import acknowledgement

_NETFILTER = 12


class NetworkTests(SynchronousTestCase):
    """The messages to the kernel; C{tests.integration.test_isolate_sandbox} shows their effect."""

    def sent(self, *, ipv6: bool) -> list[tuple[int, Sequence[bytes]]]:
        sent: list[tuple[int, Sequence[bytes]]] = []
        self.patch(network, "has_ipv6", lambda: ipv6)
        for send in (bring_up, redirect):
            send(lambda protocol, messages: sent.append((protocol, messages)))
        return sent

    def test_ipv4(self) -> None:
        """A kernel without IPv6 rejects the messages for it."""
        routing = socket.NETLINK_ROUTE
        expected = [(routing, [up(1)]), (routing, routes(2)), (_NETFILTER, rules(TRANSPARENT_PORT))]
        self.assertEqual(self.sent(ipv6=False), expected)

    def test_ipv6(self) -> None:
        sent = self.sent(ipv6=True)
        self.assertEqual(sent[2], (socket.NETLINK_ROUTE, routes6(4)))
        self.assertEqual(sent[4], (_NETFILTER, rules6(TRANSPARENT_PORT)))


class FakeSocket:
    """A socket in memory.

    @cvar made: all of them.
    @cvar received: datagrams of the kernel.
    """

    made: list[FakeSocket]
    received: list[bytes]
    has_ipv6 = True

    def __init__(self, family: int, kind: int, protocol: int = 0) -> None:
        if family == socket.AF_INET6 and not self.has_ipv6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        self.family, self.kind, self.protocol = family, kind, protocol
        self.calls: list[Any] = []
        self.made.append(self)

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *reason: object) -> None:
        self.calls.append("closed")

    def send(self, data: bytes) -> None:
        self.calls.append(data)

    def recv(self, size: int) -> bytes:
        return self.received.pop(0)

    def setsockopt(self, *option: int) -> None:
        pass

    def bind(self, address: tuple[str, int]) -> None:
        self.calls.append(address)

    def listen(self, backlog: int) -> None:
        self.calls.append("listen")


class SocketTests(SynchronousTestCase):
    """The sockets, without a network."""

    def setUp(self) -> None:
        FakeSocket.made, FakeSocket.received = [], []
        self.patch(FakeSocket, "has_ipv6", True)
        self.patch(socket, "socket", FakeSocket)

    def test_acknowledged(self) -> None:
        """All messages are one datagram; the kernel acknowledges some of them, in any number of datagrams."""
        acknowledged = [message(16, REQUEST | ACKNOWLEDGE, number, b"") for number in (1, 2, 3)]
        FakeSocket.received = [acknowledgement(1, 0), acknowledgement(2, 0) + acknowledgement(3, 0)]
        sent = [message(16, REQUEST, 0, b""), *acknowledged]
        send_netlink(socket.NETLINK_ROUTE, sent)
        (made,) = FakeSocket.made
        self.assertEqual((made.calls, FakeSocket.received), ([b"".join(sent), "closed"], []))

    def test_refused(self) -> None:
        FakeSocket.received = [acknowledgement(1, -errno.EPERM)]
        messages = [message(16, REQUEST | ACKNOWLEDGE, 1, b"")]
        error = self.assertRaises(OSError, send_netlink, socket.NETLINK_ROUTE, messages)
        self.assertEqual(error.errno, errno.EPERM)

    def test_open(self) -> None:
        opened = open_sockets()
        self.assertEqual(
            [name for name, _ in opened],
            ["proxy", "transparent", "dns_udp", "dns_tcp", "transparent", "dns_udp", "dns_tcp"],
        )
        calls = [made.calls for _, made in cast("list[tuple[str, FakeSocket]]", opened)]
        self.assertEqual(calls[0], [("127.0.0.1", PROXY_PORT), "listen"])
        self.assertEqual(calls[5], [("::1", 53)])
        self.assertEqual(calls[6], [("::1", 53), "listen"])

    def test_without_ipv6(self) -> None:
        self.patch(FakeSocket, "has_ipv6", False)
        self.assertEqual([name for name, _ in open_sockets()], ["proxy", "transparent", "dns_udp", "dns_tcp"])
