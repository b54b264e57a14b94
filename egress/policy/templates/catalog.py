"""The policy templates of the package.

A template is a policy file: comments that say what it allows and why, then C{version = 1}, variables, rules and tests.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, Final

import attrs

from egress.model.toml import parse_toml

_SUFFIX: Final = ".toml"
_BODY: Final = re.compile(r"^(?=\[\[rules\]\]$)", re.MULTILINE)


@attrs.frozen
class Template:
    """A template.

    @ivar name: its name on the command line.
    @ivar comment: the lines of its comment, without number signs; the first one is a summary.
    @ivar includes: the names of the templates that it includes.
    @ivar variables: the default values of its variables.
    @ivar only_denies: whether it has only deny rules, which must precede the rules of other templates.
    @ivar body: its rules and tests, as text.
    """

    name: str
    comment: tuple[str, ...]
    includes: tuple[str, ...]
    variables: dict[str, str]
    only_denies: bool
    body: str

    @property
    def summary(self) -> str:
        """The first line of the comment."""
        return self.comment[0]


def template_names() -> tuple[str, ...]:
    """Return the names of all templates."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX)))


def load_template(name: str) -> Template:
    """Read a template.

    @param name: one of L{template_names}.
    """
    return parse_template(name, resources.files(__package__).joinpath(name + _SUFFIX).read_text("utf-8"))


def parse_template(name: str, text: str) -> Template:
    """Parse the text of a template."""
    table: dict[str, Any] = parse_toml(text)
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    rules = table.get("rules", ())
    return Template(
        name,
        tuple(comment),
        tuple(entry.removesuffix(_SUFFIX) for entry in table.get("include", ())),
        table.get("variables", {}),
        bool(rules) and all(rule["action"] == "deny" for rule in rules),
        _BODY.split(text, 1)[1] if rules else "",
    )
