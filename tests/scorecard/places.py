"""The destination of a connection: literal addresses in every spelling, and certificates of origins."""

from __future__ import annotations

from tests.scorecard.cases import Case, forward, get, refuse

ADDRESSES = "Literal addresses"
CERTIFICATES = "Origin certificates"

# Spellings of 127.0.0.1 and of addresses that reach it, and other forbidden addresses.  The origin listens on
# 127.0.0.1, so a proxy that connects has connected to its own machine.
_LITERALS = (
    ("dotted", "dotted decimal", b"127.0.0.1"),
    ("other", "another loopback address", b"127.9.8.7"),
    ("decimal", "one decimal number", b"2130706433"),
    ("octal", "octal parts", b"0177.0.0.01"),
    ("octal-one", "one octal number", b"017700000001"),
    ("hex", "hexadecimal parts", b"0x7f.0x0.0x0.0x1"),
    ("hex-one", "one hexadecimal number", b"0x7f000001"),
    ("hex-upper", "the same in uppercase", b"0X7F000001"),
    ("two", "two parts", b"127.1"),
    ("three", "three parts", b"127.0.1"),
    ("mixed", "octal, hexadecimal and decimal", b"0177.0x0.1"),
    ("dot", "a root dot", b"127.0.0.1."),
    ("dot-two", "two parts and a root dot", b"127.1."),
    ("zero", "zero (this machine)", b"0"),
    ("unspecified", "the unspecified address", b"0.0.0.0"),
    ("metadata", "the metadata service of cloud platforms", b"169.254.169.254"),
    ("metadata-decimal", "the same as one number", b"2852039166"),
    ("v6", "IPv6", b"[::1]"),
    ("v6-long", "IPv6 without abbreviation", b"[0000:0000:0000:0000:0000:0000:0000:0001]"),
    ("v6-unspecified", "the unspecified IPv6 address", b"[::]"),
    ("v6-mapped", "IPv4-mapped", b"[::ffff:127.0.0.1]"),
    ("v6-mapped-hex", "IPv4-mapped, hexadecimal", b"[::ffff:7f00:1]"),
    ("v6-compatible", "IPv4-compatible", b"[::127.0.0.1]"),
    ("v6-translated", "IPv4-translated", b"[::ffff:0:127.0.0.1]"),
    ("v6-nat64", "NAT64", b"[64:ff9b::7f00:1]"),
    ("v6-nat64-local", "NAT64 with a local prefix", b"[64:ff9b:1::7f00:1]"),
    ("v6-6to4", "6to4", b"[2002:7f00:1::]"),
    ("v6-teredo", "Teredo", b"[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
    ("v6-isatap", "ISATAP", b"[2001:470::5efe:7f00:1]"),
    ("v6-link", "link-local", b"[fe80::1]"),
    ("v6-site", "site-local", b"[fec0::1]"),
    ("name", "the name of this machine", b"localhost"),
)

# Malformed addresses.  The proxy must not guess an address.
_MALFORMED = (
    ("zone", "an IPv6 zone", b"[fe80::1%25eth0]"),
    ("zone-loopback", "loopback with a zone", b"[::1%25lo]"),
    ("zone-raw", "a zone that is not encoded", b"[::1%lo]"),
    ("encoded", "percent-encoded", b"%31%32%37.0.0.1"),
    ("encoded-dot", "percent-encoded dots", b"127%2e0%2e0%2e1"),
    ("bad-octal", "a digit that is not octal", b"0189.0.0.1"),
    ("overflow", "a part above 255", b"127.0.0.256"),
    ("overflow-one", "a number of more than 32 bits", b"4294967296"),
    ("wrap", "a number that wraps to loopback in 32 bits", b"6425673729"),
    ("five", "five parts", b"127.0.0.0.1"),
    ("empty-part", "an empty part", b"127..1"),
    ("two-dots", "two root dots", b"127.0.0.1.."),
    ("brackets", "IPv4 in brackets", b"[127.0.0.1]"),
    ("no-brackets", "IPv6 without brackets", b"::1"),
    ("v6-two-gaps", "two gaps", b"[::1::]"),
    ("v6-future", "an address of a future version", b"[v1.127.0.0.1]"),
    ("v6-port-inside", "the port inside the brackets", b"[::1:80"),
)

# Characters that compatibility mappings convert to digits, dots and letters.
_MAPPED = (
    ("fullwidth", "full-width digits", "\uff11\uff12\uff17.0.0.1"),
    ("circled", "circled digits", "\u2460\u2461\u2466.0.0.1"),
    ("dots", "an ideographic full stop", "127\u30020\u30020\u30021"),
    ("name-wide", "localhost in full-width letters", "\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54"),
)


def _address(id: str, about: str, host: bytes, *statuses: int) -> Case:  # noqa: A002
    sent = get(b"http://%b:<port>/" % host, host=b"origin.test")
    return Case(f"address-{id}", ADDRESSES, about, refuse(*statuses), (sent,), guarded=True)


_CERTIFICATES = (
    ("good", "a certificate for the host", True),
    ("wildcard-below", "*.localhost, for the parent host", False),
    ("wildcard-all", "only *", False),
    ("wildcard-part", "l*, a part of a label", False),
    ("wildcard-tail", "*host, a part of a label", False),
    ("common-name", "the host in the common name, without other names", False),
    ("common-name-other", "the host in the common name, with another host in the alternative names", False),
    ("address-as-name", "the address of the host as a DNS name", False),
    ("uri", "the host in a URI", False),
    ("mail", "the host in a mail address", False),
    ("other-host", "a certificate for another host", False),
    ("nul", "the host, a NUL, and another domain", False),
    ("prefix", "a name that ends in the host", False),
    ("upper", "the host in uppercase", True),
    ("expired", "expired", False),
    ("not-yet", "not yet valid", False),
    ("self-signed", "self-signed", False),
    ("unknown", "issued by an unknown CA", False),
    ("client", "a client certificate", False),
    ("not-a-ca", "signed by a certificate that is not a CA", False),
)


def _certificate(id: str, about: str, good: bool) -> Case:  # noqa: A002
    sent = b"GET / HTTP/1.1\r\nHost: <secure>\r\n\r\n"
    return Case(
        f"certificate-{id}",
        CERTIFICATES,
        about,
        forward() if good else refuse(502),
        (sent,),
        tunnel=b"<secure>",
        server_name="localhost",
        certificate=id,
    )


CASES = (
    *(_address(name, about, host, 403) for name, about, host in _LITERALS),
    *(_address(name, about, host, 400, 403) for name, about, host in _MALFORMED),
    *(_address(name, about, host.encode(), 400, 403) for name, about, host in _MAPPED),
    *(_certificate(*line) for line in _CERTIFICATES),
)
