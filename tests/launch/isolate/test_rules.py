"""Tests for L{egress.launch.isolate.rules}.

C{tests.integration.test_isolate_sandbox} compares the rules of the kernel with those of the docstring.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.links import ADDRESS, ADDRESS6
from egress.launch.isolate.rules import rules, rules6


def attributes(data: bytes) -> Iterator[tuple[int, Any]]:
    """Decode attributes: nested ones as lists."""
    while data:
        length, kind = struct.unpack_from("=HH", data)
        content = data[4:length]
        yield kind & 0x7FFF, list(attributes(content)) if kind & 0x8000 else content
        data = data[length + -length % 4 :]


def number(value: int) -> bytes:
    return struct.pack("!I", value)


def decoded(batch: Sequence[bytes]) -> Iterator[tuple[int, int, list[tuple[int, Any]]]]:
    """Yield the kind, the family, and the attributes of each message."""
    for each in batch:
        yield struct.unpack_from("=H", each, 4)[0], each[16], list(attributes(each[20:]))


def expressions(content: list[tuple[int, Any]]) -> list[tuple[str, list[tuple[int, Any]]]]:
    """Return the names and the data of the expressions of a rule."""
    elements = dict(content)[4]
    return [(dict(element)[1].rstrip(b"\0").decode(), dict(element)[2]) for _, element in elements]


class BatchTests(SynchronousTestCase):
    """The messages of netfilter."""

    def test_transaction(self) -> None:
        """The kernel applies all messages between the first and the last one, or none of them."""
        for batch in (rules(8081), rules6(8081)):
            kinds = [kind for kind, _, _ in decoded(batch)]
            self.assertEqual(kinds, [0x10, 0xA00, 0xA03, 0xA03, *[0xA06] * 5, 0x11])
            self.assertEqual([struct.unpack_from("=I", each, 8)[0] for each in batch], list(range(10)))
            self.assertEqual([batch[0][16:], batch[-1][16:]], [struct.pack("!BBH", 0, 0, 10)] * 2)
            # All but the limits of the batch are acknowledged.
            acknowledged = [struct.unpack_from("=H", each, 6)[0] & 4 for each in batch]
            self.assertEqual(acknowledged, [0, *[4] * 8, 0])

    def test_families(self) -> None:
        for batch, family in ((rules(1), 2), (rules6(1), 10)):
            self.assertEqual({family for _, family, _ in decoded(batch[1:-1])}, {family})

    def test_chains(self) -> None:
        """A translation of destinations for outgoing packets, and after it a filter that drops the others."""
        chains = [content for kind, _, content in decoded(rules(1)) if kind == 0xA03]
        table = (1, b"egress\0")
        self.assertEqual(
            chains,
            [
                [
                    *(table, (3, b"redirect\0"), (4, [(1, number(3)), (2, number(2**32 - 100))])),
                    *((5, number(1)), (7, b"nat\0")),
                ],
                [table, (3, b"reject\0"), (4, [(1, number(3)), (2, number(0))]), (5, number(0)), (7, b"filter\0")],
            ],
        )

    def test_redirects(self) -> None:
        """Port 53 to the name server, and TCP that leaves the loopback interface to the transparent listener."""
        found = [expressions(content) for kind, _, content in decoded(rules(8081)) if kind == 0xA06]
        protocol = ("meta", [(2, number(16)), (1, number(1))])

        def equal(value: bytes, operator: int = 0) -> tuple[str, Any]:
            return "cmp", [(1, number(1)), (2, number(operator)), (3, [(1, value)])]

        def loaded(base: int, offset: int, length: int) -> tuple[str, Any]:
            return "payload", [(1, number(1)), (2, number(base)), (3, number(offset)), (4, number(length))]

        def redirected(port: int) -> tuple[tuple[str, Any], ...]:
            value = struct.pack("!H", port)
            return ("immediate", [(1, number(1)), (2, [(1, value)])]), ("redir", [(1, number(1))])

        to_53 = (loaded(2, 2, 2), equal(struct.pack("!H", 53)))
        self.assertEqual(found[0], [protocol, equal(b"\x11"), *to_53, *redirected(53)])
        self.assertEqual(found[1], [protocol, equal(b"\x06"), *to_53, *redirected(53)])
        outside = (loaded(1, 16, 1), equal(b"\x7f", 1))
        self.assertEqual(found[2], [*outside, protocol, equal(b"\x06"), *redirected(8081)])
        accepted = ("immediate", [(1, number(0)), (2, [(2, [(1, number(1))])])])
        self.assertEqual(found[3], [loaded(1, 16, 1), equal(b"\x7f"), accepted])
        own = socket.inet_pton(socket.AF_INET, ADDRESS)
        self.assertEqual(found[4], [loaded(1, 16, 4), equal(own), accepted])

    def test_ipv6_addresses(self) -> None:
        """All of the destination is compared: there is only one loopback address."""
        found = [expressions(content) for kind, _, content in decoded(rules6(8081)) if kind == 0xA06]
        values = [dict(dict(rule[1][1])[3])[1] for rule in found[2:]]
        self.assertEqual(values, [socket.inet_pton(socket.AF_INET6, text) for text in ("::1", "::1", ADDRESS6)])
        self.assertEqual([dict(rule[0][1])[3] for rule in found[2:]], [number(24)] * 3)
