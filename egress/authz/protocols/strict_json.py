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


# Made once: json.loads makes one for each call.
_from_json: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole).decode


def parse_members(content: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8 (RFC 8259).

    @raise InvalidJson: for any other content, and for a duplicate key at any depth.
    """
    try:
        found = _from_json(content.decode("utf-8"))
    except InvalidJson:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidJson("the content is not JSON") from error
    if not isinstance(found, dict):
        raise InvalidJson("the content is not a JSON object")
    return found
