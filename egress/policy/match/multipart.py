"""Content of the type C{multipart/form-data} (RFC 7578), if all servers split it alike.

Libraries accept a preamble, bare line feeds, folded header fields, parameters in any order, and a missing end, each in
its own way.  The parser accepts only the form that browsers and common HTTP clients send.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from egress.policy.match.work_budget import TooMuchWork, WorkBudget

MAX_PARTS: Final = 150
"""The maximum number of parts: parsing a part takes as long as parsing several parameters of a query."""

# Steps of work for a part, for each byte of its header, and for each two bytes of content.  A boundary that repeats
# itself takes long to find in content that nearly matches.
_PER_PART: Final = 16_000
_PER_HEADER_BYTE: Final = 25
_BYTES_PER_STEP: Final = 2
_PER_BYTE_OF_REPEATED: Final = 4
_REPEATED: Final = re.compile(rb"(.{1,8}?)\1{3,}", re.DOTALL)
_MAX_REPEATED: Final = 8

_MAX_HEADER: Final = 4096
_FIELD: Final = re.compile(rb"([A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_PARAMETER: Final = rb'(?:"([^"\\\x00-\x1f\x7f]*)"|([0-9A-Za-z_.-]+))'
# The name comes first: a search for "name=" would also find "filename=".
_DISPOSITION: Final = re.compile(
    rb"form-data; ?name=" + _PARAMETER + rb"(; ?filename=" + _PARAMETER + rb")?(?P<extended>; ?filename\*=[!#-:<-~]+)?"
)
# Fields that describe the part as it is.
_ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"binary"})
_LENGTH: Final = b"content-length"
_ENCODING: Final = b"content-transfer-encoding"
_TYPE: Final = b"content-type"
_NAMES: Final = frozenset({b"content-disposition", _TYPE, _ENCODING, _LENGTH})
# A field with this name states the charset of all others (RFC 7578 section 4.6).
_CHARSET: Final = b"_charset_"

_MEDIA_TYPE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)([ \t]*(?:;.*)?)")
_UTF_8: Final = re.compile(rb'[ \t]*(?:;[ \t]*charset=(?:"(?:utf-8|us-ascii)"|utf-8|us-ascii))?', re.IGNORECASE)
# Types of parts that all servers treat as the value of a field.
_TEXT: Final = frozenset({b"text/plain", b"application/json"})
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CONTROL_BYTES: Final = bytes(code for code in range(128) if _CONTROL.match(chr(code)))
_PLAIN: Final = re.compile(rb"[ -$&-:<-~]*")


class AmbiguousForm(Exception):
    """Servers split the content in different ways.

    @ivar cause: the cause, without any data of the request.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@attrs.define(eq=False)
class Part:
    """A part of a form.

    @ivar names: the possible names of the field; C{None} if they cannot be determined.
    @ivar start: the position of its content in the content of the request.
    @ivar end: the position after it.
    @ivar is_file: whether it is a file; C{None} if servers disagree.  If it is C{False}, all servers read it as text in
        UTF-8.
    @ivar file_names: the possible names of the file; C{None} if they cannot be determined.
    @ivar types: the possible media types, without parameters and in lower case.
    """

    names: frozenset[str] | None
    start: int
    end: int
    is_file: bool | None
    file_names: frozenset[str] | None
    types: frozenset[str]

    def values(self, body: bytes) -> frozenset[str] | None:
        """Return the possible values of the field; C{None} if they cannot be determined.

        @param body: the content of the request.
        """
        if self.is_file is not False:
            return None
        content = body[self.start : self.end]
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if len(content.translate(None, _CONTROL_BYTES)) < len(content):
            return None
        return frozenset((text,)) if text.isascii() else frozenset((text, unicodedata.normalize("NFKC", text)))


