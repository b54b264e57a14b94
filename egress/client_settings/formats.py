"""The syntaxes in which environment variables are written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from itertools import count
from typing import Final

Writer = Callable[[Mapping[str, str], Collection[str]], str]
"""Writes variables to set and names of variables to remove."""


def to_sh(variables: Mapping[str, str], removed: Collection[str]) -> str:
    """Write commands for a POSIX shell."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, f"unset {' '.join(removed)}", ""])


def to_fish(variables: Mapping[str, str], removed: Collection[str]) -> str:
    """Write commands for fish, whose single quotes have two escapes (fish, "Quotes")."""
    lines = []
    for name, value in variables.items():
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        lines.append(f"set -gx {name} '{quoted}'")
    return "\n".join([*lines, *(f"set -e {name}" for name in removed), ""])


def to_dotenv(variables: Mapping[str, str], removed: Collection[str]) -> str:
    """Write a file of C{NAME="value"} lines; it cannot remove a variable, so that these become empty."""
    empty = dict.fromkeys(removed, "")
    return "".join(f"{name}={_dotenv(value)}\n" for name, value in {**variables, **empty}.items())


def _dotenv(value: str) -> str:
    if "'" not in value:
        return f"'{value}'"
    for char in '\\"$`':
        value = value.replace(char, f"\\{char}")
    return f'"{value}"'


def to_github(variables: Mapping[str, str], removed: Collection[str]) -> str:
    """Write lines for the file C{$GITHUB_ENV} of GitHub Actions; it cannot remove a variable, either.

    A value of several lines has a delimiter (GitHub, "Workflow commands", "Multiline strings").
    """
    empty = dict.fromkeys(removed, "")
    return "".join(f"{name}{_github(value)}\n" for name, value in {**variables, **empty}.items())


def _github(value: str) -> str:
    if "\n" not in value:
        return f"={value}"
    lines = value.split("\n")
    delimiter = next(text for number in count() if (text := f"END_{number}") not in lines)
    return f"<<{delimiter}\n{value}\n{delimiter}"


def to_json(variables: Mapping[str, str], removed: Collection[str]) -> str:
    """Write a JSON object; a variable to remove is C{null}."""
    return json.dumps({**variables, **dict.fromkeys(removed)}, indent=2) + "\n"


WRITERS: Final[dict[str, Writer]] = {
    "sh": to_sh,
    "fish": to_fish,
    "dotenv": to_dotenv,
    "github": to_github,
    "json": to_json,
}
