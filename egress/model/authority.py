"""Hosts, ports and origins: the only module in which the proxy parses a host.

This module normalizes a host once; all other modules compare it as a plain string.  If two spellings of one destination
stayed different, a request could be authorized under one name and sent to another.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Final

import attr
import attrs
import idna

from egress.model.converters import BadValue, ConfigError, checked, instance, optional
from egress.model.errors import InvalidTarget

IPAddress = IPv4Address | IPv6Address

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

UPSTREAM_PORTS: Final = {**DEFAULT_PORTS, "socks5": 1080, "socks5h": 1080}
"""The default port of an upstream proxy, by scheme."""

PROXY_HOST: Final = "egressproxy.invalid"
"""The name to which the proxy itself responds. No host can have it (RFC 6761 section 6.4)."""

# RFC 1123 section 2.1 does not permit underscores, or hyphens at either end of a label, in a host name, but DNS carries
# them and real origins use them.
_LABEL: Final = r"[a-z0-9_-]{1,63}"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DECIMAL = re.compile(r"[0-9]+")
_HEX = re.compile(r"0[xX][0-9a-fA-F]*")
_OCTAL = re.compile(r"0[0-7]*")
_PORT = re.compile(r"[0-9]{1,5}")
_NO_PORT: Final = "the port is not a number from 1 to 65535"
_MAX_NAME: Final = 253  # RFC 1035 section 2.3.4, as text and without the root dot


def _numeric_part(text: str) -> int:
    if _HEX.fullmatch(text):
        return int(text[2:] or "0", 16)
    if len(text) > 1 and _OCTAL.fullmatch(text):
        return int(text, 8)
    if _DECIMAL.fullmatch(text) and not (len(text) > 1 and text[0] == "0"):
        return int(text)
    raise InvalidTarget("the host ends in a number, and one of its parts is not a number")


def _looks_numeric(host: str) -> bool:
    last = host.rpartition(".")[2]
    # The last label begins with a digit, which is rare in names.
    if not last[:1].isdecimal():
        return False
    return bool(_DECIMAL.fullmatch(last) or _HEX.fullmatch(last))


def _ipv4_from_numbers(host: str) -> IPv4Address:
    """Parse an IPv4 address as resolvers and browsers do: one to four parts, decimal, octal or hexadecimal.

    Source: the WHATWG URL standard, "IPv4 parser"; C{inet_aton(3)}.
    """
    texts = host.split(".")
    if len(texts) > 4:
        raise InvalidTarget("the host ends in a number and has more than four parts")
    parts = [_numeric_part(text) for text in texts]
    *leading, last = parts
    if any(part > 255 for part in leading) or last >= 256 ** (5 - len(parts)):
        raise InvalidTarget("the host is out of the range of IPv4 addresses")
    value = last
    for index, part in enumerate(leading):
        value += part << (8 * (3 - index))
    return IPv4Address(value)


def _ipv6(text: str) -> IPAddress:
    if "%" in text:
        raise InvalidTarget("an IPv6 zone identifier is not accepted")
    try:
        address = IPv6Address(text)
    except AddressValueError as error:
        raise InvalidTarget("the text in brackets is not an IPv6 address") from error
    return address.ipv4_mapped or address


def parse_ip(text: str) -> IPAddress | None:
    """Parse a normalized host as an address.

    @return: the address, or C{None} when C{text} is a name.
    """
    try:
        if ":" in text:
            return IPv6Address(text)
        # Most hosts are names, and detecting a name by an exception takes ten times as long.
        return IPv4Address(text) if text[-1:].isdecimal() else None
    except ValueError:
        return None


def _to_ascii(host: str) -> str:
    """Map a name (UTS 46) and encode its labels that are not ASCII (RFC 5891)."""
    labels = idna.uts46_remap(host, std3_rules=False, transitional=False).split(".")
    return ".".join(label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels)


def normalize_host(text: str) -> str:
    """Normalize a host to the single form that the proxy compares, authorizes and connects to.

    Names become lower-case A-labels without the root dot (RFC 5890, UTS 46).  Every spelling of an IPv4 address,
    including IPv4-mapped IPv6, becomes dotted decimal.  IPv6 is compressed (RFC 5952) and has no brackets.

    @raise InvalidTarget: if C{text} is not a valid host.
    """
    if len(text) > _MAX_NAME + 1:
        # Check the length first: encoding a name and converting a number take more than linear time.
        raise InvalidTarget(f"the host has more than {_MAX_NAME} characters")
    if text.startswith("[") or ":" in text:
        if not (text.startswith("[") and text.endswith("]")):
            raise InvalidTarget("an IPv6 address must be in brackets")
        return str(_ipv6(text[1:-1]))
    host = text
    if not host.isascii():
        try:
            host = _to_ascii(host)
        except idna.IDNAError as error:
            raise InvalidTarget("the host is not a valid internationalized name") from error
    host = host.lower().removesuffix(".")
    if not host:
        raise InvalidTarget("the host is empty")
    if _looks_numeric(host):
        return str(_ipv4_from_numbers(host))
    if len(host) > _MAX_NAME or not _NAME.fullmatch(host):
        raise InvalidTarget("the host is not a valid host name")
    return host


@attr.s(auto_attribs=True, init=False, eq=False)
class Authority:
    """A host and a port, normalized.

    @ivar host: the host as returned by L{normalize_host}; an IPv6 address has no brackets.
    @ivar port: 1 to 65535.
    """

    host: Final[str]
    port: Final[int]
    _hash: int = attr.ib(init=False, repr=False)

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._hash = hash((host, port))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Authority) and self.host == other.host and self.port == other.port

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled for a worker, where the same text has another hash.
        return Authority, (self.host, self.port)

    @classmethod
    def parse(cls, text: str, default_port: int | None = None, *, bare_ipv6: bool = False) -> Authority:
        """Parse C{host[:port]} (RFC 3986 section 3.2, without userinfo).

        Errors do not quote the text because it can be part of a malformed URL (L{egress.model.quote}).

        @param text: the text to parse.
        @param default_port: the port if the text has none; C{None} if the text must include a port (CONNECT, RFC 9110
            section 9.3.6).
        @param bare_ipv6: whether to accept an IPv6 address without brackets, as some clients write it in CONNECT and
            Host.  The last colon then separates the port, so the text must include a port.
        @raise InvalidTarget: if C{text} is not a valid authority.
        """
        return _parse_authority(text, default_port, bare_ipv6)

    @property
    def ip(self) -> IPAddress | None:
        """The address, if the host is an IP address literal; otherwise C{None}."""
        return parse_ip(self.host)

    @property
    def url_host(self) -> str:
        """The host in its URL form: IPv6 in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.url_host}:{self.port}"