def read_multipart(body: bytes, boundary: bytes, work: WorkBudget) -> tuple[Part, ...]:
    """Split content into its parts.

    @param body: the content.
    @param boundary: the boundary of the C{Content-Type}.
    @raise AmbiguousForm: if servers split the content in different ways.
    @raise TooMuchWork: if the content has more than L{MAX_PARTS}, or exceeds the work budget.
    """
    cause = f"its form of {len(body):,} bytes takes long to split"
    repeated = _REPEATED.search(boundary.lstrip(b"-"))
    is_repeated = (repeated is not None and len(repeated[0]) >= _MAX_REPEATED) or boundary.endswith(b"-")
    work.spend(len(body) * _PER_BYTE_OF_REPEATED if is_repeated else len(body) // _BYTES_PER_STEP, cause)
    parts: list[Part] = []
    # Each occurrence must be a delimiter: some servers find one without the line break before it.
    delimiter = b"--" + boundary
    if not body.startswith(delimiter):
        raise AmbiguousForm("its form does not begin with its boundary")
    start = len(delimiter)
    while (end := body.find(delimiter, start)) >= 0:
        if len(parts) == MAX_PARTS:
            raise TooMuchWork(f"its form has more than {MAX_PARTS} parts")
        work.spend(_PER_PART, "its form has many parts")
        parts.append(_read_part(body, start, end, work))
        start = end + len(delimiter)
    if body[start : start + 5] not in (b"--", b"--\r\n"):
        raise AmbiguousForm("its form does not end with its boundary")
    return tuple(parts)


def _read_part(body: bytes, start: int, end: int, work: WorkBudget) -> Part:
    """Read the part between two delimiters."""
    if body[start : start + 2] != b"\r\n" or body[end - 2 : end] != b"\r\n" or end - start < 4:
        raise AmbiguousForm("its form has a boundary inside a line")
    at = body.find(b"\r\n\r\n", start, min(end, start + _MAX_HEADER))
    if at < start + 2:
        raise AmbiguousForm("its form has a part with an incomplete or long header")
    work.spend(_PER_HEADER_BYTE * (at - start), "its form has long headers")
    # The last line break belongs to the delimiter; content that is not there has none of its own.
    if at + 4 > end - 2:
        raise AmbiguousForm("its form has a part without content")
    return _part(body[start + 2 : at], at + 4, end - 2)


def _part(header: bytes, start: int, end: int) -> Part:
    fields: dict[bytes, bytes] = {}
    for line in header.split(b"\r\n"):
        found = _FIELD.fullmatch(line)
        name = b"" if found is None else found[1].lower()
        if found is None or name in fields or name not in _NAMES:
            raise AmbiguousForm("its form has a part with a malformed, repeated or unknown header field")
        fields[name] = found[2]
    disposition = _DISPOSITION.fullmatch(fields.get(b"content-disposition", b""))
    if disposition is None:
        raise AmbiguousForm("its form has a part with an unusual Content-Disposition")
    if fields.get(_ENCODING, b"binary").lower() not in _ENCODINGS:
        raise AmbiguousForm("its form has a part with a Content-Transfer-Encoding")
    if _LENGTH in fields and fields[_LENGTH] != b"%d" % (end - start):
        raise AmbiguousForm("its form has a part whose Content-Length is wrong")
    raw_name = disposition[1] if disposition[1] is not None else disposition[2]
    if raw_name.strip().lower() == _CHARSET:
        raise AmbiguousForm("its form has a field that states a charset")
    raw_file = disposition[4] if disposition[4] is not None else disposition[5]
    is_extended = disposition["extended"] is not None
    if is_extended and raw_file is None:
        raise AmbiguousForm("its form has a file whose name has only an extended notation (filename*)")
    media = _MEDIA_TYPE.fullmatch(fields[_TYPE]) if _TYPE in fields else None
    if _TYPE in fields and media is None:
        raise AmbiguousForm("its form has a part with an unusual Content-Type")
    kind = None if media is None else media[1].lower()
    # Some servers treat a part of another type, or with other parameters, as a file.  An empty name may mean no file.
    is_field = raw_file is None and (media is None or (kind in _TEXT and _UTF_8.fullmatch(media[2]) is not None))
    return Part(
        _readings(raw_name),
        start,
        end,
        is_file=False if is_field else True if raw_file else None,
        file_names=None if raw_file is None or is_extended else _file_names(raw_file),
        types=frozenset(("", "text/plain", "application/octet-stream") if kind is None else (kind.decode("ascii"),)),
    )


def _readings(raw: bytes) -> frozenset[str] | None:
    """Return the readings of a name: in UTF-8 and in Latin-1, with and without percent-encoding."""
    if _PLAIN.fullmatch(raw):
        return frozenset((raw.decode("ascii"),))
    if b";" in raw:
        # Some servers split the header field there.
        return None
    found = set()
    for data in (raw, unquote_to_bytes(raw)):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if _CONTROL.search(text) or '"' in text:
            return None
        found |= {text, data.decode("latin-1"), unicodedata.normalize("NFKC", text)}
    return frozenset(found)


def _file_names(raw: bytes) -> frozenset[str] | None:
    """Return the readings of the name of a file: some servers remove directories."""
    found = _readings(raw)
    return None if found is None else found | {re.split(r"[/\\:]", name)[-1] for name in found}
