"""Responses: the effect of ambiguous framing by an origin on a client.

The client sends two requests over one connection.  The response to the second request must belong to that request.
"""

from __future__ import annotations

from tests.scorecard.cases import GET, OK, Case, Must, cut, forward, refuse

REPLIES = "Responses"

_MORE = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
_HINTS = b"HTTP/1.1 103 Hints\r\nLink: %b\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BAD = refuse(502)


def _reply(id: str, about: str, answer: bytes, must: Must = _BAD, *, closes: bool = False, sent: bytes = GET) -> Case:  # noqa: A002
    return Case(f"reply-{id}", REPLIES, about, must, (sent, GET), answer=answer, then_closes=closes, reply=True)


def _ok(*lines: bytes, content: bytes = b"hello") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", content])


_CHUNKED = b"Transfer-Encoding: chunked"
_HEAD = GET.replace(b"GET", b"HEAD", 1)

CASES = (
    _reply("good", "a valid response", OK, forward()),
    _reply(
        "challenge",
        "407, a challenge that only a proxy may send",
        b"HTTP/1.1 407 Log In\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
    ),
    _reply("cl-te", "a length and a coding", _ok(b"Content-Length: 5", _CHUNKED, content=b"0\r\n\r\n" + _MORE)),
    _reply(
        "te-cl", "the same, with the coding first", _ok(_CHUNKED, b"Content-Length: 5", content=b"0\r\n\r\n" + _MORE)
    ),
    _reply("cl-two", "two lengths", _ok(b"Content-Length: 5", b"Content-Length: 0")),
    _reply("cl-same", "the same length twice", _ok(b"Content-Length: 5", b"Content-Length: 5")),
    _reply("cl-list", "two lengths in a list", _ok(b"Content-Length: 5, 5")),
    _reply("cl-plus", "a plus sign", _ok(b"Content-Length: +5")),
    _reply("cl-minus", "a negative length", _ok(b"Content-Length: -5")),
    _reply("cl-underscore", "Content_Length", _ok(b"Content_Length: 5"), closes=True),
    _reply(
        "te-underscore", "Transfer_Encoding, and a length", _ok(b"Transfer_Encoding: chunked", b"Content-Length: 5")
    ),
    _reply(
        "cl-octal",
        "leading zeros: 8 in octal, 10 in decimal",
        _ok(b"Content-Length: 010", content=b"0123456789"),
        forward(),
    ),
    _reply("cl-huge", "a length that wraps in 64 bits", _ok(b"Content-Length: 18446744073709551621")),
    _reply("te-gzip", "gzip, then chunked", _ok(b"Transfer-Encoding: gzip, chunked", content=b"0\r\n\r\n")),
    _reply("te-unknown", "an unknown coding", _ok(b"Transfer-Encoding: x", content=b"0\r\n\r\n")),
    _reply("te-twice", "chunked twice", _ok(_CHUNKED, _CHUNKED, content=b"0\r\n\r\n")),
    _reply(
        "te-space", "a space before the colon", _ok(b"Transfer-Encoding : chunked", content=b"0\r\n\r\n"), forward()
    ),
    _reply(
        "te-space-cl",
        "a space before the colon of a coding, and a length",
        _ok(b"Transfer-Encoding : chunked", b"Content-Length: 5", content=b"0\r\n\r\n" + _MORE),
    ),
    _reply(
        "cl-space-two",
        "two lengths, one with a space before the colon",
        _ok(b"Content-Length : 5", b"Content-Length: 0"),
    ),
    _reply("space-field", "a space before the colon of another field", _ok(b"A : b", b"Content-Length: 5"), forward()),
    _reply("te-10", "chunked in HTTP/1.0", _ok(_CHUNKED, content=b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")),
    _reply("fold", "a folded line", _ok(b"A: b", b" c", b"Content-Length: 5")),
    _reply("lf", "bare line feeds", _ok(b"Content-Length: 5").replace(b"\r\n", b"\n")),
    _reply("lf-one", "one bare line feed", _ok(b"A: b\nC: d", b"Content-Length: 5")),
    _reply("cr-one", "one bare carriage return", _ok(b"A: b\rC: d", b"Content-Length: 5")),
    _reply("nul", "NUL in a value", _ok(b"A: b\x00c", b"Content-Length: 5")),
    _reply("name-space", "a space in a name", _ok(b"A b: c", b"Content-Length: 5")),
    _reply("no-colon", "a line without a colon", _ok(b"A", b"Content-Length: 5")),
    _reply("version", "HTTP/2.0", _ok(b"Content-Length: 5").replace(b"HTTP/1.1", b"HTTP/2.0")),
    _reply("status", "a status of two digits", _ok(b"Content-Length: 5").replace(b"200", b"20")),
    _reply("status-zero", "status 099", _ok(b"Content-Length: 5").replace(b"200", b"099")),
    _reply("phrase-cr", "a carriage return in the phrase", _ok(b"Content-Length: 5").replace(b"OK", b"O\rK")),
    _reply("http09", "HTTP/0.9: only content", b"hello", closes=True),
    _reply("empty-line", "an empty line before the status line", b"\r\n" + OK),
    _reply("head-huge", "a head of 200 KB", _ok(b"A: " + b"b" * 200_000, b"Content-Length: 5")),
    _reply("fields-many", "5,000 fields", _ok(*[b"A: b"] * 5000, b"Content-Length: 5")),
    _reply(
        "interim-flood",
        "many interim responses, then a close",
        b"HTTP/1.1 103 Hints\r\n\r\n" * 50,
        cut(),
        closes=True,
    ),
    _reply("interim-many", "200 interim responses before a valid response", b"HTTP/1.1 103 Hints\r\n\r\n" * 200 + OK),
    _reply("interim-large", "interim responses of 200 KB", _HINTS % (b"b" * 20_000) * 10 + OK),
    _reply("late-408", "a 408 after the response, for the idle connection", OK + _LATE, forward(), closes=True),
    _reply("chunk-hex", "0x before a chunk size", _ok(_CHUNKED, content=b"0x5\r\nhello\r\n0\r\n\r\n"), cut()),
    _reply(
        "chunk-wrap",
        "a chunk size that wraps",
        _ok(_CHUNKED, content=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        cut(),
    ),
    _reply("chunk-lf", "a bare line feed after a chunk size", _ok(_CHUNKED, content=b"5\nhello\r\n0\r\n\r\n"), cut()),
    _reply("chunk-long", "more data than the size", _ok(_CHUNKED, content=b"5\r\nhello!\r\n0\r\n\r\n"), cut()),
    _reply("chunk-cut", "a truncated chunk", _ok(_CHUNKED, content=b"5\r\nhel"), cut(), closes=True),
    _reply("chunk-extension", "an extension", _ok(_CHUNKED, content=b"5;a=b\r\nhello\r\n0\r\n\r\n"), forward()),
    _reply(
        "chunk-extension-space",
        "spaces around an extension",
        _ok(_CHUNKED, content=b"5 ; a\r\nhello\r\n0\r\n\r\n"),
        forward(),
    ),
    _reply("chunk-space", "a space after the size", _ok(_CHUNKED, content=b"5 \r\nhello\r\n0 \r\n\r\n"), forward()),
    _reply(
        "chunk-zeros",
        "a size with many leading zeros",
        _ok(_CHUNKED, content=b"0" * 20 + b"5\r\nhello\r\n" + b"0" * 20 + b"\r\n\r\n"),
        forward(),
    ),
    _reply("chunk-space-inside", "a space inside the size", _ok(_CHUNKED, content=b"5 0\r\nhello\r\n0\r\n\r\n"), cut()),
    _reply(
        "trailer-length",
        "Content-Length as a trailer",
        _ok(_CHUNKED, content=b"5\r\nhello\r\n0\r\nContent-Length: 60\r\n\r\n"),
        Must((502,), forwarded=1, cut=True),
    ),
    _reply(
        "trailer-cookie",
        "Set-Cookie as a trailer",
        _ok(_CHUNKED, content=b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n"),
        Must((502,), forwarded=1, cut=True),
    ),
    _reply("length-cut", "truncated content", _ok(b"Content-Length: 500"), cut(), closes=True),
    _reply("close", "no length: the close ends the response", _ok(), forward(), closes=True),
    _reply("more", "a second response after the first", OK + _MORE, forward()),
    _reply("more-bytes", "bytes after the response", OK + b"\x00\x01", forward()),
    _reply("head-content", "content in the response to a HEAD", OK, forward(), sent=_HEAD),
    _reply(
        "head-more",
        "a response after the response to a HEAD",
        _ok(b"Content-Length: 3", content=b"") + _MORE,
        forward(),
        sent=_HEAD,
    ),
    _reply(
        "204", "a 204 with a length", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", Must((502,), forwarded=1)
    ),
    _reply(
        "204-chunked",
        "a chunked 204",
        b"HTTP/1.1 204 No\r\n" + _CHUNKED + b"\r\n\r\n0\r\n\r\n" + _MORE,
        Must((502,), forwarded=1),
    ),
    _reply(
        "304",
        "a 304 with content",
        b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nhello" + _MORE,
        Must((502,), forwarded=1),
    ),
    _reply("100-length", "a 100 with a length", b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + OK, forward()),
    _reply(
        "nominated",
        "Connection lists Content-Length",
        _ok(b"Content-Length: 5", b"Connection: content-length"),
        forward(),
    ),
)
