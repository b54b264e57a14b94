"""Requests in HTTP/2 that must not become other requests in HTTP/1.1."""

from __future__ import annotations

from tests.http2_conformance import frames as wire
from tests.scorecard.cases import Case, Must, forward
from tests.scorecard.http2_wire import Field, Frame

GROUP = "HTTP/2 requests"

SECURE = b"<secure>"
INJECTED = b"x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: <secure>\r\n\r\n"
CONTENT = b"content"
LENGTH = (b"content-length", b"7")
CHUNKED = (b"transfer-encoding", b"chunked")
WHOLE = wire.END_HEADERS | wire.END_STREAM

# A malformed request is a stream error, or the proxy sends an error response (RFC 9113 section 8.1.1).
MALFORMED = Must(statuses=(400,), closed=True)
MISDIRECTED = Must(statuses=(400, 421), closed=True)


def head(
    *fields: Field,
    method: bytes | None = b"GET",
    scheme: bytes | None = b"https",
    path: bytes | None = b"/",
    authority: bytes | None = SECURE,
    flags: int = WHOLE,
    stream: int = 1,
) -> Frame:
    """The head of a request; C{None} omits a pseudo-header field."""
    pseudo = ((b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", authority))
    given = tuple((name, value) for name, value in pseudo if value is not None)
    return Frame(wire.HEADERS, flags, stream, (*given, *fields))


def post(*fields: Field, path: bytes = b"/", stream: int = 1) -> Frame:
    """The head of a request whose content follows."""
    return head(*fields, method=b"POST", path=path, flags=wire.END_HEADERS, stream=stream)


def data(content: bytes, *, end: bool = True, stream: int = 1) -> Frame:
    """Content."""
    return Frame(wire.DATA, wire.END_STREAM if end else 0, stream, payload=content)


def trailers(*fields: Field) -> Frame:
    """The fields after the content."""
    return Frame(wire.HEADERS, WHOLE, fields=fields)


def _case(id: str, about: str, must: Must, *parts: tuple[Frame, ...]) -> Case:  # noqa: A002
    return Case(f"http2-{id}", GROUP, about, must, tunnel=SECURE, server_name="localhost", http2=parts)


def _malformed(id: str, about: str, *frames: Frame) -> Case:  # noqa: A002
    return _case(id, about, MALFORMED, frames)


CASES = (
    _case("get", "GET", forward(), (head(),)),
    _case("post", "content without a length", forward(), (post(), data(CONTENT))),
    _case("post-length", "content with its length", forward(), (post(LENGTH), data(CONTENT))),
    _case("two", "two streams", forward(2), (head(), head(path=b"/2", stream=3))),
    _case("cookies", "several cookie fields", forward(), (head((b"cookie", b"a=1"), (b"cookie", b"b=2")),)),
    _case("trailers", "trailers", forward(), (post(), data(CONTENT, end=False), trailers((b"x-sum", b"1")))),
    _case("body-request", "content that looks like a request", forward(), (post(), data(INJECTED))),
    _case("body-chunks", "content that looks like chunks", forward(), (post(), data(b"0\r\n\r\n" + INJECTED))),
    _malformed("value-crlf", "CR and LF in a value", head((b"x-a", INJECTED))),
    _malformed("value-lf", "LF in a value", head((b"x-a", INJECTED.replace(b"\r", b"")))),
    _malformed("value-cr", "CR in a value", head((b"x-a", b"x\rTransfer-Encoding: chunked"))),
    _malformed("value-nul", "NUL in a value", head((b"x-a", b"x\0y"))),
    _malformed("value-space", "white space around a value", head((b"x-a", b" x "))),
    _malformed("cookie-crlf", "CR and LF in a cookie", head((b"cookie", b"a=1"), (b"cookie", INJECTED))),
    _malformed("name-crlf", "CR and LF in a name", head((b"x-a: b\r\ntransfer-encoding: chunked\r\nx", b"y"))),
    _malformed("name-colon", "a colon in a name", head((b"transfer-encoding:chunked", b"x"))),
    _malformed("name-space", "a space in a name", head((b"transfer-encoding ", b"chunked"))),
    _malformed("name-upper", "capitals in a name", head((b"X-Name", b"x"))),
    _malformed("name-empty", "an empty name", head((b"", b"x"))),
    _malformed(
        "name-underscore",
        "content_length",
        post((b"content_length", b"3"), LENGTH),
        data(CONTENT),
    ),
    _malformed(
        "transfer-encoding",
        "transfer-encoding",
        post(CHUNKED),
        data(b"0\r\n\r\n" + INJECTED),
    ),
    _malformed("connection", "connection", head((b"connection", b"x-a"), (b"x-a", b"b"))),
    _malformed("keep-alive", "keep-alive", head((b"keep-alive", b"timeout=5"))),
    _malformed("proxy-connection", "proxy-connection", head((b"proxy-connection", b"keep-alive"))),
    _malformed("upgrade", "upgrade", head((b"upgrade", b"websocket"))),
    _case("te-trailers", "te with trailers", forward(), (head((b"te", b"trailers")),)),
    _malformed("te", "te with gzip", head((b"te", b"gzip, trailers"))),
    _malformed("length-short", "less content than announced", post((b"content-length", b"9")), data(CONTENT)),
    _malformed(
        "length-trailers",
        "trailers instead of the announced content",
        post((b"content-length", b"9")),
        data(CONTENT, end=False),
        trailers((b"x-a", b"b")),
    ),
    _malformed("length-long", "more content than announced", post((b"content-length", b"0")), data(INJECTED)),
    _malformed("length-two", "two lengths", post(LENGTH, (b"content-length", b"0")), data(CONTENT)),
    _malformed("length-list", "a list of lengths", post((b"content-length", b"7, 0")), data(CONTENT)),
    _malformed("length-plus", "a length with a sign", post((b"content-length", b"+7")), data(CONTENT)),
    _malformed("length-missing", "a length without content", head(LENGTH)),
    _malformed(
        "length-wraps",
        "a length that wraps in 64 bits",
        post((b"content-length", b"18446744073709551623")),
        data(CONTENT),
    ),
    _malformed("length-minus", "a negative length", post((b"content-length", b"-7")), data(CONTENT)),
    _malformed("length-empty", "an empty length", post((b"content-length", b"")), data(CONTENT)),
    _malformed("length-hex", "a length in hexadecimal", post((b"content-length", b"0x7")), data(CONTENT)),
    _malformed("path-crlf", "CR and LF in the path", head(path=b"/ HTTP/1.1\r\nHost: <secure>\r\n\r\nGET /smuggled")),
    _malformed("path-nul", "NUL in the path", head(path=b"/a\0b")),
    _malformed("path-tab", "a tab in the path", head(path=b"/a\tHTTP/1.1")),
    _malformed("path-fragment", "a fragment in the path", head(path=b"/#/smuggled")),
    _malformed("path-space", "a space in the path", head(path=b"/ HTTP/1.1")),
    _malformed("path-empty", "an empty path", head(path=b"")),
    _malformed("path-star", "* for GET", head(path=b"*")),
    _malformed("path-url", "a URL as the path", head(path=b"http://<other>/")),
    _malformed("path-relative", "a path without a slash", head(path=b"smuggled")),
    _malformed("path-two", "two paths", head((b":path", b"/smuggled"))),
    _malformed("path-late", "a second path after a field", head((b"x-a", b"b"), (b":path", b"/smuggled"))),
    _malformed("method-crlf", "CR and LF in the method", head(method=b"GET /smuggled HTTP/1.1\r\nx: y\r\n\r\nGET")),
    _malformed("method-space", "a space in the method", head(method=b"GET /smuggled")),
    _malformed("method-nul", "NUL in the method", head(method=b"GET\0")),
    _malformed("method-empty", "an empty method", head(method=b"")),
    _malformed("method-missing", "no method", head(method=None)),
    _malformed("method-two", "two methods", head((b":method", b"DELETE"))),
    _malformed("scheme-missing", "no scheme", head(scheme=None)),
    _case("scheme-other", "another scheme", MISDIRECTED, (head(scheme=b"ftp"),)),
    _malformed("scheme-space", "a second URL in the scheme", head(scheme=b"https://<other-secure>/ ")),
    _malformed("scheme-crlf", "CR and LF in the scheme", head(scheme=b"https\r\n")),
    _case("scheme-http", "the scheme http inside TLS", MISDIRECTED, (head(scheme=b"http"),)),
    _malformed("pseudo-unknown", "an unknown pseudo-header field", head((b":smuggled", b"1"))),
    _malformed("pseudo-upper", "a pseudo-header field in capitals", head((b":Path", b"/smuggled"))),
    _malformed("pseudo-empty", "a pseudo-header field without a name", head((b":", b"/smuggled"))),
    _malformed("pseudo-space", "a space after a pseudo-header field", head((b":path ", b"/smuggled"))),
    _malformed("pseudo-protocol", "a protocol for GET", head((b":protocol", b"websocket"))),
    _malformed("pseudo-status", ":status in a request", head((b":status", b"200"))),
    _case("authority-other", "another authority", MISDIRECTED, (head(authority=b"<other-secure>"),)),
    _case("authority-case", "the authority in capitals", forward(), (head(authority=b"LOCALHOST:<secure-port>"),)),
    _malformed("authority-missing", "no authority and no Host", head(authority=None)),
    _case("authority-host", "Host instead of the authority", forward(), (head((b"host", SECURE), authority=None),)),
    _malformed("authority-user", "an authority with user information", head(authority=b"user@<secure>")),
    _malformed("authority-path", "an authority with a path", head(authority=b"<secure>/smuggled")),
    _malformed("authority-crlf", "CR and LF in the authority", head(authority=b"<secure>\r\nx: y")),
    _malformed("authority-nul", "NUL in the authority", head(authority=b"<secure>\0.other.test")),
    _malformed("authority-space", "a space in the authority", head(authority=b"<secure> other.test")),
    _malformed("authority-empty", "an empty authority", head(authority=b"")),
    _malformed("authority-two", "two authorities", head((b":authority", b"<other-secure>"))),
    _case("host-other", "another Host than the authority", MISDIRECTED, (head((b"host", b"<other-secure>")),)),
    _malformed("host-two", "two Host fields", head((b"host", SECURE), (b"host", b"<other-secure>"), authority=None)),
    _case(
        "connect",
        "CONNECT inside the tunnel",
        Must(statuses=(400, 403, 405, 421, 501), closed=True),
        (head(method=b"CONNECT", scheme=None, path=None, authority=b"<other-secure>", flags=wire.END_HEADERS),),
    ),
    _case(
        "connect-websocket",
        "a WebSocket with another authority",
        MISDIRECTED,
        (
            head(
                (b":protocol", b"websocket"),
                (b"sec-websocket-version", b"13"),
                method=b"CONNECT",
                authority=b"<other-secure>",
                flags=wire.END_HEADERS,
            ),
        ),
    ),
    _case(
        "connect-protocol",
        "CONNECT with another protocol",
        Must(statuses=(400, 403, 501), closed=True),
        (head((b":protocol", b"connect-udp"), method=b"CONNECT", flags=wire.END_HEADERS),),
    ),
    _case(
        "trailers-framing",
        "trailers that frame the content",
        Must(statuses=(400,), closed=True, forwarded=1),
        (post(), data(CONTENT, end=False), trailers((b"content-length", b"0"), CHUNKED)),
    ),
    _malformed(
        "trailers-crlf",
        "CR and LF in trailers",
        post(LENGTH),
        data(CONTENT, end=False),
        trailers((b"x-a", INJECTED)),
    ),
    _malformed(
        "trailers-pseudo", "a path in trailers", post(), data(CONTENT, end=False), trailers((b":path", b"/smuggled"))
    ),
    _case("interrupted", "a request inside a header block", MALFORMED, (head(flags=wire.END_STREAM), head(stream=3))),
    _case(
        "after-end", "a second request on one stream", Must(forwarded=1, closed=True), (head(), head(path=b"/smuggled"))
    ),
    _case("even", "a stream of the server", MALFORMED, (head(stream=2),)),
    _case("idle", "content without a request", MALFORMED, (data(INJECTED),)),
    _case(
        "denied",
        "a request that is denied, next to one that is allowed",
        forward(1, 403),
        (head(path=b"/smuggled"), head(stream=3)),
    ),
    _case(
        "large",
        "a large header list",
        Must(statuses=(431,), closed=True),
        (
            Frame(wire.HEADERS, wire.END_STREAM, 1, head().fields),
            *(Frame(wire.CONTINUATION, 0, 1, ((b"x-large", b"a" * 16_000),)) for _ in range(20)),
            Frame(wire.CONTINUATION, wire.END_HEADERS, 1, ((b"x-end", b"1"),)),
        ),
    ),
)
