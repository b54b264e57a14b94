"""The combination of templates into one policy: text that users read and edit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from egress.policy.templates.catalog import Template, load_template

_RULER: Final = "# " + "-" * 78

_PRIVATE: Final = (
    "# Also denies public names that resolve to an internal network.",
    'private_addresses = "deny"',
)


class UnknownVariable(ValueError):
    """A value was given for a variable that no template has; the text names the variables."""


def with_includes(names: Iterable[str], load: Callable[[str], Template] = load_template) -> list[Template]:
    """Return templates and the templates that they include, each once, in the order of their rules.

    Templates that only deny come first, because the first rule that matches decides.

    @param load: see L{load_template}.
    """
    found: dict[str, Template] = {}

    def add(name: str) -> None:
        template = load(name)
        for other in template.includes:
            add(other)
        found.setdefault(name, template)

    for name in names:
        add(name)
    return sorted(found.values(), key=lambda template: not template.only_denies)


def compose(templates: Iterable[Template], settings: Mapping[str, str], *, part: bool, title: str) -> str:
    """Write one policy with the rules and the tests of templates.

    @param templates: the templates, in the order of L{with_includes}.
    @param settings: values of variables, by name.
    @param part: whether another policy includes the file, which limits its keys.
    @param title: the first line of the comment.
    @raise UnknownVariable: if no template has a variable of C{settings}.
    """
    templates = list(templates)
    variables = {name: value for template in templates for name, value in template.variables.items()}
    for name in settings:
        if name not in variables:
            known = f"the variables are {', '.join(sorted(variables))}" if variables else "there are no variables"
            raise UnknownVariable(f"no template has a variable {name!r}; {known}")
    head = [f"# {title}", "#", "# Review the rules, remove what you do not need, and run: egress policy check FILE"]
    sections = ["\n".join([*head, "version = 1"])]
    if not part:
        sections.append("\n".join(_PRIVATE))
    if variables:
        values = (f"{name} = {_text(value)}" for name, value in {**variables, **settings}.items())
        sections.append("\n".join(["[variables]", *values]))
    sections += ["\n".join(_section(template)) for template in templates if template.body]
    return "\n\n".join(sections) + "\n"


def _section(template: Template) -> Iterator[str]:
    yield _RULER
    yield f"# {template.name}"
    yield _RULER
    yield from (f"# {line}".rstrip() for line in template.comment)
    yield ""
    yield template.body.rstrip("\n")


def _text(text: str) -> str:
    """Format a TOML string, which has the same escapes as JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
