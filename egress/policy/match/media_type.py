"""The check that a request's C{Content-Type} makes every server parse its content in the same way."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = r"[!#$%&'+.^_`|~0-9A-Za-z-]+"
# RFC 9110 section 8.3.1, without forms that servers split differently: quoted separators and escapes.
_JSON: Final = re.compile(
    rf"""
    application/(?:json|(?P<subtype>[0-9A-Za-z][0-9A-Za-z!\#$&^_.-]*)\+json)
    (?P<parameters>(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|"[ !\#-+\--:<>-\[\]-~]*"))*)
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_CHARSET: Final = re.compile(r';[ \t]*charset=(?:utf-8(?=[ \t]*(?:;|\Z))|"utf-8")', re.IGNORECASE | re.ASCII)
# Servers that match a prefix or a substring of the type treat these as forms.
_FORMS: Final = ("form-urlencoded", "form-data")

# RFC 7578, RFC 2046 section 5.1.1: without characters that some servers take for the end of the boundary.
_FORM: Final = re.compile(
    r"""
    (?:
        application/x-www-form-urlencoded
        | multipart/form-data[ \t]*;[ \t]*boundary=
          (?:(?P<plain>[0-9A-Za-z'+_.-]{1,70})|"(?P<quoted>[0-9A-Za-z'()+_./:=?-]{1,70})")
    )
    (?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)

Lines = tuple[tuple[str, str], ...]
"""The lines of a header field, each with its lower-case name and its value
(L{egress.policy.match.header_fields.read_fields})."""


def json_fault(types: Lines) -> str | None:
    """Return why servers may parse the content as something other than JSON in UTF-8.

    Servers use the first or the last of two Content-Type fields, and decode by C{charset}.  They check the type not at
    all, partially, or against the registered types for JSON (RFC 8259 section 11, RFC 6839 section 3.1). C{text/json}
    is not registered, and C{text} has another default charset (RFC 2046 section 4.1.2).

    @param types: the C{Content-Type} fields.
    @return: the cause, without any data of the request; C{None} if all servers parse it as JSON.
    """
    fault = _field_fault(types)
    if fault is not None:
        return fault
    value = types[0][1]
    found = _JSON.fullmatch(value)
    if found is None or any(form in (found["subtype"] or "").lower() for form in _FORMS):
        return "its Content-Type is not a JSON type"
    # The charset occurs once, and as a parameter of its own.
    named = value.lower().count("charset")
    return None if named == len(_CHARSET.findall(found["parameters"])) < 2 else "its charset is not UTF-8"


def form_type(types: Lines) -> tuple[str | None, bytes | None]:
    """Return how all servers split the content as a form.

    @param types: the C{Content-Type} fields.
    @return: why servers may parse the content differently, without any data of the request; and the boundary of a form
        with several parts.
    """
    fault = _field_fault(types)
    if fault is not None:
        return fault, None
    found = _FORM.fullmatch(types[0][1])
    if found is None:
        return "its Content-Type is not that of a form, or has unusual parameters", None
    boundary = found["quoted"] or found["plain"]
    return None, None if boundary is None else boundary.encode("ascii")


def _field_fault(types: Lines) -> str | None:
    if not types:
        return "it has no Content-Type"
    if len(types) > 1 or types[0][0] != "content-type":
        return "it has more than one Content-Type, or one in an unusual spelling"
    return None