@lru_cache(maxsize=4096)
def _parse_authority(text: str, default_port: int | None, bare_ipv6: bool) -> Authority:
    if "@" in text:
        raise InvalidTarget("credentials in an authority are not accepted")
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
        colon, port_text = rest[:1], rest[1:]
        if colon not in ("", ":"):
            raise InvalidTarget("the text after the brackets is not a port")
    elif bare_ipv6 and text.count(":") > 1:
        host, _, port_text = text.rpartition(":")
        host = f"[{host}]"
        default_port = None
    else:
        host, _, port_text = text.partition(":")
    if not port_text:
        if default_port is None:
            raise InvalidTarget("the port is missing")
        port = default_port
    else:
        if not _PORT.fullmatch(port_text):
            raise InvalidTarget(_NO_PORT)
        port = int(port_text)
    if not 0 < port < 65536:
        raise InvalidTarget(_NO_PORT)
    return Authority(normalize_host(host), port)


@attr.s(auto_attribs=True, init=False, eq=False)
class Origin:
    """A scheme and an authority (RFC 6454): the destination of a connection, and the key of the connection pool.

    @ivar scheme: C{"http"} or C{"https"}.
    @ivar authority: the host and the port.
    @ivar netloc: the authority as in the C{Host} field: without the scheme's default port (RFC 9110 section 7.2).
    @ivar host_field: C{netloc}, as the value of the field.
    """

    scheme: Final[str]
    authority: Final[Authority]
    # Precomputed because every request reads them several times.
    netloc: str = attr.ib(init=False, repr=False)
    host_field: bytes = attr.ib(init=False, repr=False)
    _text: str = attr.ib(init=False, repr=False)
    _hash: int = attr.ib(init=False, repr=False)

    def __init__(self, scheme: str, authority: Authority) -> None:
        self.scheme = scheme
        self.authority = authority
        self.netloc = authority.url_host if DEFAULT_PORTS.get(scheme) == authority.port else str(authority)
        self.host_field = self.netloc.encode("ascii")
        self._text = f"{scheme}://{self.netloc}"
        self._hash = hash((scheme, authority))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and self.scheme == other.scheme and self.authority == other.authority

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # See Authority.__reduce__.
        return Origin, (self.scheme, self.authority)

    @classmethod
    def of(cls, scheme: str, authority: Authority) -> Origin:
        """Return an origin.  Equal arguments return the same object while it is cached."""
        return _origin(scheme, authority)

    def host_as(self, sent: bytes | None) -> bytes:
        """Return the value of C{Host} for a request to this origin.

        @param sent: the client's value.  It is preserved if it is the same authority in other letter case, with a root
            dot or with a default port, because a signature can cover it.  Other spellings, for example of addresses,
            are replaced because servers interpret them differently.
        """
        if sent is None or sent == self.host_field:
            return self.host_field
        authority = self.authority
        hosts = [authority.url_host] if authority.ip is not None else [authority.host, f"{authority.host}."]
        spellings = [f"{host}:{authority.port}" for host in hosts]
        if DEFAULT_PORTS.get(self.scheme) == authority.port:
            spellings += hosts
        return sent if sent.lower().decode("latin-1") in spellings else self.host_field

    def __str__(self) -> str:
        return self._text


