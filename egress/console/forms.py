"""The fields of forms and the parameters of URLs, within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

MAX_FORM: Final = 256 * 1024
"""The maximum length of a form, in bytes."""

_MAX_FIELDS: Final = 200
_MAX_QUERY: Final = 8 * 1024
_FORM: Final = b"application/x-www-form-urlencoded"


class InvalidForm(ValueError):
    """A form or a query that cannot be parsed; the text is for the visitor."""


def parse_form(kinds: Sequence[bytes], content: bytes) -> Mapping[str, Sequence[str]]:
    """Parse a form.

    @param kinds: the values of C{Content-Type}.
    @param content: the content.
    @raise InvalidForm: if it is not a form.
    """
    if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != _FORM:
        raise InvalidForm(f"Send the form as {_FORM.decode()}.")
    return _parse(content)


def parse_query(uri: bytes) -> Mapping[str, Sequence[str]]:
    """Parse the parameters of the URL of a request.

    @raise InvalidForm: if they are too long, or not text.
    """
    query = uri.partition(b"?")[2]
    if len(query) > _MAX_QUERY:
        raise InvalidForm(f"The address is longer than {_MAX_QUERY} bytes.")
    return _parse(query)


def _parse(content: bytes) -> Mapping[str, Sequence[str]]:
    try:
        text = content.decode("ascii")
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidForm("The form is not valid.") from error
