"""Converters for structured configuration text: URLs, hosts, header fields, tokens.

The command line, a configuration file and an application that embeds the proxy use the same converters.
Each returns the converted value, or raises L{egress.model.converters.BadValue}.
"""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote_to_bytes

from egress.model.authority import (
    UPSTREAM_PORTS,
    Authority,
    Origin,
    UpstreamHop,
    UpstreamProxy,
    normalize_host,
    parse_ip,
)
from egress.model.converters import BadValue, ConfigError, network, several, string, text
from egress.model.dns_server import DnsServer, InvalidDnsServer
from egress.model.errors import InvalidTarget
from egress.model.no_proxy import Bypass, HostPattern
from egress.model.protocol import protocol_name

_AUTHZ_URL: Final = re.compile(r"(https?)://([^/?#]*)(/[!-~]*)?", re.IGNORECASE)
# RFC 9110 section 5.6.2.
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# libpq also accepts lists of hosts.
_POSTGRESQL: Final = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^@/?#\s]*)@)?[^@/?#\s]*(?:/[^/?#\s]*)?(?:\?(?P<query>[^#\s]*))?"
)
_PASSWORD: Final = re.compile(r"(?:^|&)[^=&]*password=", re.IGNORECASE)
_VISIBLE: Final = re.compile(r"[!-~]+")


def field_name(value: object) -> str:
    """Accept the name of a header field, and convert it to lower case."""
    name = string(value)
    if not _FIELD_NAME.fullmatch(name):
        raise BadValue("write the name of a header field, as in X-Auth-User")
    return name.lower()


def token(value: object) -> str:
    """Accept a bearer token."""
    word = string(value)
    if not _VISIBLE.fullmatch(word):
        raise BadValue("a token must be one word of visible ASCII characters")
    return word


def interface(value: object) -> str:
    """Accept the address of a network interface."""
    try:
        return str(ip_address(str(value)))
    except ValueError as error:
        raise BadValue("write an IP address of this machine, as in 127.0.0.1, or 0.0.0.0 for all addresses") from error


def authz_url(value: object) -> str:
    """Accept the URL of an authorization service."""
    url = string(value)
    match = _AUTHZ_URL.fullmatch(url)
    if match is None:
        raise BadValue("write an http:// or https:// URL as in http://127.0.0.1:9000")
    scheme, path = match[1].lower(), match[3] or ""
    if "@" in url:
        raise BadValue("remove the credentials: use a token with --authz-token-file")
    if "?" in path or "#" in path:
        raise BadValue("remove the query and the fragment")
    return f"{Origin(scheme, _authority(match[2], scheme, 'http://127.0.0.1:9000'))}{path}"


def upstream_proxy(value: object) -> UpstreamProxy:
    """Accept an upstream proxy, or its URL with its credentials; or a chain, as in C{URL via URL}."""
    if isinstance(value, UpstreamProxy):
        return value
    # No URL contains white space.
    url, *others = re.split(r"\s+via\s+", string(value), flags=re.IGNORECASE)
    if len(others) > 1:
        raise BadValue("a chain has at most two upstream proxies: write URL via URL")
    try:
        via = UpstreamHop(*_hop(others[0])) if others else None
        return UpstreamProxy(*_hop(url), via)
    except ConfigError as error:
        raise BadValue(error.remedy) from error


def _hop(url: str) -> tuple[str, Authority, bytes | None]:
    """Parse the URL of a proxy: its scheme, its host and port, and its credentials."""
    # Environment variables often omit the scheme.
    scheme, _, rest = (url if "://" in url else f"http://{url}").partition("://")
    scheme = scheme.lower()
    if scheme not in UPSTREAM_PORTS:
        raise BadValue(
            "write an http://, https://, socks5:// or socks5h:// URL as in http://proxy.example:3128; other schemes "
            "are not supported"
        )
    if "://" in rest:
        raise BadValue("for a chain of two upstream proxies, write URL via URL")
    userinfo, _, hostport = rest.rpartition("@")
    if re.search("[/?#]", userinfo):
        raise BadValue("percent-encode / ? and # in the credentials, as %2F %3F and %23")
    hostport = hostport.removesuffix("/")
    if re.search("[/?#]", hostport):
        raise BadValue("remove the text after the host and port")
    example = f"{scheme}://proxy.example:1080" if scheme.startswith("socks") else "http://proxy.example:3128"
    return scheme, _authority(hostport, scheme, example), _basic(userinfo)


