"""The parsers of option values: from text to the types of L{egress.config.model}.

Each function takes the text and the place where it was given, and raises L{BadValue}, which names a valid replacement.
The parsers check files, but resolve no names and bind no ports.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.endpoints import serverFromString

from egress.config.listener import InvalidListener, Listener
from egress.config.model import KIB, MIB, AuditFailure, AuthzApi, AuthzBody, IPNetwork, Mode, OversizeBody, Resolve
from egress.config.systemd_socket import KIND, InvalidSocket, SystemdSocket
from egress.config.token_files import MAX_SIZE, read_token
from egress.model import text_converters as setting_text
from egress.model.authority import UpstreamProxy
from egress.model.client_tls import ClientTls
from egress.model.converters import BadValue as BadValue
from egress.model.converters import choice, network, parse_port, parse_ports
from egress.model.file_access import FileMode
from egress.model.jwt_issuer import ClientAuth, files_of
from egress.model.jwt_issuer import client_auth as parse_client_auth
from egress.model.log_format import LogFormat, LoggedRequests, LogThreshold
from egress.model.recorded_headers import AuditHeaders
from egress.model.trace import Otel

try:
    import grp
except ImportError:  # pragma: no cover - not on Windows
    grp = None  # type: ignore[assignment]

_E = TypeVar("_E", bound=enum.Enum)

_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(?:([kmg])(?:ib)?)?", re.IGNORECASE)
_SIZES: Final = {"": 1, "k": KIB, "m": MIB, "g": KIB * MIB}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)?", re.IGNORECASE)
_DURATIONS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE: Final = ("1", "true", "yes", "on")
_BOOLEANS: Final = dict.fromkeys(_TRUE, True) | dict.fromkeys(("0", "false", "no", "off"), False)
_TCP_PORT: Final = re.compile(r"tcp6?:(?:port=)?([0-9]+)")


# Higher than any useful number, and low enough that a typing error does not overload the machine.
MAX_WORKERS: Final = 256


@attrs.frozen
class ParseContext:
    """The context of a value.

    @ivar directory: the base of relative paths.
    @ivar reactor: the reactor of the endpoints.
    """

    directory: Path
    reactor: Any = None

    def path(self, text: str) -> Path:
        """Make a path absolute: twistd may change the working directory later."""
        if "\0" in text:
            raise BadValue("must not contain a null character")
        try:
            return self.directory / Path(text).expanduser()
        except RuntimeError as error:
            raise BadValue("the home directory is unknown: write an absolute path") from error


def size(text: str, place: ParseContext) -> int:
    """Parse a number of bytes: C{1048576}, C{512k}, C{1m}, C{1MiB}."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadValue("write a number of bytes, or of KiB, MiB or GiB, as in 1048576, 512k or 1MiB")
    number = int(match[1]) * _SIZES[(match[2] or "").lower()]
    if number == 0:
        raise BadValue("must be greater than zero")
    return number


