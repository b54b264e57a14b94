"""The writer of suggested policies: text that users read and edit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from egress.policy.learn.suggest import SuggestedRule, Suggestion, by_domain, names_of

# The key of a rule's name.
NAME_KEY: Final = "name"

_WIDTH: Final = 110
_EXAMPLE: Final = 90


def write_policy(suggestion: Suggestion, most: int) -> str:
    """Write the policy that allows the traffic.

    @param most: the maximum number of rules.
    """
    rules = suggestion.rules(most)
    head = [
        f"# Made by egress policy suggest from {_number(suggestion.requests, 'request')} to "
        f"{_number(len(suggestion.hosts), 'host')}.",
        "# It allows what was seen, and nothing else: read it, and take out what should not have been there.",
        "# In paths, * stands for what differed from one request to the next, ** for everything below.",
        "version = 1",
        'default = "deny"',
    ]
    parts = ["\n".join(head)]
    parts += ["\n".join(_rule(name, rule)) for name, rule in zip(names_of(rules), rules, strict=True)]
    return "\n\n".join(parts) + "\n"


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _rule(name: str, rule: SuggestedRule) -> Iterator[str]:
    what = "tunnel" if rule.tunnels else "request"
    example = rule.example if len(rule.example) <= _EXAMPLE else f"{rule.example[:_EXAMPLE]}..."
    yield f"# {_number(rule.count, what)}, e.g. {example}"
    yield "[[rules]]"
    yield f"{NAME_KEY} = {_text(name)}"
    yield 'action = "allow"'
    yield f"reason = {_text(f'learned from traffic: {_kind(rule)}')}"
    yield from _list("hosts", map(_text, sorted(rule.hosts, key=by_domain)))
    yield from _list("ports", map(str, sorted(rule.ports)))
    yield from _list("schemes", map(_text, sorted(rule.schemes)))
    yield from _list("methods", map(_text, sorted(rule.methods)))
    yield from _list("paths", map(_text, rule.paths))


def _kind(rule: SuggestedRule) -> str:
    first = min(rule.hosts, key=by_domain)
    where = first if len(rule.hosts) == 1 else f"{first} and {len(rule.hosts) - 1} more"
    if rule.tunnels:
        return f"tunnels to {where}"
    return f"{', '.join(sorted(rule.methods))} to {where}" if rule.methods else where


def _text(text: str) -> str:
    """Format a TOML string, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def _list(key: str, values: Iterable[str]) -> Iterator[str]:
    entries = list(values)
    if not entries:
        return
    line = f"{key} = [{', '.join(entries)}]"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"{key} = ["
    yield from (f"    {entry}," for entry in entries)
    yield "]"
