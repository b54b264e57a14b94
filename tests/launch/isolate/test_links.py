"""Tests for L{egress.launch.isolate.links}.

The bytes are those that C{ip} of iproute2 sends; C{tests.integration.test_isolate_sandbox} shows the effect.
"""

from __future__ import annotations

import socket
import struct
import sys

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.links import ADDRESS, ADDRESS6, routes, routes6, up


class LinkTests(SynchronousTestCase):
    """The messages of routing netlink, each after its header of 16 bytes."""

    def test_up(self) -> None:
        """C{ip link set lo up}."""
        self.assertEqual(up(3)[4:12], struct.pack("=HHI", 16, 5, 3))
        self.assertEqual(up(3)[16:], struct.pack("=BxHiII", 0, 0, 1, 1, 1))

    def test_routes(self) -> None:
        """C{ip address add ADDRESS/32 dev lo; ip route add default dev lo src ADDRESS}."""
        for made, family, text, kind, scope in (
            (routes(7), socket.AF_INET, ADDRESS, 1, 253),
            (routes6(7), socket.AF_INET6, ADDRESS6, 2, 0),
        ):
            packed = socket.inet_pton(family, text)
            size = len(packed)
            address, route = made
            self.assertEqual(address[4:12], struct.pack("=HHI", 20, 0x605, 7))
            self.assertEqual(address[16:24], struct.pack("=BBBBI", family, size * 8, 2, 0, 1))
            self.assertEqual(address[24:], b"".join(struct.pack("=HH", size + 4, n) + packed for n in (2, 1)))
            self.assertEqual(route[4:12], struct.pack("=HHI", 24, 0x605, 8))
            self.assertEqual(route[16:28], struct.pack("=8BI", family, 0, 0, 0, 254, 4, scope, kind, 0))
            self.assertEqual(route[28:], struct.pack("=HHIHH", 8, 4, 1, size + 4, 7) + packed)

    def test_host_order(self) -> None:
        """Routing netlink has the byte order of the machine."""
        self.assertEqual(int.from_bytes(up(1)[:4], sys.byteorder), len(up(1)))
