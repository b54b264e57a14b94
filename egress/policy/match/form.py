"""The fields and files of forms, in all the ways in which servers interpret them.

The names of fields follow the rules for query parameters (L{egress.policy.match.query}).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from egress.policy.match.multipart import AmbiguousForm, Part, read_multipart
from egress.policy.match.patterns import Pattern
from egress.policy.match.query import (
    MAX_PARAMETERS,
    Parameter,
    Query,
    QuerySplit,
    has_parameter,
    parameter_matches,
    read_parameters,
)
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

# Steps of work for each byte of content as sent, and for each piece that a server could read as a field.
_PER_BYTE: Final = 40
_PER_PIECE: Final = 15_000
# Steps of work for a value of multipart/form-data, and for each of its bytes.
_PER_VALUE: Final = 2000
_PER_VALUE_BYTE: Final = 4

# Fields can be empty, but splitting at more separators than this takes long.
_MAX_SEPARATORS: Final = 2 * MAX_PARAMETERS

_BOM: Final = b"\xef\xbb\xbf"
_CHARSET: Final = "_charset_"


class _PartField(Parameter):
    """A field of a form of the type C{multipart/form-data}."""

    __slots__ = ("_body", "_part")

    def __init__(self, part: Part, body: bytes) -> None:
        # Of a file, servers make a field with its name, its content, or none.
        names = part.names if part.is_file is False or part.names is None else part.names | {""}
        super().__init__(names, "")
        self._part = part
        self._body = body

    @property
    def values(self) -> frozenset[str] | None:
        """The possible values."""
        if isinstance(self._values, bool):
            self._values = self._part.values(self._body)
        return self._values

    @property
    def steps(self) -> int:
        """The steps of work to decode the value."""
        return _PER_VALUE + _PER_VALUE_BYTE * (self._part.end - self._part.start)


class _PartFile(Parameter):
    """A file of a form, with one of its attributes as the value."""

    __slots__ = ("_found",)

    def __init__(self, part: Part, found: frozenset[str] | None) -> None:
        names = part.names if part.is_file or part.names is None else part.names | {""}
        super().__init__(names, "")
        self._found = found

    @property
    def values(self) -> frozenset[str] | None:
        """The possible values."""
        return self._found


@attrs.frozen
class Form:
    """A form, as all servers split it.

    @ivar fields: the fields.
    @ivar files: the names of the files, by field.
    @ivar types: the media types of the files, by field.
    @ivar undecoded: the fields that servers could read in the content if they do not decode it.
    """

    fields: Query
    files: Query = (QuerySplit(()),)
    types: Query = (QuerySplit(()),)
    undecoded: Query = ()

    def has(self, group: Query, name: str) -> Match:
        """Return whether one of the groups has a member of this name."""
        return Match.MAYBE if self._is_undecoded(name) else has_parameter(group, name)

    def matches(self, group: Query, name: str, patterns: tuple[Pattern, ...], work: WorkBudget) -> Match:
        """Return whether a member of one of the groups has a value that one of the patterns matches.

        If there are several members of this name, each must match.

        @raise egress.policy.match.work_budget.TooMuchWork: if the comparison exceeds the work budget.
        """
        return Match.MAYBE if self._is_undecoded(name) else parameter_matches(group, name, patterns, work, "form")

    def _is_undecoded(self, name: str) -> bool:
        return any(split.named(name) for split in self.undecoded)


NO_FORM: Final = Form((QuerySplit(()),))
"""The form of a request without content."""


def read_form(body: bytes, boundary: bytes | None, earlier: Iterable[bytes], work: WorkBudget) -> Form:
    """Parse a form.

    @param body: the decoded content.
    @param boundary: the boundary of C{multipart/form-data}; C{None} for C{application/x-www-form-urlencoded}.
    @param earlier: the content as servers read it that do not decode all content codings.
    @raise AmbiguousForm: if servers split the content in different ways.
    @raise egress.policy.match.work_budget.TooMuchWork: if the content exceeds the work budget.
    """
    earlier = tuple(earlier)
    if boundary is not None:
        if any(b"--" + boundary in data for data in earlier):
            raise AmbiguousForm("its form contains its boundary before it is decoded")
        parts = read_multipart(body, boundary, work)
        files = [part for part in parts if part.is_file is not False]
        return Form(
            fields=(QuerySplit(_PartField(part, body) for part in parts),),
            files=(QuerySplit(_PartFile(part, part.file_names) for part in files),),
            types=(QuerySplit(_PartFile(part, part.types) for part in files),),
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousForm("its form is not UTF-8") from None
    if body.startswith(_BOM) or _CHARSET in text:
        raise AmbiguousForm("its form states a charset")
    if sum(map(text.lower().count, ("&", ";", "%26", "%3b"))) > _MAX_SEPARATORS:
        raise TooMuchWork(f"its form has more than {MAX_PARAMETERS} fields")
    fields = read_parameters(text, work, "form")
    return Form(fields, undecoded=tuple(QuerySplit(_undecoded(data, work)) for data in earlier))


def _undecoded(data: bytes, work: WorkBudget) -> Iterator[Parameter]:
    """Read encoded content as the fields of a form, as servers do that ignore content codings."""
    cause = f"its encoded content of {len(data):,} bytes takes long to search for fields"
    work.spend(_PER_BYTE * len(data), cause)
    for piece in data.replace(b";", b"&").replace(b"%26", b"&").split(b"&"):
        work.spend(_PER_PIECE, cause)
        name = piece.partition(b"=")[0]
        texts = {
            reading.decode("utf-8", "ignore")
            for plain in (name, name.replace(b"+", b" "))
            for reading in (unquote_to_bytes(plain), unquote_to_bytes(unquote_to_bytes(plain)))
        }
        yield Parameter(frozenset(texts | {unicodedata.normalize("NFKC", text) for text in texts}), "")