def _authority(written: str, scheme: str, example: str) -> Authority:
    try:
        return Authority.parse(written, UPSTREAM_PORTS[scheme])
    except InvalidTarget as error:
        raise BadValue(f"write a host and an optional port, as in {example}: {error.reason}") from error


def _basic(userinfo: str) -> bytes | None:
    """Build the credentials for C{Proxy-Authorization} (RFC 7617 section 2)."""
    if not userinfo:
        return None
    user_text, _, password_text = userinfo.partition(":")
    user, password = unquote_to_bytes(user_text), unquote_to_bytes(password_text)
    if b":" in user or re.search(rb"[\x00-\x1f\x7f]", user + password):
        raise BadValue("the user name must not contain a colon, and the credentials no control characters")
    return b"Basic " + b64encode(user + b":" + password)


def dns_server(value: object) -> DnsServer:
    """Accept a DNS server, or its address with an optional port."""
    if isinstance(value, DnsServer):
        return value
    try:
        return DnsServer.parse(string(value))
    except InvalidDnsServer as error:
        raise BadValue(error.remedy) from error


def upgrade_protocol(value: object) -> str:
    """Accept the name of a protocol as in the C{Upgrade} field, and convert it to lower case."""
    try:
        return protocol_name(string(value))
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue(str(error)) from error


def bypass(value: object) -> Bypass:
    """Accept a L{Bypass}, the text of C{NO_PROXY}, or a list of its entries."""
    if isinstance(value, Bypass):
        return value
    entries = (value,) if isinstance(value, str) else several(text)(value)
    try:
        return Bypass.parse(",".join(entries))
    except InvalidTarget as error:
        raise BadValue(f"write a host, a .suffix, an address or a range: {error.reason}") from error


def host_pattern(value: object) -> str:
    """Accept a host pattern, and return it as text."""
    pattern = string(value)
    try:
        HostPattern.parse(pattern, suffix=False)
    except InvalidTarget as error:
        raise BadValue(f"write a host, or *.host for its subdomains: {error.reason}") from error
    return pattern


def host_name(value: object) -> str:
    """Accept a host name or an address without a port, and return it in lower case."""
    text = string(value)
    try:
        return normalize_host(f"[{text}]" if ":" in text and not text.startswith("[") else text)
    except InvalidTarget as error:
        raise BadValue(f"write a host without a port, as in proxy.example: {error.reason}") from error


def name_constraint(value: object) -> str | IPv4Network | IPv6Network:
    """Accept a name constraint of a CA: a name with its subdomains, an address or a CIDR range."""
    if not isinstance(value, str) or "/" in value or parse_ip(value) is not None:
        return network(value)
    try:
        host = normalize_host(value.removeprefix("*").removeprefix("."))
    except InvalidTarget as error:
        raise BadValue(f"write hosts or address ranges, as in example.com,10.0.0.0/8: {error.reason}") from error
    address = parse_ip(host)
    return host if address is None else ip_network(address)


def audit_store(value: object) -> str:
    """Accept the location of an audit store: C{sqlite:FILE}, or a C{postgresql://} URL without a password."""
    given = text(value)
    match = _POSTGRESQL.fullmatch(given)
    if match is not None:
        if ":" in (match["user"] or "") or _PASSWORD.search(match["query"] or ""):
            remedy = "remove the password: use --audit-store-password-file, or a password file of libpq"
            raise BadValue(remedy, part=("",))
        return given
    if not given.startswith("sqlite:") or given == "sqlite:":
        raise BadValue("write sqlite:FILE, as in sqlite:/var/lib/egress/audit.db, or postgresql://USER@HOST/DATABASE")
    return given


def password(value: object) -> str:
    """Accept a password: one line of text."""
    given = text(value)
    if not given.isprintable():
        raise BadValue("a password must be one line without control characters")
    return given
