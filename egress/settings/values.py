"""Reading the values of options: from text, as people write it, to the types of L{egress.config}.

Each function takes the text and the place where it was given, and raises L{BadValue} with what to write instead.
Files are looked at, names are not resolved and nothing is bound.
"""

from __future__ import annotations

import enum
import os
import re
from base64 import b64encode
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import attrs
from twisted.internet.endpoints import serverFromString

from egress.config import KIB, MIB, AuditFailure, AuthzApi, AuthzBody, IPNetwork, Mode, OversizeBody, Resolve
from egress.model.authority import DEFAULT_PORTS, Authority, Origin, UpstreamProxy, normalize_host, parse_ip
from egress.model.bypass import Bypass, HostPattern
from egress.model.client_tls import ClientTls
from egress.model.entrance import Entrance, InvalidEntrance
from egress.model.errors import InvalidTarget

_E = TypeVar("_E", bound=enum.Enum)

_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(?:([kmg])(?:ib)?)?", re.IGNORECASE)
_SIZES: Final = {"": 1, "k": KIB, "m": MIB, "g": KIB * MIB}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)?", re.IGNORECASE)
_DURATIONS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE: Final = ("1", "true", "yes", "on")
_BOOLEANS: Final = dict.fromkeys(_TRUE, True) | dict.fromkeys(("0", "false", "no", "off"), False)
_AUTHZ_URL: Final = re.compile(r"(https?)://([^/?#]*)(/[!-~]*)?", re.IGNORECASE)
_TCP_PORT: Final = re.compile(r"tcp6?:(?:port=)?([0-9]+)")
# RFC 9110 section 5.6.2.
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE: Final = re.compile(r"[!-~]+")

_TOKEN_FILE: Final = 64 * KIB

# More than any machine gains from, and fewer than would make it suffer from a slip of the hand.
MAX_WORKERS: Final = 256


class BadValue(ValueError):
    """A value that cannot be used.

    @ivar remedy: what to write instead, in one clause, without the value.
    """

    def __init__(self, remedy: str) -> None:
        super().__init__(remedy)
        self.remedy = remedy


@attrs.frozen
class Place:
    """Where a value was given.

    @ivar directory: what relative paths start from.
    @ivar reactor: the one that endpoints will be made for.
    """

    directory: Path
    reactor: Any = None

    def path(self, text: str) -> Path:
        """Make a path absolute: twistd may change the working directory later."""
        if "\0" in text:
            raise BadValue("a file name cannot have a null character")
        try:
            return self.directory / Path(text).expanduser()
        except RuntimeError as error:
            raise BadValue("the home directory is not known: write the path in full") from error


def size(text: str, place: Place) -> int:
    """Read a number of bytes: C{1048576}, C{512k}, C{1m}, C{1MiB}."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadValue("write a number of bytes, or of KiB, MiB or GiB, as in 1048576, 512k or 1MiB")
    number = int(match[1]) * _SIZES[(match[2] or "").lower()]
    if number == 0:
        raise BadValue("must be greater than zero")
    return number


def duration(text: str, place: Place) -> float:
    """Read a number of seconds: C{5}, C{2.5s}, C{500ms}, C{2m}."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadValue("write a number of seconds, or with a unit, as in 5, 2.5s, 500ms or 2m")
    seconds = float(match[1]) * _DURATIONS[(match[2] or "").lower()]
    if seconds == 0:
        raise BadValue("must be greater than zero")
    return seconds


def duration_or_zero(text: str, place: Place) -> float:
    """Read a number of seconds, of which there may be none."""
    if re.fullmatch(r"0(?:\.0+)? ?(?:ms|s|m|h)?", text, re.IGNORECASE):
        return 0.0
    return duration(text, place)


def boolean(text: str, place: Place) -> bool:
    """Read C{true} or C{false}, in the usual spellings."""
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise BadValue("write true or false")
    return value


def _one_of(kind: type[_E]) -> Callable[[str, Place], _E]:
    """Make what reads one of a few words."""
    *others, last = (member.value for member in kind)

    def read(text: str, place: Place) -> _E:
        try:
            return kind(text.lower())
        except ValueError as error:
            raise BadValue(f"choose {', '.join(others)} or {last}") from error

    return read


oversize_body: Final = _one_of(OversizeBody)
authz_api: Final = _one_of(AuthzApi)
authz_body: Final = _one_of(AuthzBody)
mode: Final = _one_of(Mode)
audit_failure: Final = _one_of(AuditFailure)
resolve: Final = _one_of(Resolve)
client_tls: Final = _one_of(ClientTls)


