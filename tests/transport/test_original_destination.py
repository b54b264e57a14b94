"""Tests for L{egress.transport.original_destination}."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.transport.original_destination import original_destination

SO_ORIGINAL_DST = 80


class RedirectedSocket:
    """A socket that the system redirected."""

    def __init__(self, family: int, own: tuple[Any, ...], original: bytes | None) -> None:
        self.family = family
        self._own = own
        self._original = original
        self.levels: list[int] = []

    def getsockname(self) -> tuple[Any, ...]:
        return self._own

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert option == SO_ORIGINAL_DST
        self.levels.append(level)
        if self._original is None:
            raise OSError
        return self._original[:size]


class Transport:
    """A transport with a socket."""

    def __init__(self, sock: object) -> None:
        self.socket = sock


def ipv4(address: str, port: int) -> bytes:
    """A C{struct sockaddr_in}."""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def ipv6(address: str, port: int) -> bytes:
    """A C{struct sockaddr_in6}."""
    packed = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 7) + packed + struct.pack("=I", 9)


class OriginalDestinationTests(SynchronousTestCase):
    """The destination that the client meant."""

    def test_redirected(self) -> None:
        for family, own, original, expected, level in (
            (
                socket.AF_INET,
                ("127.0.0.1", 8081),
                ipv4("203.0.113.9", 443),
                Authority("203.0.113.9", 443),
                socket.SOL_IP,
            ),
            (
                socket.AF_INET6,
                ("::1", 8081, 0, 0),
                ipv6("2001:db8::9", 443),
                Authority("2001:db8::9", 443),
                socket.IPPROTO_IPV6,
            ),
            (
                socket.AF_INET6,
                ("fe80::1%lo", 8081, 0, 1),
                ipv6("2001:db8::9", 443),
                Authority("2001:db8::9", 443),
                socket.IPPROTO_IPV6,
            ),
            (
                socket.AF_INET6,
                ("::ffff:127.0.0.1", 8081, 0, 0),
                ipv4("203.0.113.9", 80),
                Authority("203.0.113.9", 80),
                socket.SOL_IP,
            ),
        ):
            with self.subTest(own=own):
                sock = RedirectedSocket(family, own, original)
                self.assertEqual(original_destination(Transport(sock)), expected)
                self.assertEqual(sock.levels, [level])

    def test_direct(self) -> None:
        """The system has no entry, or one with the same address."""
        for original in (None, b"", ipv4("127.0.0.1", 8081)):
            sock = RedirectedSocket(socket.AF_INET, ("127.0.0.1", 8081), original)
            self.assertIsNone(original_destination(Transport(sock)))

    def test_other_transports(self) -> None:
        for transport in (object(), Transport(None), Transport(RedirectedSocket(socket.AF_UNIX, (), None))):
            self.assertIsNone(original_destination(transport))
