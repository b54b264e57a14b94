"""The parser of field lines, which uses httptools (llhttp) and adds limits that it lacks."""

from __future__ import annotations

import re
from typing import Final

import httptools

from egress.model.decision import Header, Headers

# The first line is parsed elsewhere, with its own limits and errors; llhttp gets one that it always accepts. It knows
# only registered methods, and would stop at the head of a CONNECT.
_REQUEST_LINE: Final = b"POST / HTTP/1.1\r\n"
_STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"

# RFC 9112 section 5: one field per line, a token directly followed by a colon. Releases of llhttp also accept other
# forms: the release in httptools 0.6.0 accepts folded lines, and reads white space before a colon as part of the name.
_NAME: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*"
_BLOCK: Final = re.compile(rb"(?:%b:%b\r\n)*\r\n" % (_NAME, _VALUE))
FIELD_VALUE: Final = re.compile(_VALUE)
"""A field value in any version of HTTP, with white space around it."""
MAX_REMEMBERED: Final = 1024
"""The maximum number of bytes of field lines that a connection remembers."""

# A proxy removes white space between the name and the colon from a response (RFC 9112 section 5.1).
_SPACED = re.compile(rb"((?:\A|(?<=\r\n))[!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+(?=:)")


class MalformedFields(ValueError):
    """The field lines violate RFC 9112 section 5."""


class TooManyFields(MalformedFields):
    """The number of fields exceeds the limit."""


class _Collector:
    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.fields: list[Header] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp removes leading white space from a value, but not trailing white space.
        self.fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_fields(block: bytes, limit: int, *, response: bool = False) -> Headers:
    """Parse field lines, including the empty line that ends them.

    Input that two parsers might read differently is rejected. This function rejects folded lines, white space before
    the colon, bare CR or LF, and control characters; llhttp rejects a C{Content-Length} that is repeated or combined
    with C{Transfer-Encoding}.

    @param block: the field lines.
    @param limit: the maximum number of fields.
    @param response: whether the fields belong to a response: llhttp then accepts other transfer codings, and white
        space before the colon is removed (RFC 9112 section 5.1) instead of rejected.
    @raise TooManyFields: if there are more than C{limit} fields.
    @raise MalformedFields: describes the error.
    """
    collector = _Collector()
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser
    if response:
        # Not "in", with which CPython raises and discards a TypeError for each bytes object.
        if block.find(b" :") >= 0 or block.find(b"\t:") >= 0:
            block = _SPACED.sub(rb"\1", block)
        parser, first_line = httptools.HttpResponseParser(collector), _STATUS_LINE
    else:
        parser, first_line = httptools.HttpRequestParser(collector), _REQUEST_LINE
    try:
        parser.feed_data(first_line + block)
    except httptools.HttpParserUpgrade:
        pass  # the head requests an upgrade, which is handled elsewhere
    except httptools.HttpParserError as error:
        raise MalformedFields(str(error)) from error
    if not collector.complete or _BLOCK.fullmatch(block) is None:
        raise MalformedFields("a line is not NAME: VALUE, or the end of the fields is missing")
    if len(collector.fields) > limit:
        raise TooManyFields(f"more than {limit} fields")
    return tuple(collector.fields)


class LastFields:
    """Parses the field lines of the messages of one connection, and remembers the last ones.

    A sender often repeats all fields in its next message, and equal bytes have an equal result.

    @param limit: the maximum number of fields.
    @param response: see L{parse_fields}.
    """

    __slots__ = ("_block", "_fields", "_limit", "_response")

    def __init__(self, limit: int, *, response: bool = False) -> None:
        self._limit = limit
        self._response = response
        # No fields.
        self._block = b"\r\n"
        self._fields: Headers = ()

    def parse(self, block: bytes) -> Headers:
        """Parse field lines; see L{parse_fields}."""
        if block == self._block:
            return self._fields
        fields = parse_fields(block, self._limit, response=self._response)
        if len(block) <= MAX_REMEMBERED:
            self._block, self._fields = block, fields
        return fields