def field_name(text: str, place: Place) -> str:
    """Read the name of a header field."""
    if not _FIELD_NAME.fullmatch(text):
        raise BadValue("write names of header fields, as in X-Auth-User")
    return text.lower()


def workers(text: str, place: Place) -> int:
    """Read a number of processes; C{auto} is one for each core that this process may use."""
    if text.lower() == "auto":
        return _cores()
    if not re.fullmatch("[0-9]{1,3}", text) or not 0 < int(text) <= MAX_WORKERS:
        raise BadValue(f"write a number of processes from 1 to {MAX_WORKERS}, or auto")
    return int(text)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)  # pragma: no cover - not on Linux


def number(text: str, place: Place) -> int:
    """Read a number of things, of which there is at least one."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise BadValue("write a number greater than zero")
    return int(text)


def number_or_zero(text: str, place: Place) -> int:
    """Read a number of things, of which there may be none."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise BadValue("write a number, or 0 for none")
    return int(text)


def number_or_none(text: str, place: Place) -> int | None:
    """Read a number of things, or C{none} for no bound."""
    if text.lower() == "none":
        return None
    try:
        return number(text, place)
    except BadValue as error:
        raise BadValue("write a number greater than zero, or none") from error


def port(text: str, place: Place) -> int:
    """Read a TCP port."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise BadValue("write a TCP port from 1 to 65535")
    return int(text)


def ports(text: str, place: Place) -> range:
    """Read a TCP port, or a range of them: C{443}, C{8000-8999}."""
    first, dash, last = text.partition("-")
    try:
        read = range(port(first, place), port(last if dash else first, place) + 1)
    except BadValue as error:
        raise BadValue("write a TCP port, or two with a dash between, as in 443 or 8000-8999") from error
    if not read:
        raise BadValue(f"the first port is above the last: write {last}-{first}")
    return read


def interface(text: str, place: Place) -> str:
    """Read the address of an interface."""
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise BadValue("write an IP address of this machine, as in 127.0.0.1, or 0.0.0.0 for all") from error


def endpoint(text: str, place: Place) -> Entrance:
    """Check the description of a server endpoint, without binding it."""
    try:
        entrance = Entrance.parse(text, place.path)
    except InvalidEntrance as error:
        raise BadValue(error.remedy) from error
    try:
        serverFromString(place.reactor, entrance.endpoint)  # type: ignore[no-untyped-call]
    except Exception as error:
        # The parser may be a plugin, and raises what it likes; Twisted's own raise four kinds of errors.
        raise BadValue("write an endpoint as in tcp:8080:interface=127.0.0.1 or unix:/run/egress.sock") from error
    tls = entrance.tls
    files = () if tls is None else (tls.key, tls.certificate, tls.chain, tls.client_ca)
    for path in filter(None, (*files, entrance.client_auth)):
        _check_readable(path)
    match = _TCP_PORT.match(entrance.endpoint)
    if match is not None and int(match[1][:6]) > 65535:
        raise BadValue("write a TCP port up to 65535, as in tcp:8080:interface=127.0.0.1")
    return entrance


def authz_url(text: str, place: Place) -> str:
    """Read the URL of an authorization service."""
    match = _AUTHZ_URL.fullmatch(text)
    if match is None:
        raise BadValue("write an http:// or https:// URL as in http://127.0.0.1:9000")
    scheme, path = match[1].lower(), match[3] or ""
    if "@" in text:
        raise BadValue("leave the credentials out, the service is given the token of --authz-token-file")
    if "?" in path or "#" in path:
        raise BadValue("leave out what follows the path")
    return f"{Origin(scheme, _authority(match[2], scheme, 'http://127.0.0.1:9000'))}{path}"


def upstream_proxy(text: str, place: Place) -> UpstreamProxy:
    """Read the URL of a proxy, with its credentials."""
    # Variables in the wild often leave the scheme out.
    scheme, _, rest = (text if "://" in text else f"http://{text}").partition("://")
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise BadValue(
            "write an http:// or https:// URL as in http://proxy.example:3128; other kinds are not supported"
        )
    userinfo, _, hostport = rest.rpartition("@")
    if re.search("[/?#]", userinfo):
        raise BadValue("percent-encode / ? and # in the credentials, as %2F %3F and %23")
    hostport = hostport.removesuffix("/")
    if re.search("[/?#]", hostport):
        raise BadValue("leave out what follows the host and port")
    return UpstreamProxy(scheme, _authority(hostport, scheme, "http://proxy.example:3128"), _basic(userinfo))


def _authority(text: str, scheme: str, example: str) -> Authority:
    try:
        return Authority.parse(text, DEFAULT_PORTS[scheme])
    except InvalidTarget as error:
        raise BadValue(f"write a host, and a port where it has one, as in {example}: {error.reason}") from error


def _basic(userinfo: str) -> bytes | None:
    """Make the credentials for C{Proxy-Authorization} (RFC 7617 section 2)."""
    if not userinfo:
        return None
    user_text, _, password_text = userinfo.partition(":")
    user, password = unquote_to_bytes(user_text), unquote_to_bytes(password_text)
    if b":" in user or re.search(rb"[\x00-\x1f\x7f]", user + password):
        raise BadValue("a user name cannot have a colon, nor the credentials control characters")
    return b"Basic " + b64encode(user + b":" + password)


def bypass_entry(text: str, place: Place) -> str:
    """Check one entry of C{NO_PROXY}."""
    try:
        Bypass.parse(text)
    except InvalidTarget as error:
        raise BadValue(f"write a host, a .suffix, an address or a range: {error.reason}") from error
    return text


def host_pattern(text: str, place: Place) -> str:
    """Check one host pattern."""
    try:
        HostPattern.parse(text, suffix=False)
    except InvalidTarget as error:
        raise BadValue(f"write a host, or *.host for what is below it: {error.reason}") from error
    return text


def address_range(text: str, place: Place) -> IPNetwork:
    """Read a CIDR range, or one address."""
    try:
        return ip_network(text)
    except ValueError as error:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise BadValue("write an address range as in 10.0.0.0/8") from error
        raise BadValue(f"there are bits beyond the prefix: write {meant}, or the one address alone") from error


def name_constraint(text: str, place: Place) -> str | IPNetwork:
    """Read what a CA may sign for: a name with all below it, an address or a CIDR range."""
    if "/" in text or parse_ip(text) is not None:
        return address_range(text, place)
    try:
        host = normalize_host(text.removeprefix("*").removeprefix("."))
    except InvalidTarget as error:
        raise BadValue(f"write hosts or address ranges, as in example.com,10.0.0.0/8: {error.reason}") from error
    address = parse_ip(host)
    return host if address is None else ip_network(address)


def token(text: str, place: Place) -> str:
    """Read a bearer token."""
    if not _VISIBLE.fullmatch(text):
        raise BadValue("a token is one word of visible ASCII characters")
    return text


def token_file(text: str, place: Place) -> str:
    """Read a bearer token from a file that holds it alone."""
    path = readable_file(text, place)
    with path.open("rb") as file:
        data = file.read(_TOKEN_FILE + 1)
    if len(data) > _TOKEN_FILE:
        raise BadValue("a token file holds the token alone")
    try:
        return token(data.decode("ascii").strip(), place)
    except (BadValue, UnicodeDecodeError) as error:
        raise BadValue("a token file holds the token alone: one word of visible ASCII characters") from error


def readable_file(text: str, place: Place) -> Path:
    """Check that a file is there and can be read."""
    path = place.path(text)
    _check_readable(path)
    return path


def _check_readable(path: Path) -> None:
    try:
        # Opening a FIFO would wait for its writer.
        if path.exists() and not path.is_file():
            raise BadValue("name a file; this is none")
        path.open("rb").close()
    except OSError as error:
        raise BadValue(f"name a file that can be read: {error.strerror}") from error


def directory(text: str, place: Place) -> Path:
    """Check that a directory is there, or nothing yet."""
    path = place.path(text)
    try:
        if path.exists() and not path.is_dir():
            raise BadValue("name a directory; this is none")
    except OSError as error:
        raise BadValue(f"name a directory that can be used: {error.strerror}") from error
    return path


def log_file(text: str, place: Place) -> str:
    """Check that a file can be appended to, or made; C{-} is standard output."""
    if text == "-":
        return text
    path = place.path(text)
    try:
        if path.is_dir():
            raise BadValue("name a file; this is a directory")
        if not path.parent.is_dir():
            raise BadValue(f"make the directory {str(path.parent)!r} first")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise BadValue("name a file that can be written to")
    except OSError as error:
        raise BadValue(f"name a file that can be written to: {error.strerror}") from error
    return str(path)


def shadow_log(text: str, place: Place) -> str:
    """Check that a file can be appended to, or made."""
    if text == "-":
        raise BadValue("name a file; write ./- for one of that name")
    return log_file(text, place)
