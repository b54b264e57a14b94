"""The parser of request-targets in their four forms (RFC 9112 section 3.2)."""

from __future__ import annotations

import enum
import re
from collections.abc import Container
from typing import Final

import attr

from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.errors import InvalidTarget


class TargetForm(enum.Enum):
    """The form of a request-target.

    @cvar ORIGIN: a path, with an optional query.
    @cvar ABSOLUTE: a whole URL.
    @cvar AUTHORITY: a host and a port, as in CONNECT.
    @cvar ASTERISK: C{*}, as in C{OPTIONS *}.
    """

    ORIGIN = "origin-form"
    ABSOLUTE = "absolute-form"
    AUTHORITY = "authority-form"
    ASTERISK = "asterisk-form"


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class RequestTarget:
    """A parsed request-target.

    @ivar form: the form of the request-target.
    @ivar path: path and query as text, for the decision. Bytes that are not UTF-8 are percent-encoded; a server that
        decodes them gets the same bytes. C{"*"} in asterisk-form, empty in authority-form.
    @ivar scheme: only in absolute-form.
    @ivar authority: only in absolute- and authority-form.
    @ivar sent: path and query with exactly the bytes that were sent, for the outgoing request.
    """

    form: Final[TargetForm]
    path: Final[str]
    scheme: Final[str | None]
    authority: Final[Authority | None]
    sent: bytes = attr.ib(eq=False, repr=False)

    def __init__(
        self,
        form: TargetForm,
        path: str,
        scheme: str | None = None,
        authority: Authority | None = None,
        *,
        sent: bytes | None = None,
    ) -> None:
        self.form = form
        self.path = path
        self.scheme = scheme
        self.authority = authority
        self.sent = path.encode("utf-8") if sent is None else sent


# Some parsers end lines or fields at control characters and spaces, and a fragment is not part of a request-target.
# Many clients send other characters that RFC 3986 does not allow here ("<>\\^`{|}, and non-ASCII ones), and all servers
# accept them, so they are forwarded unchanged.
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f#]")
# Scheme, userinfo with host and port, path with query.
_ABSOLUTE: Final = re.compile(rb"(.*?)://([^/?]*)(.*)", re.DOTALL)
_NOT_UTF8: Final = {0xDC00 + byte: f"%{byte:02X}" for byte in range(0x80, 0x100)}

# WebSocket clients use these schemes for http and https (RFC 6455 section 3).
_SCHEME_ALIASES: Final = {"ws": "http", "wss": "https"}

CLEAR_TEXT: Final = frozenset({"http"})
"""What may be asked for where the connection of the client could be read by others: https URLs need a CONNECT there."""

_NEEDS_CONNECT: Final = (
    "an https URL in clear text is accepted only on loopback, unix: and ssl: listeners, and on those with https=allow; "
    "configure the client to use CONNECT"
)


def parse_request_target(
    method: str, raw: bytes, schemes: Container[str] = CLEAR_TEXT, *, canonical: bool = False
) -> RequestTarget:
    """Parse the request-target of a request with C{method}.

    Userinfo is dropped (RFC 9110 section 4.2.4): clients that put it there send C{Authorization} themselves. No error
    message quotes any part of the target (L{egress.model.quote}).

    @param method: the method.
    @param raw: the request-target as sent.
    @param schemes: the allowed schemes of absolute-form; each has a default port.
    @param canonical: whether to reject equivalent spellings: userinfo, and C{ws} for C{http}.
    @raise InvalidTarget: if it is not exactly one of the four forms, or has another scheme.
    """
    if not raw or _FORBIDDEN.search(raw):
        raise InvalidTarget("the request-target contains a character that must be percent-encoded")
    if method == "CONNECT":
        return RequestTarget(TargetForm.AUTHORITY, "", authority=Authority.parse(_host_text(raw), bare_ipv6=True))
    if raw[:1] == b"/":
        return RequestTarget(TargetForm.ORIGIN, _path_text(raw), sent=raw)
    if raw == b"*":
        if method != "OPTIONS":
            raise InvalidTarget("the request-target * is valid only for OPTIONS")
        return RequestTarget(TargetForm.ASTERISK, "*", sent=raw)
    return _parse_absolute(method, raw, schemes, canonical)


def _host_text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidTarget("the host is not valid UTF-8") from error


def _path_text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")
        return text.translate(_NOT_UTF8)


def _parse_absolute(method: str, raw: bytes, schemes: Container[str], canonical: bool) -> RequestTarget:
    match = _ABSOLUTE.fullmatch(raw)
    if match is None:
        raise InvalidTarget("the request-target is neither a path nor an absolute URL")
    name, hostport, sent = match.groups()
    scheme = name.decode("latin-1").lower()
    if not canonical:
        scheme = _SCHEME_ALIASES.get(scheme, scheme)
    if scheme not in schemes:
        if scheme in DEFAULT_PORTS:
            raise InvalidTarget(_NEEDS_CONNECT)
        raise InvalidTarget("this proxy does not support the URL scheme of the request-target")
    if hostport.find(b"\\") >= 0:  # see L{egress.http.field_lines.parse_fields}
        # Some servers and clients read it as a slash, and so another host.
        raise InvalidTarget("the request-target contains a backslash before its path")
    if not canonical:
        hostport = hostport.rpartition(b"@")[2]
    authority = Authority.parse(_host_text(hostport), DEFAULT_PORTS[scheme])
    if not sent:
        # RFC 9112 section 3.2.4: an OPTIONS without a path is about the server as a whole.
        sent = b"*" if method == "OPTIONS" else b"/"
    elif sent[:1] == b"?":
        sent = b"/" + sent
    return RequestTarget(TargetForm.ABSOLUTE, _path_text(sent), scheme, authority, sent=sent)