@lru_cache(maxsize=4096)
def _origin(scheme: str, authority: Authority) -> Origin:
    return Origin(scheme, authority)


# mypyc checks the type of the value that a class body assigns, which is not yet the one of the attribute.
_NONE: Any = None


def _scheme(value: object) -> str:
    if not isinstance(value, str) or value not in UPSTREAM_PORTS:
        raise BadValue("must be http, https, socks5 or socks5h")
    return value


# At run time, a compiled class does not know the types of fields with several ones.
@attrs.frozen(field_transformer=checked(scheme=_scheme, authorization=optional(instance(bytes))))
class UpstreamHop:
    """A proxy through which requests are sent.

    @ivar scheme: its protocol: C{"http"}, C{"https"}, C{"socks5"} (the proxy resolves the names of origins), or
        C{"socks5h"} (the upstream proxy resolves them).
    @ivar authority: its host and port.
    @ivar authorization: the value of C{Proxy-Authorization}, or C{None}; for SOCKS5, a C{Basic} value with the name and
        the password.  Excluded from C{repr} because it is a secret.
    """

    scheme: str
    authority: Authority
    authorization: bytes | None = attrs.field(default=_NONE, repr=False)

    def __attrs_post_init__(self) -> None:
        """Reject credentials that would end the header field and inject another, or that SOCKS5 cannot carry.

        @raise ConfigError: if the credentials cannot be used.
        """
        if self.authorization is None:
            return
        if not re.fullmatch(rb"[\t -~\x80-\xff]+", self.authorization):
            raise ConfigError("authorization", "", "must be one line without control characters, as in b'Basic ...'")
        if self.is_socks:
            name, password = self.login or (b"", b"")
            if not (0 < len(name) < 256 and len(password) < 256):
                remedy = "SOCKS5 requires a name of 1 to 255 bytes, and a password of at most 255 bytes"
                raise ConfigError("authorization", "", remedy)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS5, so that each connection through it is a tunnel."""
        return self.scheme.startswith("socks")

    @property
    def resolves_names(self) -> bool:
        """Whether it receives the names of origins, and resolves them itself."""
        return self.scheme != "socks5"

    @property
    def login(self) -> tuple[bytes, bytes] | None:
        """The name and the password; C{None} if there are no C{Basic} credentials."""
        scheme, _, text = (self.authorization or b"").partition(b" ")
        try:
            name, _, password = b64decode(text.strip(), validate=True).partition(b":")
        except binascii.Error:
            return None
        return (name, password) if scheme.lower() == b"basic" else None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@attrs.frozen(
    field_transformer=checked(
        scheme=_scheme, authorization=optional(instance(bytes)), via=optional(instance(UpstreamHop))
    )
)
class UpstreamProxy(UpstreamHop):
    """The organization's upstream proxy, through which requests are sent.

    @ivar via: the proxy through which this one is contacted; C{None}: it is contacted directly.
    """

    via: UpstreamHop | None = None

    def __attrs_post_init__(self) -> None:
        """Reject credentials that cannot be used, and a chain that is too long or returns to a proxy.

        @raise ConfigError: names the field.
        """
        super().__attrs_post_init__()
        if isinstance(self.via, UpstreamProxy) and self.via.via is not None:
            raise ConfigError("via", "", "a chain has at most two upstream proxies: remove one")
        if self.via is not None and self.via.authority == self.authority:
            raise ConfigError("via", "", "a chain must not contain the same upstream proxy twice: remove one")

    @property
    def hops(self) -> tuple[UpstreamHop, ...]:
        """The proxies of the chain, in the order in which they are contacted."""
        return (self,) if self.via is None else (self.via, self)

    def __str__(self) -> str:
        return UpstreamHop.__str__(self) if self.via is None else f"{UpstreamHop.__str__(self)} via {self.via}"
