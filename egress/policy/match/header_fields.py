"""The header fields of a request, in all the ways in which servers interpret them."""

from __future__ import annotations

from typing import Final

from egress.model.decision import Headers
from egress.policy.match.patterns import Pattern
from egress.policy.match.tristate import Match, certainty
from egress.policy.match.work_budget import TooMuchWork, WorkBudget, steps_to_try

# Legitimate lists have fewer members, and each pattern is tried on each member.
MAX_MEMBERS: Final = 500

Fields = dict[str, tuple[tuple[str, str], ...]]
"""Header fields by canonical name: the lower-case name and the value of each line, in each decoding."""


def canonical_name(name: str) -> str:
    """Return the name as gateways that map fields to variables see it: C{-} and C{_} are equal (RFC 3875)."""
    return name.lower().replace("_", "-")


def read_fields(headers: Headers) -> Fields:
    """Parse the header fields of a request."""
    found: dict[str, list[tuple[str, str]]] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        lines = found.setdefault(canonical_name(name), [])
        lines.append((name, raw_value.decode("latin-1")))
        if not raw_value.isascii():
            lines.append((name, raw_value.decode("utf-8", "replace")))
    return {name: tuple(lines) for name, lines in found.items()}


def has_field(fields: Fields, name: str) -> Match:
    """Return whether there is a header field with a name, which is in lower case."""
    lines = fields.get(canonical_name(name), ())
    if any(one == name for one, _ in lines):
        return Match.YES
    return Match.MAYBE if lines else Match.NO


def field_matches(fields: Fields, name: str, patterns: tuple[Pattern, ...], work: WorkBudget) -> Match:
    """Return whether a header field has a value that one of the patterns matches.

    A field can be repeated or be a list (RFC 9110 section 5.6.1).  A permission then requires a match of each line and
    each member.  A denial requires a match of any of them, or of the joined lines.

    @raise TooMuchWork: if the comparison exceeds the work budget.
    """
    lines = fields.get(canonical_name(name), ())
    if not lines:
        return Match.NO
    values = [value for _, value in lines]
    if sum(value.count(",") for value in values) > MAX_MEMBERS:
        raise TooMuchWork(f"its field {name} has more than {MAX_MEMBERS} members")
    values += [member.strip() for value in values if "," in value for member in value.split(",")]
    if len(lines) > 1:
        values.append(", ".join(value for _, value in lines))
    work.spend(steps_to_try(values, len(patterns)), f"its field {name} has many or long values to compare")
    found = certainty(any(matches(value) for matches in patterns) for value in values)
    if found is Match.YES and any(one != name for one, _ in lines):
        return Match.MAYBE
    return found
