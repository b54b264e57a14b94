"""Tests for L{egress.http.proxy_header}."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.http.crc32c import crc32c
from egress.http.proxy_header import InvalidProxyHeader, ProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 8080\r\n"


def v2(family: int, content: bytes, command: int = 0x21) -> bytes:
    """Write a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(content)) + content


def v2_of(source: str, destination: str, port: int, extensions: bytes = b"") -> bytes:
    """Write a header of version 2 with addresses."""
    addresses = [ip_address(source), ip_address(destination)]
    packed = b"".join(address.packed for address in addresses) + struct.pack("!HH", port, 8080)
    return v2(0x11 if addresses[0].version == 4 else 0x21, packed + extensions)


def with_checksum(before: bytes, after: bytes = b"", checksum: bytes | None = None) -> bytes:
    """Write a header of version 2 with a checksum between other extensions.

    @param checksum: a wrong checksum.
    """
    header = v2_of("198.51.100.7", "192.0.2.1", 40000, before + b"\x03\x00\x04" + bytes(4) + after)
    at = 28 + len(before) + 3
    return header[:at] + (checksum or crc32c(header).to_bytes(4, "big")) + header[at + 4 :]


V4, V6 = v2_of("198.51.100.7", "192.0.2.1", 40000), v2_of("2001:db8::7", "2001:db8::1", 40001, b"\x04\x00\x01x")


class ParseTests(SynchronousTestCase):
    """Headers, and other bytes."""

    def test_valid(self) -> None:
        for data, address, port in (
            (V1, "198.51.100.7", 40000),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 8080\r\n", "2001:db8::7", 40001),
            (b"PROXY UNKNOWN\r\n", None, 0),
            (b"PROXY UNKNOWN ffff:f...f:ffff 0 0\r\n", None, 0),
            (V4, "198.51.100.7", 40000),
            (V6, "2001:db8::7", 40001),
            # A health check of the load balancer.
            (v2(0x11, b"\0" * 12, command=0x20), None, 0),
            (v2(0x00, b""), None, 0),
            (v2(0x31, b"\0" * 216), None, 0),
            (v2(0x31, b"\0" * 216 + b"\x04\x00\x00"), None, 0),
            # Whatever follows has no meaning.
            (v2(0x00, b"\xff" * 5), None, 0),
            (v2(0xFF, b"\xff" * 5, command=0x20), None, 0),
            # Extensions: an ALPN, a unique id, one without a value, and a checksum.
            (v2_of("198.51.100.7", "192.0.2.1", 1, b"\x01\x00\x02h2\x05\x00\x03abc\xe0\x00\x00"), "198.51.100.7", 1),
            (with_checksum(b"\x04\x00\x02ab"), "198.51.100.7", 40000),
            (with_checksum(b"", b"\x04\x00\x02ab"), "198.51.100.7", 40000),
            # IPv4-mapped addresses.
            (v2_of("::ffff:198.51.100.7", "::1", 40000), "198.51.100.7", 40000),
            (b"PROXY TCP6 ::ffff:198.51.100.7 ::1 40000 8080\r\n", "198.51.100.7", 40000),
            # The longest line, of 107 bytes.
            (b"PROXY UNKNOWN %b 65535 65535\r\n" % b" ".join([b"ffff" + b":ffff" * 7] * 2), None, 0),
        ):
            with self.subTest(data):
                expected = ProxyHeader(len(data), None if address is None else ip_address(address), port)
                self.assertEqual(parse_proxy_header(data), expected)
                self.assertEqual(parse_proxy_header(data + b"GET / HTTP/1.1\r\n"), expected)
                for end in range(len(data)):
                    self.assertIsNone(parse_proxy_header(data[:end]))

    def test_invalid(self) -> None:
        for data in (
            b"GET / HTTP/1.1\r\n",
            b"PROXX",
            b"\r\nX",
            b"PROXY " + b"x" * 101,
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            b"PROXY TCP4 1.2.3.4 ::1 1 1\r\n",
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 -1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 1\r\n",
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
            # Another version, command, family and length.
            v2(0x11, b"\0" * 12, command=0x11),
            v2(0x11, b"\0" * 12, command=0x22),
            v2(0x12, b"\0" * 12),
            v2(0x11, b"\0" * 11),
            v2(0x11, b"\0" * 5000)[:16],
            v2(0x22, b"\0" * 36),
            v2(0x32, b"\0" * 216),
            v2(0x31, b"\0" * 215),
            v2(0x41, b"\0" * 216),
            # Extensions that do not fit.
            v2(0x11, b"\0" * 13),
            v2(0x11, b"\0" * 12 + b"\x04\x00\x02a"),
            v2(0x31, b"\0" * 216 + b"\x04\x00"),
            # Checksums: wrong, too short, and two of them.
            with_checksum(b"", checksum=b"\0\0\0\1"),
            v2_of("198.51.100.7", "192.0.2.1", 1, b"\x03\x00\x03abc"),
            with_checksum(b"\x03\x00\x04\0\0\0\0"),
            # Text that another reader could understand in another way.
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4  1 1\r\n",
            b"PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n",
            b"PROXY TCP6 fe80::1%1 ::1 1 1\r\n",
            b"PROXY TCP6 ::1 fe80::1%1 1 1\r\n",
            b"PROXY unknown\r\n",
            b"PROXY UNKNOWNX\r\n",
            b"PROXY \r\n",
            b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        ):
            with self.subTest(data):
                self.assertRaises(InvalidProxyHeader, parse_proxy_header, data)
