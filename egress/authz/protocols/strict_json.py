"""A strict JSON parser: it rejects objects that two parsers could read differently."""

from __future__ import annotations

import json
from typing import Any, Final

# Python needs more than linear time to parse a number.
_MAX_DIGITS: Final = 4000


class InvalidJson(ValueError):
    """The content is not a JSON object, or an ambiguous one."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidJson("a key is repeated")
    return members


def _constant(name: str) -> Any:
    raise InvalidJson(f"{name} is not a JSON number")


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise InvalidJson(f"a number has more than {_MAX_DIGITS} digits")
    return int(text)


# Made once: json.loads makes one for each call.  The method for one value takes half as long as the one for a document.
_decoder: Final[Any] = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole)
_scan: Final = _decoder.scan_once
_SPACE: Final = " \t\n\r"


def parse_members(content: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8 (RFC 8259).

    @raise InvalidJson: for any other content, and for a duplicate key at any depth.
    """
    try:
        text = content.decode("utf-8").strip(_SPACE)
        found, end = _scan(text, 0)
    except InvalidJson:
        raise
    except (StopIteration, ValueError, RecursionError) as error:
        raise InvalidJson("the content is not JSON") from error
    if end != len(text):
        raise InvalidJson("the content is not JSON")
    if not isinstance(found, dict):
        raise InvalidJson("the content is not a JSON object")
    return found
