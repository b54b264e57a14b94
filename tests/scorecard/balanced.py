"""The PROXY protocol: headers with which someone could claim the address of another client, or hide a request.

The authorizer must see the address that a valid header names, and nothing behind an invalid one may be forwarded.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

from egress.http.crc32c import crc32c
from tests.scorecard.cases import GET, Case, Listener, Must, close, forward, refuse

GROUP = "PROXY protocol"

_PEER = "127.0.0.1"
_SOURCE, _TARGET, _SOURCE_6, _TARGET_6 = "198.51.100.7", "192.0.2.1", "2001:db8::7", "2001:db8::1"
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_INET, _INET6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_NO_OPERATION, _AUTHORITY, _CRC32C, _SSL = 0x04, 0x02, 0x03, 0x20
# Malformed headers have no response: the sender is not a client.
_REFUSED = close()


def _line(*words: str, end: bytes = b"\r\n") -> bytes:
    return " ".join(["PROXY", *words]).encode("latin-1") + end


def _pair(source: str = _SOURCE, target: str = _TARGET) -> bytes:
    return ip_address(source).packed + ip_address(target).packed + struct.pack("!HH", 40000, 8080)


def _binary(content: bytes, *, family: int = _INET, command: int = 0x21, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return _SIGNATURE + struct.pack("!BBH", command, family, size) + content


def _extension(kind: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("!BH", kind, len(value) if length is None else length) + value


def _checked(wrong: int = 0) -> bytes:
    header = _binary(_pair() + _extension(_CRC32C, bytes(4)))
    return header[:-4] + (crc32c(header) ^ wrong).to_bytes(4, "big")


_V1 = _line("TCP4", _SOURCE, _TARGET, "40000", "8080")
_V2 = _binary(_pair())
_HIDDEN = b"GET http://other.test/smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n"
_PAIR_6 = _pair(_SOURCE_6, _TARGET_6)


def _case(id: str, about: str, header: bytes, must: Must = _REFUSED, client: str | None = None) -> Case:  # noqa: A002
    return Case(f"balanced-{id}", GROUP, about, must, (header + GET,), listener=Listener.BALANCED, client=client)


def _valid(id: str, about: str, header: bytes, client: str = _SOURCE) -> Case:  # noqa: A002
    return _case(id, about, header, forward(), client)


def _v1(id: str, about: str, *words: str, end: bytes = b"\r\n") -> Case:  # noqa: A002
    return _case(f"v1-{id}", f"version 1: {about}", _line(*words, end=end))


CASES = (
    _valid("v1", "version 1 with IPv4", _V1),
    _valid("v1-tcp6", "version 1 with IPv6", _line("TCP6", _SOURCE_6, _TARGET_6, "1", "2"), _SOURCE_6),
    _valid("v1-mapped", "version 1 with IPv4-mapped", _line("TCP6", f"::ffff:{_SOURCE}", _TARGET_6, "1", "2")),
    _valid("v1-unknown", "version 1: UNKNOWN names no client", _line("UNKNOWN"), _PEER),
    _valid(
        "v1-unknown-more",
        "version 1: UNKNOWN with addresses, which have no meaning",
        _line("UNKNOWN", _SOURCE, _TARGET, "40000", "8080"),
        _PEER,
    ),
    _v1("lf", "a line that ends in LF", "TCP4", _SOURCE, _TARGET, "40000", "8080", end=b"\n"),
    _v1("cr", "a line that ends in CR", "TCP4", _SOURCE, _TARGET, "40000", "8080", end=b"\r"),
    _v1("family", "an unknown family", "UDP4", _SOURCE, _TARGET, "40000", "8080"),
    _v1("lower", "a family in lowercase", "tcp4", _SOURCE, _TARGET, "40000", "8080"),
    _v1("wrong-family", "an IPv6 address as IPv4", "TCP4", _SOURCE_6, _TARGET_6, "40000", "8080"),
    _v1("wrong-family-6", "an IPv4 address as IPv6", "TCP6", _SOURCE, _TARGET, "40000", "8080"),
    _v1("mixed", "addresses of two families", "TCP4", _SOURCE, _TARGET_6, "40000", "8080"),
    _v1("short", "no ports", "TCP4", _SOURCE, _TARGET),
    _v1("long", "another word", "TCP4", _SOURCE, _TARGET, "40000", "8080", "x"),
    _v1("spaces", "two spaces", "TCP4", "", _SOURCE, _TARGET, "40000", "8080"),
    _v1("tab", "a tab", "TCP4", f"{_SOURCE}\t{_TARGET}", "40000", "8080"),
    _v1("name", "a name instead of an address", "TCP4", "localhost", _TARGET, "40000", "8080"),
    _v1("octal", "an address with leading zeros", "TCP4", "198.051.100.007", _TARGET, "40000", "8080"),
    _v1("number", "an address as one number", "TCP4", "3325256711", _TARGET, "40000", "8080"),
    _v1("zone", "an IPv6 zone", "TCP6", "fe80::1%eth0", _TARGET_6, "40000", "8080"),
    _v1("list", "two addresses", "TCP4", f"{_SOURCE},203.0.113.9", _TARGET, "40000", "8080"),
    _v1("port", "a port above 65535", "TCP4", _SOURCE, _TARGET, "65536", "8080"),
    _v1("port-sign", "a port with a sign", "TCP4", _SOURCE, _TARGET, "+40000", "8080"),
    _v1("port-zeros", "a port with leading zeros", "TCP4", _SOURCE, _TARGET, "040000", "8080"),
    _v1("nul", "NUL after an address", "TCP4", f"{_SOURCE}\0", _TARGET, "40000", "8080"),
    _v1("oversized", "a line of 120 bytes", "UNKNOWN", "x" * 106),
    _v1("endless", "no end of the line", "UNKNOWN", "x" * 5000, end=b""),
    _case("v1-lower-name", "version 1: PROXY in lowercase", _V1.lower()),
    _case("v1-before", "version 1: an empty line before it", b"\r\n" + _V1),
    _case("v1-cut", "version 1 that ends early", _V1[:20], _REFUSED),
    _case("v1-twice", "two headers of version 1", _V1 + _line("TCP4", "203.0.113.9", _TARGET, "1", "2"), refuse()),
    _case("v1-v2", "version 1, then version 2", _V1 + _V2, refuse()),
    _case("v1-request", "version 1 with a request in its line", _V1[:-2] + b" " + GET, _REFUSED),
    _valid("v2", "version 2 with IPv4", _V2),
    _valid("v2-inet6", "version 2 with IPv6", _binary(_PAIR_6, family=_INET6), _SOURCE_6),
    _valid("v2-mapped", "version 2 with IPv4-mapped", _binary(_pair(f"::ffff:{_SOURCE}", _TARGET_6), family=_INET6)),
    _valid("v2-local", "version 2: LOCAL names no client", _binary(b"", family=_UNSPECIFIED, command=0x20), _PEER),
    _valid(
        "v2-local-more",
        "version 2: LOCAL with addresses, which have no meaning",
        _binary(_pair(), command=0x20),
        _PEER,
    ),
    _valid("v2-unspecified", "version 2: the unspecified family", _binary(b"\xff" * 7, family=_UNSPECIFIED), _PEER),
    _valid("v2-unix", "version 2: UNIX sockets", _binary(bytes(216), family=_UNIX), _PEER),
    _valid(
        "v2-extensions",
        "version 2 with extensions: a name, TLS, and padding",
        _binary(
            _pair()
            + _extension(_AUTHORITY, b"other.test")
            + _extension(_SSL, b"\x01\0\0\0\0")
            + _extension(_NO_OPERATION, bytes(9))
        ),
    ),
    _valid("v2-checksum", "version 2 with a checksum", _checked()),
    _case("v2-checksum-wrong", "version 2: a wrong checksum", _checked(1)),
    _case(
        "v2-checksum-two",
        "version 2: two checksums",
        _binary(_pair() + _extension(_CRC32C, bytes(4)) + _extension(_CRC32C, bytes(4))),
    ),
    _case("v2-checksum-short", "version 2: a checksum of two bytes", _binary(_pair() + _extension(_CRC32C, b"\0\0"))),
    _case("v2-extension-long", "version 2: an extension beyond the end", _binary(_pair() + _extension(1, b"h2", 99))),
    _case("v2-extension-cut", "version 2: an extension without a length", _binary(_pair() + b"\x04\0")),
    _case("v2-version", "version 3", _binary(_pair(), command=0x31)),
    _case("v2-command", "version 2: an unknown command", _binary(_pair(), command=0x22)),
    _case("v2-family", "version 2: an unknown family", _binary(_pair(), family=0x41)),
    _case("v2-datagram", "version 2: a datagram", _binary(_pair(), family=0x12)),
    _case("v2-transport", "version 2: no transport", _binary(_pair(), family=0x10)),
    _case("v2-wrong-family", "version 2: IPv4 addresses as IPv6", _binary(_pair(), family=_INET6)),
    _case("v2-empty", "version 2: no addresses", _binary(b"")),
    _case("v2-short", "version 2: addresses that end early", _binary(_pair()[:-1])),
    _case("v2-cut", "version 2: a header that ends early", _binary(_pair(), length=4000), _REFUSED),
    _case("v2-oversized", "version 2: a length of 65,535 bytes", _binary(_pair(), length=65_535)),
    _case("v2-signature", "version 2: a wrong signature", _V2.replace(b"QUIT", b"QUIX")),
    _case("v2-twice", "two headers of version 2", _V2 + _binary(_pair("203.0.113.9")), refuse()),
    _valid("v2-inside", "version 2: a request inside an extension", _binary(_pair() + _extension(5, _HIDDEN))),
    _case("missing", "no header", b""),
    _case("missing-connect", "no header, and a CONNECT", b"CONNECT <origin> HTTP/1.1\r\nHost: <origin>\r\n\r\n"),
    Case("balanced-socks", GROUP, "SOCKS5 instead of a header", _REFUSED, (b"\5\1\0",), listener=Listener.BALANCED),
    Case(
        "balanced-stranger",
        GROUP,
        "version 1 from a peer that is not a load balancer",
        _REFUSED,
        (_V1 + GET,),
        listener=Listener.STRANGER,
    ),
    Case(
        "balanced-stranger-v2",
        GROUP,
        "version 2 from a peer that is not a load balancer",
        _REFUSED,
        (_V2 + GET,),
        listener=Listener.STRANGER,
    ),
    Case(
        "balanced-stranger-none",
        GROUP,
        "no header from a peer that is not a load balancer",
        _REFUSED,
        (GET,),
        listener=Listener.STRANGER,
    ),
    Case(
        "balanced-not-expected",
        GROUP,
        "version 1 on a listener without the PROXY protocol",
        refuse(),
        (_V1 + GET,),
    ),
    Case(
        "balanced-not-expected-v2",
        GROUP,
        "version 2 on a listener without the PROXY protocol",
        Must((400,), closed=True),
        (_V2 + GET,),
    ),
)
