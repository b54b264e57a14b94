"""The content of a request: decoded, and parsed as JSON or as a form, each on demand."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, Final

from egress.http.content_coding import Decoded, Undecodable, content_codings, decode
from egress.model.decision import DecisionRequest
from egress.policy.match.form import NO_FORM, read_form
from egress.policy.match.header_fields import Fields
from egress.policy.match.json_body import NOTHING, UNREADABLE, Document, read_json
from egress.policy.match.media_type import form_type, json_fault
from egress.policy.match.multipart import AmbiguousForm
from egress.policy.match.work_budget import WorkBudget

UNREAD: Final = object()
"""A sentinel for content that the proxy has not read yet."""

MAX_DECODED: Final = 1 << 20
"""The maximum decoded length of content, in bytes; the work budget often permits less."""

# Steps of work to decode content, for each byte that it takes or returns; and to check that it is not JSON itself.
_PER_DECODED_BYTE: Final = 4
_PER_CHECKED_BYTE: Final = 4

_CODING: Final = "content-encoding"
# Encoded content that begins with these bytes cannot be JSON in any encoding: gzip, zlib, zstd.
_NOT_JSON: Final = (b"\x1f\x8b", b"\x78", b"\x28\xb5")
_BLANK: Final = b"\x00\t\n\r \xef\xbb\xbf\xfe\xff"
# The first bytes of JSON values.
_JSON_START: Final = b'{["-0123456789tfn'
# Numbers stay texts: converting a long one takes long.
_LENIENT: Final = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


class RequestContent:
    """The content of one request.

    @param fields: the header fields of the request.
    @param work: the work budget of the decision.
    """

    def __init__(self, request: DecisionRequest, fields: Fields, work: WorkBudget) -> None:
        self._request = request
        self._fields = fields
        self._work = work
        self._faults: dict[str, str] = {}

    @cached_property
    def json(self) -> Any:
        """The JSON: a L{egress.policy.match.json_body.Document}, C{NOTHING}, C{UNREADABLE} or C{UNREAD}.

        @raise egress.policy.match.work_budget.TooMuchWork: if the content exceeds the work budget.
        """
        fault = json_fault(self._fields.get("content-type", ()))
        decoded = self._decoded("json", fault)
        if not isinstance(decoded, Decoded):
            return decoded
        found = read_json(decoded.content, self._work)
        if not isinstance(found, Document):
            return self._unreadable("json", "its content is not JSON that all servers read in the same way")
        if any(map(self.may_be_json, decoded.earlier)):
            return self._unreadable("json", "its content is JSON before it is decoded, too")
        if decoded.has_members and not isinstance(found.value, (dict, list)):
            return self._unreadable("json", "its content has several compressed members, and no object or array")
        return found

    @cached_property
    def form(self) -> Any:
        """The form: a L{egress.policy.match.form.Form}, C{UNREADABLE} or C{UNREAD}.

        @raise egress.policy.match.work_budget.TooMuchWork: if the content exceeds the work budget.
        """
        fault, boundary = form_type(self._fields.get("content-type", ()))
        decoded = self._decoded("form", fault)
        if decoded is NOTHING:
            return NO_FORM
        if not isinstance(decoded, Decoded):
            return decoded
        if decoded.has_members:
            return self._unreadable("form", "its form has several compressed members, and some servers read only one")
        try:
            return read_form(decoded.content, boundary, decoded.earlier, self._work)
        except AmbiguousForm as error:
            return self._unreadable("form", error.cause)

    def fault(self, kind: str) -> str | None:
        """Return why the content is C{UNREADABLE}, without any data of the content; C{None} if it is readable.

        @param kind: C{"json"} or C{"form"}.
        """
        return self._faults.get(kind)

    def _unreadable(self, kind: str, fault: str) -> object:
        self._faults[kind] = fault
        return UNREADABLE

    def _decoded(self, kind: str, fault: str | None) -> object:
        """Return the decoded content, or a sentinel.

        @param fault: why servers interpret the type of the content differently, if they do.
        """
        request = self._request
        if request.body is None and not request.body_withheld:
            return NOTHING if request.content_length == 0 else self._unreadable(kind, "its content is unknown")
        if fault is not None:
            if request.body == b"":
                return NOTHING
            return self._unreadable(kind, f"{fault}, and servers may interpret it in any way")
        try:
            # Most content has no coding.  The fields of a request do not describe the messages of its exchange.
            is_coded = _CODING in self._fields and request.message is None
            codings = content_codings(request.headers) if is_coded else ()
            if request.body is None:
                return UNREAD
            if request.body_truncated:
                return self._unreadable(kind, "only the beginning of its content is known")
            if not request.body:
                return NOTHING
            return decode(request.body, codings, MAX_DECODED, self._spend) if codings else Decoded(request.body)
        except Undecodable as error:
            return NOTHING if request.body == b"" else self._unreadable(kind, error.reason)

    def _spend(self, work: int) -> None:
        self._work.spend(_PER_DECODED_BYTE * work, "its compressed content takes long to decode")

    def may_be_json(self, data: bytes) -> bool:
        """Whether a server that does not decode content, or only a part of the codings, may parse data as JSON."""
        if data.startswith(_NOT_JSON):
            return False
        text = data.lstrip(_BLANK)
        if not text or text[0] not in _JSON_START:
            return False
        if b"\0" in text[1:4]:
            # UTF-16 or UTF-32.
            return True
        self._work.spend(_PER_CHECKED_BYTE * len(data), "its compressed content takes long to check")
        try:
            # Some parsers ignore the data after the first value.
            _LENIENT.raw_decode(text.decode("latin-1"))
        except ValueError:
            return False
        except RecursionError:
            pass
        return True