def duration(text: str, place: ParseContext) -> float:
    """Parse a number of seconds: C{5}, C{2.5s}, C{500ms}, C{2m}."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadValue("write a number of seconds, or with a unit, as in 5, 2.5s, 500ms or 2m")
    seconds = float(match[1]) * _DURATIONS[(match[2] or "").lower()]
    if seconds == 0:
        raise BadValue("must be greater than zero")
    return seconds


def duration_or_zero(text: str, place: ParseContext) -> float:
    """Parse a number of seconds, which may be zero."""
    if re.fullmatch(r"0(?:\.0+)? ?(?:ms|s|m|h)?", text, re.IGNORECASE):
        return 0.0
    return duration(text, place)


def boolean(text: str, place: ParseContext) -> bool:
    """Parse C{true} or C{false}, in the usual spellings."""
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise BadValue("write true or false")
    return value


def switch(text: str, place: ParseContext) -> bool:
    """Parse C{on} or C{off}, in the usual spellings."""
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise BadValue("write on or off")
    return value


def _one_of(kind: type[_E]) -> Callable[[str, ParseContext], _E]:
    """Create a parser for the values of an enumeration."""
    take = choice(kind)
    return lambda text, place: take(text)


oversize_body: Final = _one_of(OversizeBody)
authz_api: Final = _one_of(AuthzApi)
authz_body: Final = _one_of(AuthzBody)
mode: Final = _one_of(Mode)
audit_failure: Final = _one_of(AuditFailure)
audit_headers: Final = _one_of(AuditHeaders)
otel: Final = _one_of(Otel)
resolve: Final = _one_of(Resolve)
client_tls: Final = _one_of(ClientTls)
log_format: Final = _one_of(LogFormat)
log_level: Final = _one_of(LogThreshold)
_FILE_MODE: Final = _one_of(FileMode)
log_requests: Final = _one_of(LoggedRequests)


def field_name(text: str, place: ParseContext) -> str:
    """Parse the name of a header field."""
    return setting_text.field_name(text)


def workers(text: str, place: ParseContext) -> int:
    """Parse a number of processes; C{auto} selects one for each core that this process may use."""
    if text.lower() == "auto":
        return _cores()
    if not re.fullmatch("[0-9]{1,3}", text) or not 0 < int(text) <= MAX_WORKERS:
        raise BadValue(f"write a number of processes from 1 to {MAX_WORKERS}, or auto")
    return int(text)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    return min(os.cpu_count() or 1, MAX_WORKERS)  # pragma: no cover - not on Linux


def number(text: str, place: ParseContext) -> int:
    """Parse a positive integer."""
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise BadValue("write a number greater than zero")
    return int(text)


def number_or_zero(text: str, place: ParseContext) -> int:
    """Parse a non-negative integer."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise BadValue("write a number, or 0 for none")
    return int(text)


def number_or_none(text: str, place: ParseContext) -> int | None:
    """Parse a positive integer, or C{none} for no limit."""
    if text.lower() == "none":
        return None
    try:
        return number(text, place)
    except BadValue as error:
        raise BadValue("write a number greater than zero, or none") from error


def port(text: str, place: ParseContext) -> int:
    """Parse a TCP port."""
    return parse_port(text)


def ports(text: str, place: ParseContext) -> range:
    """Parse a TCP port, or a range of ports: C{443}, C{8000-8999}."""
    return parse_ports(text)


def interface(text: str, place: ParseContext) -> str:
    """Parse the address of an interface."""
    return setting_text.interface(text)


def endpoint(text: str, place: ParseContext) -> Listener:
    """Check the description of a server endpoint, without binding it."""
    try:
        listener = Listener.parse(text, place.path)
    except InvalidListener as error:
        raise BadValue(error.remedy) from error
    try:
        if listener.endpoint.startswith(KIND):
            SystemdSocket.parse(listener.endpoint)
        else:
            serverFromString(place.reactor, listener.endpoint)  # type: ignore[no-untyped-call]
    except InvalidSocket as error:
        raise BadValue(str(error)) from error
    except Exception as error:
        # A plugin's parser may raise any exception; Twisted's own parsers raise four kinds of errors.
        raise BadValue("write an endpoint as in tcp:8080:interface=127.0.0.1 or unix:/run/egress.sock") from error
    tls = listener.tls
    files = () if tls is None else (tls.key, tls.certificate, tls.chain, tls.client_ca)
    for path in filter(None, (*files, *files_of(listener.client_auth))):
        _check_readable(path)
    match = _TCP_PORT.match(listener.endpoint)
    if match is not None and int(match[1][:6]) > 65535:
        raise BadValue("write a TCP port up to 65535, as in tcp:8080:interface=127.0.0.1")
    return listener


def client_auth(text: str, place: ParseContext) -> ClientAuth:
    """Parse how clients authenticate: a file with their secrets, or an issuer of tokens."""
    found = parse_client_auth(text, place.path)
    for path in files_of(found):
        _check_readable(path)
    return found


def authz_url(text: str, place: ParseContext) -> str:
    """Parse the URL of an authorization service."""
    return setting_text.authz_url(text)


def upstream_proxy(text: str, place: ParseContext) -> UpstreamProxy:
    """Parse the URL of a proxy, including its credentials."""
    return setting_text.upstream_proxy(text)


def bypass_entry(text: str, place: ParseContext) -> str:
    """Check one entry of C{NO_PROXY}."""
    setting_text.bypass(text)
    return text


def host_pattern(text: str, place: ParseContext) -> str:
    """Check one host pattern."""
    return setting_text.host_pattern(text)


def address_range(text: str, place: ParseContext) -> IPNetwork:
    """Parse a CIDR range or an address."""
    return network(text)


