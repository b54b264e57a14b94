"""Field lines to fields, by httptools (llhttp), with the bounds that it lacks."""

from __future__ import annotations

import re
from typing import Final

import httptools

from egress.model.decision import Header, Headers

# The first line is read elsewhere, where its limits and refusals are; llhttp gets one that it always accepts.  It knows
# only registered methods, and would stop at the head of a CONNECT.
_REQUEST_LINE: Final = b"POST / HTTP/1.1\r\n"
_STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"

# RFC 9112 section 5: one field a line, a token and at once its colon.  Releases of llhttp differ in what else they
# take: that of httptools 0.6.0 reads folded lines, and white space before a colon as part of the name.
_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
# A proxy removes white space between the name and the colon from a response (RFC 9112 section 5.1).
_SPACED = re.compile(rb"((?:\A|(?<=\r\n))[!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+(?=:)")


class MalformedFields(ValueError):
    """The field lines are not what RFC 9112 section 5 allows."""


class TooManyFields(MalformedFields):
    """More fields than the limit."""


class _Collector:
    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[Header] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp takes leading white space off a value, not trailing.
        self.fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_fields(block: bytes, limit: int, *, response: bool = False) -> Headers:
    """Parse field lines, the empty line that ends them included.

    What lets two parsers disagree is refused: folded lines, white space before the colon, bare CR or LF and control
    characters here; by llhttp a C{Content-Length} that is repeated or stands beside C{Transfer-Encoding}.

    @param response: whether the block is a response's; llhttp accepts other transfer codings there, and white space
        before the colon is removed (RFC 9112 section 5.1) instead of refused.
    @raise TooManyFields: over C{limit} fields.
    @raise MalformedFields: saying what is wrong.
    """
    collector = _Collector()
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser
    if response:
        if b" :" in block or b"\t:" in block:
            block = _SPACED.sub(rb"\1", block)
        parser, first_line = httptools.HttpResponseParser(collector), _STATUS_LINE
    else:
        parser, first_line = httptools.HttpRequestParser(collector), _REQUEST_LINE
    try:
        parser.feed_data(first_line + block)
    except httptools.HttpParserUpgrade:
        pass  # the head asks for an upgrade; whether it gets one is decided elsewhere
    except httptools.HttpParserError as error:
        raise MalformedFields(str(error)) from error
    if not collector.complete or _BLOCK.fullmatch(block) is None:
        raise MalformedFields("a line is not NAME: VALUE, or the lines do not end")
    if len(collector.fields) > limit:
        raise TooManyFields(f"more than {limit} fields")
    return tuple(collector.fields)
