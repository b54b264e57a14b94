"""HTTP/2 to the proxy itself, whose requests and tunnels share one connection, and HTTP/2 without TLS in tunnels."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.scorecard.cases import Case, Listener, Must, forward, refuse
from tests.scorecard.http2 import CHUNKED, CONTENT, INJECTED, LENGTH, MALFORMED, data, head, trailers
from tests.scorecard.http2_wire import OPENING, Field, Frame

PROXY = "HTTP/2 to the proxy"
INSIDE = "HTTP/2 without TLS in tunnels"

_ORIGIN = b"<origin>"
_OPEN = wire.END_HEADERS
_MISDIRECTED = Must(statuses=(400, 421), closed=True)
_GET = b"GET / HTTP/1.1\r\nHost: <origin>\r\n\r\n"
_DENIED = b"GET /smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n"


def _get(*fields: Field, scheme: bytes | None = b"http", path: bytes | None = b"/", stream: int = 1) -> Frame:
    """A request to forward."""
    return head(*fields, scheme=scheme, path=path, authority=_ORIGIN, stream=stream)


def _post(*fields: Field) -> Frame:
    return head(*fields, method=b"POST", scheme=b"http", authority=_ORIGIN, flags=_OPEN)


def _connect(
    *fields: Field,
    authority: bytes | None = _ORIGIN,
    scheme: bytes | None = None,
    path: bytes | None = None,
    flags: int = _OPEN,
    stream: int = 1,
) -> Frame:
    return head(*fields, method=b"CONNECT", scheme=scheme, path=path, authority=authority, flags=flags, stream=stream)


def _websocket(authority: bytes, path: bytes = b"/", protocol: bytes = b"websocket") -> Frame:
    fields = (b":protocol", protocol), (b"sec-websocket-version", b"13")
    return _connect(*fields, authority=authority, scheme=b"http", path=path)


def _case(id: str, about: str, must: Must, *parts: tuple[Frame, ...]) -> Case:  # noqa: A002
    return Case(f"h2-proxy-{id}", PROXY, about, must, listener=Listener.HTTP2, http2=parts)


def _malformed(id: str, about: str, *frames: Frame) -> Case:  # noqa: A002
    return _case(id, about, MALFORMED, frames)


def _tunnel(id: str, about: str, must: Must, *frames: Frame) -> Case:  # noqa: A002
    """A tunnel to the origin, and what follows after its response."""
    return _case(f"tunnel-{id}", about, must, (_connect(),), frames)


def _inside(id: str, about: str, must: Must, *frames: Frame) -> Case:  # noqa: A002
    return Case(f"h2c-{id}", INSIDE, about, must, tunnel=_ORIGIN, http2=(frames,))


_REQUESTS = (
    _case("get", "GET", forward(), (_get(),)),
    _case("two", "two streams", forward(2), (_get(), _get(stream=3))),
    _case(
        "hosts",
        "requests to two origins on one connection",
        forward(2),
        (_get(), head(scheme=b"http", authority=b"<other>", stream=3)),
    ),
    _case(
        "denied",
        "a request that is denied, next to one that is allowed",
        forward(1, 403),
        (_get(path=b"/smuggled"), _get(stream=3)),
    ),
    _case("post", "content that looks like a request", forward(), (_post(), data(INJECTED))),
    _case("asterisk", "OPTIONS *", forward(), (head(method=b"OPTIONS", scheme=b"http", path=b"*", authority=_ORIGIN),)),
    _malformed("asterisk-get", "* for GET", _get(path=b"*")),
    _malformed("path-url", "a URL of another host as the path", _get(path=b"http://<other>/")),
    _malformed("path-relative", "a path without a slash", _get(path=b"smuggled")),
    _malformed("path-crlf", "CR and LF in the path", _get(path=b"/ HTTP/1.1\r\nHost: <origin>\r\n\r\nGET /smuggled")),
    _malformed("path-space", "a space in the path", _get(path=b"/ HTTP/1.1")),
    _malformed("path-missing", "no path", _get(path=None)),
    _malformed("scheme-missing", "no scheme", _get(scheme=None)),
    _malformed("scheme-url", "a second URL in the scheme", _get(scheme=b"http://<other>/ ")),
    _case("scheme-other", "another scheme", Must(statuses=(400, 501), closed=True), (_get(scheme=b"ftp"),)),
    _malformed("authority-missing", "no authority and no Host", head(scheme=b"http", authority=None)),
    _malformed("authority-two", "two authorities", _get((b":authority", b"<other>"))),
    _malformed(
        "authority-user", "an authority with user information", head(scheme=b"http", authority=b"user@<origin>")
    ),
    _malformed("authority-path", "an authority with a path", head(scheme=b"http", authority=b"<origin>/smuggled")),
    _malformed("authority-query", "an authority with a query", head(scheme=b"http", authority=b"<origin>?smuggled=")),
    _malformed("authority-crlf", "CR and LF in the authority", head(scheme=b"http", authority=b"<origin>\r\nx: y")),
    _case("host-other", "another Host than the authority", _MISDIRECTED, (_get((b"host", b"<other>")),)),
    _malformed("value-crlf", "CR and LF in a value", _get((b"x-a", INJECTED))),
    _malformed("transfer-encoding", "transfer-encoding", _post(CHUNKED), data(b"0\r\n\r\n" + INJECTED)),
    _malformed("length-long", "more content than announced", _post((b"content-length", b"0")), data(INJECTED)),
    _malformed("length-short", "less content than announced", _post((b"content-length", b"9")), data(CONTENT)),
)

_TUNNELS = (
    _malformed("connect-scheme", "CONNECT with a scheme", _connect(scheme=b"http")),
    _malformed("connect-path", "CONNECT with a path", _connect(path=b"/")),
    _malformed("connect-both", "CONNECT with a scheme and a path", _connect(scheme=b"http", path=b"/")),
    _malformed("connect-missing", "CONNECT without an authority", _connect(authority=None)),
    _malformed("connect-portless", "CONNECT without a port", _connect(authority=b"localhost")),
    _malformed("connect-url", "CONNECT to a URL", _connect(authority=b"http://<origin>/")),
    _malformed("connect-user", "CONNECT with credentials in the authority", _connect(authority=b"user@<origin>")),
    _malformed("connect-host", "CONNECT with another Host", _connect((b"host", b"<other>"))),
    _malformed("connect-length", "CONNECT with content", _connect(LENGTH), data(CONTENT)),
    _case(
        "connect-denied",
        "a tunnel to a host that is denied, next to a request that is allowed",
        forward(1, 403),
        (_connect(authority=b"smuggled.test:80"), _get(stream=3)),
        (data(b"GET / HTTP/1.1\r\nHost: smuggled.test:80\r\n\r\n", end=False),),
    ),
    _case("connect-early", "a denied request before the response to CONNECT", refuse(403), (_connect(), data(_DENIED))),
    _case("websocket-denied", "a WebSocket that is denied", refuse(403), (_websocket(_ORIGIN, b"/smuggled"),)),
    _case(
        "connect-udp",
        "CONNECT with another protocol",
        Must(statuses=(400, 403, 501), closed=True),
        (_websocket(_ORIGIN, protocol=b"connect-udp"),),
    ),
    _tunnel("request", "a request in a tunnel", forward(), data(_GET, end=False)),
    _tunnel(
        "pieces",
        "the same in DATA frames of one octet",
        forward(),
        *(data(bytes([one]), end=False) for one in _GET[:4]),
        data(_GET[4:], end=False),
    ),
    _tunnel("end", "the same, and the client ends its direction", forward(), data(_GET)),
    _tunnel(
        "front",
        "a request in a tunnel with a different Host",
        refuse(421),
        data(_GET.replace(_ORIGIN, b"<other>"), end=False),
    ),
    _tunnel(
        "url",
        "a request in a tunnel with the URL of a different host",
        refuse(421),
        data(b"GET http://<other>/ HTTP/1.1\r\nHost: <other>\r\n\r\n", end=False),
    ),
    _tunnel(
        "connect",
        "a CONNECT in a tunnel",
        refuse(400, 405),
        data(b"CONNECT <other> HTTP/1.1\r\nHost: <other>\r\n\r\n", end=False),
    ),
    _tunnel(
        "cl-te",
        "CL.TE in a tunnel",
        refuse(),
        data(
            b"POST / HTTP/1.1\r\nHost: <origin>\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            end=False,
        ),
    ),
    _tunnel("denied", "a denied request in a tunnel", refuse(403), data(_DENIED, end=False)),
    _tunnel("second", "a second request in a tunnel that is denied", forward(1, 403), data(_GET + _DENIED, end=False)),
    _tunnel("binary", "binary data in a tunnel", Must(closed=True), data(bytes(range(256)), end=False)),
    _tunnel("trailers", "a path in trailers of a tunnel", Must(closed=True), trailers((b":path", b"/smuggled"))),
    _tunnel(
        "head",
        "a second request on the stream of a tunnel",
        Must(statuses=(400,), closed=True),
        _get(path=b"/smuggled"),
    ),
    _tunnel(
        "next",
        "a tunnel and a request share a connection",
        forward(
            2,
        ),
        data(_GET, end=False),
        _get(stream=3),
    ),
    _tunnel("idle", "data on a stream without a tunnel", Must(closed=True), data(_GET, stream=3)),
    _case(
        "tunnel-two",
        "tunnels to two origins on one connection, with their requests exchanged",
        refuse(421),
        (_connect(), _connect(authority=b"<other>", stream=3)),
        (data(_GET.replace(_ORIGIN, b"<other>"), end=False), data(_GET, end=False, stream=3)),
    ),
    Case(
        "h2-proxy-preface",
        PROXY,
        "HTTP/2 on a listener that does not permit it",
        Must(statuses=(400, 505), closed=True),
        (OPENING + _get().encode(lambda value: value),),
    ),
)

_H2C = (
    _inside("get", "GET", forward(), _get()),
    _inside(
        "denied",
        "a request that is denied, next to one that is allowed",
        forward(1, 403),
        _get(path=b"/smuggled"),
        _get(stream=3),
    ),
    _inside("authority", "another authority", _MISDIRECTED, head(scheme=b"http", authority=b"<other>")),
    _inside("host", "another Host than the authority", _MISDIRECTED, _get((b"host", b"<other>"))),
    _inside("scheme", "the scheme https without TLS", _MISDIRECTED, _get(scheme=b"https")),
    _inside("path-url", "a URL as the path", MALFORMED, _get(path=b"http://<other>/")),
    _inside("transfer-encoding", "transfer-encoding", MALFORMED, _post(CHUNKED), data(b"0\r\n\r\n" + INJECTED)),
    _inside("length", "more content than announced", MALFORMED, _post((b"content-length", b"0")), data(INJECTED)),
    _inside("value-crlf", "CR and LF in a value", MALFORMED, _get((b"x-a", INJECTED))),
    _inside(
        "connect",
        "CONNECT inside the tunnel",
        Must(statuses=(400, 403, 405, 421, 501), closed=True),
        _connect(authority=b"<other>"),
    ),
    _inside("websocket", "a WebSocket with another authority", _MISDIRECTED, _websocket(b"<other>")),
)

CASES = (*_REQUESTS, *_TUNNELS, *_H2C)