def name_constraint(text: str, place: ParseContext) -> str | IPNetwork:
    """Parse a name constraint of a CA: a name (which includes its subdomains), an address or a CIDR range."""
    return setting_text.name_constraint(text)


def token(text: str, place: ParseContext) -> str:
    """Parse a bearer token."""
    return setting_text.token(text)


def token_file(text: str, place: ParseContext) -> str:
    """Read a bearer token from a file that contains only the token."""
    return read_token(readable_file(text, place))


def path_of_token(text: str, place: ParseContext) -> Path:
    """Check a file that contains only a bearer token, which is read again for each use."""
    path = readable_file(text, place)
    read_token(path)
    return path


def password(text: str, place: ParseContext) -> str:
    """Parse a password."""
    return setting_text.password(text)


def password_file(text: str, place: ParseContext) -> str:
    """Read a password from a file that contains only the password, with or without a line feed at its end."""
    path = readable_file(text, place)
    with path.open("rb") as file:
        data = file.read(MAX_SIZE)
    try:
        return password(data.decode("utf-8").removesuffix("\n").removesuffix("\r"), place)
    except (BadValue, UnicodeDecodeError) as error:
        raise BadValue("a password file must contain only the password: one line of UTF-8") from error


def readable_file(text: str, place: ParseContext) -> Path:
    """Check that a file exists and can be read."""
    path = place.path(text)
    _check_readable(path)
    return path


def _check_readable(path: Path) -> None:
    try:
        # Opening a FIFO would wait for its writer.
        if path.exists() and not path.is_file():
            raise BadValue("must be a regular file")
        path.open("rb").close()
    except OSError as error:
        raise BadValue(f"must be a readable file: {error.strerror}") from error


def directory(text: str, place: ParseContext) -> Path:
    """Check that a path is a directory or does not exist yet."""
    path = place.path(text)
    try:
        if path.exists() and not path.is_dir():
            raise BadValue("must be a directory")
    except OSError as error:
        raise BadValue(f"must be an accessible directory: {error.strerror}") from error
    return path


def file_mode(text: str, place: ParseContext) -> FileMode:
    """Parse the mode of a log file; a leading zero is optional."""
    return _FILE_MODE(text.removeprefix("0"), place)


def group(text: str, place: ParseContext) -> int:
    """Find a group by its name or its id."""
    if text.isascii() and text.isdecimal():
        return int(text)
    if grp is None:  # pragma: no cover - not on Windows
        raise BadValue("this system has no groups: remove it")
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError) as error:
        raise BadValue("there is no such group: create it, or write its id") from error


def new_file(text: str, place: ParseContext) -> Path:
    """Check that a path is a file, or that it can be created."""
    path = place.path(text)
    try:
        if path.is_dir():
            raise BadValue("must be a file, not a directory")
        if not path.parent.is_dir():
            raise BadValue(f"create the directory {str(path.parent)!r} first")
    except OSError as error:
        raise BadValue(f"must be an accessible file: {error.strerror}") from error
    return path


def log_file(text: str, place: ParseContext) -> str:
    """Check that a file can be appended to or created; C{-} is standard output."""
    if text == "-":
        return text
    path = place.path(text)
    try:
        if path.is_dir():
            raise BadValue("must be a file, not a directory")
        if not path.parent.is_dir():
            raise BadValue(f"create the directory {str(path.parent)!r} first")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise BadValue("must be a writable file")
    except OSError as error:
        raise BadValue(f"must be a writable file: {error.strerror}") from error
    return str(path)


def audit_store(text: str, place: ParseContext) -> str:
    """Parse the location of an audit store."""
    kind, _, name = setting_text.audit_store(text).partition(":")
    if kind != "sqlite":
        return text
    path = place.path(name)
    try:
        if path.is_dir():
            raise BadValue("must be a file, not a directory")
        if not path.parent.is_dir():
            raise BadValue(f"create the directory {str(path.parent)!r} first")
    except OSError as error:
        raise BadValue(f"must be an accessible file: {error.strerror}") from error
    return f"{kind}:{path}"


def shadow_log(text: str, place: ParseContext) -> str:
    """Check that a file can be appended to or created."""
    if text == "-":
        raise BadValue("must be a file: write ./- for a file with the name -")
    return log_file(text, place)
