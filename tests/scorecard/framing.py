"""The end of the content of a request: two lengths, malformed lengths, codings and chunks."""

from __future__ import annotations

from tests.scorecard.cases import SMUGGLED, Case, Must, chunked, forward, get, post, raw, refuse

CODINGS = "Transfer-Encoding"
LENGTHS = "Content-Length"
CHUNKS = "Chunked coding"

_LAST = b"0\r\n\r\n"
_SMUGGLING = _LAST + SMUGGLED


def _coding(id: str, about: str, *lines: bytes, must: Must | None = None) -> Case:  # noqa: A002
    """A POST with two readings: with its length, all bytes are content; with its coding, a second request follows."""
    return raw(post(_SMUGGLING, *lines), CODINGS, id, about, must or refuse())


_LENGTH = b"Content-Length: %d" % len(_SMUGGLING)

_CODINGS = (
    _coding(
        "cl-te",
        "CL.TE: a length and a coding; the length covers a second request",
        _LENGTH,
        b"Transfer-Encoding: chunked",
    ),
    _coding("te-cl-order", "the same, with the coding first", b"Transfer-Encoding: chunked", _LENGTH),
    raw(
        post(b"1\r\nx\r\n" + _LAST, b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        CODINGS,
        "te-cl",
        "TE.CL: a length and a coding; the length ends inside the chunks",
        refuse(),
    ),
    _coding("te-zero-cl", "a coding and a length of zero", b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    _coding(
        "te-te-other", "two fields, the second one unknown", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"
    ),
    _coding(
        "te-te-first",
        "two fields, the first one unknown",
        b"Transfer-Encoding: x",
        b"Transfer-Encoding: chunked",
        must=refuse(400, 501),
    ),
    _coding("te-te-twice", "chunked in two fields", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    _coding("te-te-list", "chunked twice in a list", b"Transfer-Encoding: chunked, chunked", must=refuse(400, 501)),
    _coding("te-identity", "identity, then chunked", b"Transfer-Encoding: identity, chunked", must=refuse(400, 501)),
    _coding("te-not-last", "chunked, then identity", b"Transfer-Encoding: chunked, identity", must=refuse(400, 501)),
    _coding("te-gzip", "gzip, then chunked", b"Transfer-Encoding: gzip, chunked", must=refuse(400, 501)),
    _coding("te-unknown", "only an unknown coding", b"Transfer-Encoding: xchunked", must=refuse(400, 501)),
    _coding("te-unknown-cl", "an unknown coding and a length", b"Transfer-Encoding: xchunked", _LENGTH),
    _coding("te-short", "a coding that is a prefix of chunked", b"Transfer-Encoding: chunk", _LENGTH),
    _coding("te-quoted", "chunked in quotes", b'Transfer-Encoding: "chunked"', _LENGTH),
    _coding("te-parameter", "chunked with a parameter", b"Transfer-Encoding: chunked;q=1", must=refuse(400, 501)),
    _coding("te-empty", "an empty coding and a length", b"Transfer-Encoding:", _LENGTH),
    _coding("te-empty-member", "chunked after a comma", b"Transfer-Encoding: ,chunked", must=refuse(400, 501)),
    _coding("te-case-cl", "mixed case, and a length", b"tRANSFER-eNCODING: cHUNKED", _LENGTH),
    _coding("te-space-cl", "a space before the colon, and a length", b"Transfer-Encoding : chunked", _LENGTH),
    _coding("te-tab-cl", "a tab before the colon, and a length", b"Transfer-Encoding\t: chunked", _LENGTH),
    _coding("te-underscore", "Transfer_Encoding, and a length", b"Transfer_Encoding: chunked", _LENGTH),
    _coding("te-leading-space", "the line begins with a space", b" Transfer-Encoding: chunked", _LENGTH),
    _coding("te-fold", "the value on a folded line", b"Transfer-Encoding:\r\n chunked", _LENGTH),
    _coding("te-behind-lf", "after a bare line feed in another value", b"X: y\nTransfer-Encoding: chunked", _LENGTH),
    _coding("te-behind-cr", "after a bare carriage return", b"X: y\rTransfer-Encoding: chunked", _LENGTH),
    _coding("te-vertical-tab", "a vertical tab before the value", b"Transfer-Encoding: \x0bchunked", _LENGTH),
    _coding("te-nul", "a NUL after the value", b"Transfer-Encoding: chunked\x00", _LENGTH),
    _coding("te-nbsp", "a no-break space after the value", b"Transfer-Encoding: chunked\xa0", _LENGTH),
    _coding("te-cr", "a carriage return after the value", b"Transfer-Encoding: chunked\r", _LENGTH),
    raw(
        post(_LAST, b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
        CODINGS,
        "te-http10",
        "chunked in HTTP/1.0",
        refuse(),
    ),
    raw(post(_LAST, b"Transfer-Encoding: CHUNKED"), CODINGS, "te-upper", "chunked in uppercase", forward()),
    raw(
        post(_LAST, b"Transfer-Encoding: \t chunked \t"),
        CODINGS,
        "te-padded",
        "chunked between white space",
        Must((400,), forwarded=1),
    ),
    raw(
        post(_SMUGGLING, b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding"),
        CODINGS,
        "te-nominated",
        "Connection lists Transfer-Encoding; a denied request follows",
        forward(1, 403),
    ),
)


def _length(id: str, about: str, *lines: bytes, must: Must | None = None, content: bytes = b"hello") -> Case:  # noqa: A002
    return raw(post(content, *lines), LENGTHS, id, about, must or refuse())


_LENGTHS = (
    _length("cl-twice", "two different lengths", b"Content-Length: 5", b"Content-Length: 0"),
    _length("cl-same-twice", "the same length twice", b"Content-Length: 5", b"Content-Length: 5"),
    _length("cl-list", "the same length twice in a list", b"Content-Length: 5, 5"),
    _length("cl-list-other", "two lengths in a list", b"Content-Length: 5, 0"),
    _length("cl-plus", "a plus sign", b"Content-Length: +5"),
    _length("cl-minus", "a minus sign", b"Content-Length: -5"),
    _length("cl-minus-zero", "minus zero", b"Content-Length: -0"),
    _length("cl-hex", "hexadecimal", b"Content-Length: 0x5"),
    _length("cl-octal", "a leading zero", b"Content-Length: 05"),
    _length("cl-float", "a decimal point", b"Content-Length: 5.0"),
    _length("cl-exponent", "an exponent", b"Content-Length: 5e0"),
    _length("cl-underscore-digit", "an underscore between digits", b"Content-Length: 0_5"),
    _length("cl-fullwidth", "digits of another script", "Content-Length: \uff15".encode()),
    _length("cl-space-inside", "a space between digits", b"Content-Length: 5 0"),
    _length("cl-empty", "an empty value", b"Content-Length:"),
    _length("cl-semicolon", "a semicolon after the value", b"Content-Length: 5;"),
    _length("cl-word", "a word", b"Content-Length: five"),
    _length("cl-2-63", "2 to the power of 63", b"Content-Length: 9223372036854775808"),
    _length("cl-2-64", "wraps to 5 in 64 bits", b"Content-Length: 18446744073709551621"),
    _length("cl-thousand-digits", "a thousand digits", b"Content-Length: " + b"1" * 1000),
    _length("cl-name-space", "a space before the colon", b"Content-Length : 5"),
    _length("cl-name-underscore", "Content_Length", b"Content_Length: 5"),
    _length("cl-name-inside", "a space in the name", b"Content Length: 5"),
    _length("cl-fold", "the value on a folded line", b"Content-Length:\r\n 5"),
    _length("cl-nul", "a NUL after the value", b"Content-Length: 5\x00"),
    _length("cl-trailing-space", "white space around the value", b"Content-Length: \t5 ", must=forward()),
    _length(
        "cl-nominated",
        "Connection lists Content-Length",
        b"Content-Length: 5",
        b"Connection: content-length",
        must=forward(),
    ),
    raw(
        get(b"http://<origin>/", b"Content-Length: 5") + b"hello",
        LENGTHS,
        "cl-get",
        "a GET with content",
        forward(),
    ),
    raw(
        post(SMUGGLED, b"Content-Length: 0"),
        LENGTHS,
        "cl-short",
        "a denied request after a length of zero",
        forward(1, 403),
    ),
    raw(post(SMUGGLED), LENGTHS, "cl-none", "a denied request after a POST without a length", forward(1, 403)),
    _length("cl-long", "content that never arrives", b"Content-Length: 500", must=Must(closed=True, statuses=(408,))),
)


def _chunk(id: str, about: str, content: bytes, must: Must | None = None) -> Case:  # noqa: A002
    return raw(chunked(content), CHUNKS, id, about, must or refuse())


_CHUNKS = (
    _chunk("chunk-hex-prefix", "0x before the size", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-plus", "a plus sign", b"+5\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-minus", "a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-space-before", "a space before the size", b" 5\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-space-behind", "a space after the size", b"5 \r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-tab-behind", "a tab after the size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-underscore", "an underscore in the size", b"0_5\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-empty-size", "no size", b"\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-no-hex", "a size that is not a number", b"g\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-2-64", "wraps to 5 in 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-sixteen-digits", "5 in sixteen digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-zeros", "a leading zero", b"05\r\nhello\r\n000\r\n\r\n", forward()),
    _chunk("chunk-upper", "a size in uppercase", b"A\r\n0123456789\r\n0\r\n\r\n", forward()),
    _chunk("chunk-lf", "a bare line feed after the size", b"5\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-cr", "a bare carriage return after the size", b"5\rhello\r\n0\r\n\r\n"),
    _chunk("chunk-lf-data", "a bare line feed after the data", b"5\r\nhello\n0\r\n\r\n"),
    _chunk("chunk-no-crlf", "no line end after the data", b"5\r\nhello0\r\n\r\n"),
    _chunk("chunk-long", "more data than the size", b"5\r\nhello!\r\n0\r\n\r\n"),
    _chunk("chunk-any-two", "two other bytes after the data", b"5\r\nhelloXX0\r\n\r\n"),
    _chunk("chunk-extension", "an extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", forward()),
    _chunk("chunk-extension-space", "spaces around an extension", b"5 ; a = b\r\nhello\r\n0 ;c\r\n\r\n", forward()),
    _chunk("chunk-extension-tab", "a tab before an extension", b"5\t;a\r\nhello\r\n0\r\n\r\n", forward()),
    _chunk("chunk-extension-empty", "a semicolon and a space without an extension", b"5; \r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-space-inside", "a space inside the size", b"5 0\r\nhello\r\n0\r\n\r\n"),
    _chunk(
        "chunk-extension-then",
        "spaces around an extension, and a denied request after the content",
        b"0 ; a=b\r\n\r\n" + SMUGGLED,
        forward(1, 403),
    ),
    _chunk("chunk-extension-lf", "a line feed in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-extension-cr", "a carriage return in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-extension-nul", "a NUL in an extension", b"5;a=\x00\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-extension-quoted", "a quoted line end in an extension", b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'),
    _chunk("chunk-extension-smuggle", "a request in an extension", b"0;\r\n\r\n" + SMUGGLED),
    _chunk("chunk-extension-flood", "an extension of 64 KiB", b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n"),
    _chunk("chunk-last-space", "a space after the last size", b"0 \r\n\r\n"),
    _chunk("chunk-last-lf", "bare line feeds at the end", b"5\r\nhello\r\n0\n\n"),
    _chunk("chunk-no-end", "no empty line at the end, and another request", b"5\r\nhello\r\n0\r\n" + SMUGGLED),
    _chunk("chunk-then", "a denied request after the last chunk", b"0\r\n\r\n" + SMUGGLED, forward(1, 403)),
    _chunk("chunk-cut", "a chunk that never ends", b"5\r\nhel", Must(closed=True, statuses=(408,))),
    _chunk(
        "trailer-length",
        "Content-Length as a trailer",
        b"0\r\nContent-Length: 60\r\n\r\n",
        Must((400,), forwarded=1),
    ),
    _chunk(
        "trailer-coding",
        "Transfer-Encoding as a trailer",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Must((400,), forwarded=1),
    ),
    _chunk("trailer-host", "Host as a trailer", b"0\r\nHost: <other>\r\n\r\n", Must((400,), forwarded=1)),
    _chunk(
        "trailer-underscore",
        "Content_Length as a trailer",
        b"0\r\nContent_Length: 60\r\n\r\n",
        Must((400,), forwarded=1),
    ),
    _chunk(
        "trailer-authorization",
        "Authorization as a trailer",
        b"0\r\nAuthorization: Basic eA==\r\n\r\n",
        Must((400,), forwarded=1),
    ),
    _chunk("trailer-fold", "a folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
    _chunk("trailer-lf", "a bare line feed in a trailer", b"0\r\nX: y\nZ: z\r\n\r\n"),
    _chunk("trailer-nul", "a NUL in a trailer", b"0\r\nX: \x00\r\n\r\n"),
    _chunk("trailer-flood", "trailers of 128 KiB", b"0\r\nX: " + b"y" * 131072 + b"\r\n\r\n"),
)

CASES = (*_CODINGS, *_LENGTHS, *_CHUNKS)
