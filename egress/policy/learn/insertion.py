"""The insertion of rules into the text of a policy, without a change of anything else in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import unified_diff
from typing import Final

import attrs

from egress.model.toml import NotToml, parse_toml
from egress.policy.check.case_runner import CaseResult, run_case
from egress.policy.check.unreachable import unreachable_rules
from egress.policy.parse.load import PolicyError, load_texts
from egress.policy.parse.toml_positions import Lines
from egress.policy.rule import Rule
from egress.policy.rules import RuleSet
from egress.policy.source_text import SourceText

MAX_TEXT: Final = 64 * 1024
"""The maximum length of the text of new rules."""

_ALLOWED: Final = frozenset({"rules", "test"})
_HEAD: Final = re.compile(r"[ \t]*\[")
_OF_RULE: Final = re.compile(r"[ \t]*\[\[?[ \t]*rules[ \t]*[.\]]")


class InsertionFault(ValueError):
    """Rules that cannot be inserted; the message names the problem and the fix."""


@attrs.frozen
class Edited:
    """A policy with inserted rules.

    @ivar where: the document that changes.
    @ivar before: its text.
    @ivar after: its new text.
    @ivar rules: the policy with the new rules.
    @ivar names: the ids of the new rules.
    @ivar line: the line of the first new rule in the new text.
    """

    where: str
    before: SourceText
    after: str
    rules: RuleSet
    names: tuple[str, ...]
    line: int

    def diff(self) -> list[str]:
        """Return the difference of the texts, as lines of a unified diff."""
        return diff_of(self.before.text, self.after, self.where)

    def problems(self, old: RuleSet) -> list[str]:
        """Return what C{egress policy check} would report and did not report before, in sentences."""
        known = {rule.rule_id for rule, _ in unreachable_rules(old.rules)}
        found = [
            f"the rule {rule.rule_id} never decides: {other.rule_id} matches first"
            for rule, other in unreachable_rules(self.rules.rules)
            if rule.rule_id not in known
        ]
        failed_before = {_key(result) for result in _failed(old)}
        return found + [
            f"the test {result.case.name!r} fails: {'; '.join(result.why) or result.decision.reason}"
            for result in _failed(self.rules)
            if _key(result) not in failed_before
        ]


def _failed(rules: RuleSet) -> Iterable[CaseResult]:
    results = (run_case(rules, case) for case in rules.cases)
    return [result for result in results if not result.passed]


def _key(result: CaseResult) -> tuple[object, ...]:
    case = result.case
    return case.name, case.expect, case.rule


def diff_of(before: str, after: str, name: str) -> list[str]:
    """Return the difference of two texts, as lines of a unified diff; empty if they are equal."""
    return [
        line.rstrip("\r\n")
        for line in unified_diff(before.splitlines(), after.splitlines(), name, f"{name} (new)", lineterm="", n=3)
    ]


def insert_rules(rules: RuleSet, text: str, before: str | None) -> Edited:
    """Insert rules into a policy.

    @param rules: the policy, with its texts.
    @param text: the new rules: tables C{[[rules]]}, and perhaps C{[[test]]}.
    @param before: the id of the rule before which they are inserted; C{None}, or a rule that does not exist: after the
        last rule of the main document.
    @raise InsertionFault: if the text is not valid, or the policy would not be valid with it.
    """
    number = _check(text)
    target = next((rule for rule in rules.rules if rule.rule_id == before), None)
    where = rules.texts[0].where if target is None else target.where.rpartition(":")[0]
    source = next(each for each in rules.texts if each.where == where)
    new = _with_newlines(text, source.text)
    lines = source.text.splitlines(keepends=True)
    places = _places_at_end(source.text, lines) if target is None else [_place_before(lines, target)]
    fault: InsertionFault | None = None
    for place in places:
        after, line = _inserted(lines, place, new)
        try:
            return _edited(rules, source, after, number, line)
        except InsertionFault as error:
            fault = fault or error
    assert fault is not None  # there is at least one place
    raise fault


def _check(text: str) -> int:
    """Check that a text has only rules and tests; return the number of rules."""
    if len(text) > MAX_TEXT:
        raise InsertionFault(f"write at most {MAX_TEXT:,} characters")
    try:
        table = parse_toml(text)
    except NotToml as error:
        raise InsertionFault(f"the rule is not TOML: {error}") from None
    rules = table.get("rules")
    if not isinstance(rules, list) or not rules:
        raise InsertionFault("write at least one rule, which begins with [[rules]]")
    other = next((key for key in table if key not in _ALLOWED), None)
    if other is not None:
        raise InsertionFault(f"{other!r} is not part of a rule: write it after [[rules]], or change the file")
    if not re.match(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*\[\[", text):
        # A list in one line, as in rules = [...], would become a part of another table.
        raise InsertionFault("begin the rule with [[rules]]")
    return len(rules)


def _with_newlines(text: str, like: str) -> str:
    lines = text.strip().splitlines()
    return "".join(f"{line}\r\n" if "\r\n" in like else f"{line}\n" for line in lines)


def _place_before(lines: list[str], rule: Rule) -> int:
    """Return the index of the line before which to insert: the comments directly above a rule belong to it."""
    at = int(rule.where.rpartition(":")[2]) - 1
    while at > 0 and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    return at


def _places_at_end(text: str, lines: list[str]) -> list[int]:
    """Return where to insert after the last rule: before the table that follows it, or at the end of the document."""
    found = [len(lines)]
    count = len(parse_toml(text).get("rules", []))
    if count:
        last = Lines(text).of(("rules", count - 1))
        following = [
            index for index in range(last, len(lines)) if _HEAD.match(lines[index]) and not _OF_RULE.match(lines[index])
        ]
        if following:
            at = following[0]
            while at > last and lines[at - 1].lstrip().startswith("#"):
                at -= 1
            found.insert(0, at)
    return found


def _inserted(lines: list[str], at: int, new: str) -> tuple[str, int]:
    """Return the new text, and the line of the inserted text in it."""
    newline = "\r\n" if "\r\n" in new else "\n"
    before, after = lines[:at], lines[at:]
    if before and not before[-1].endswith("\n"):
        before[-1] += newline
    if before and before[-1].strip():
        before.append(newline)
    if after and after[0].strip():
        after.insert(0, newline)
    return "".join([*before, new, *after]), len(before) + 1


def _edited(rules: RuleSet, source: SourceText, after: str, number: int, line: int) -> Edited:
    changed = SourceText.of(source.where, after)
    try:
        found = load_texts([changed if text is source else text for text in rules.texts], rules.name)
    except PolicyError as error:
        raise InsertionFault(error.reason) from None
    new = [rule for rule in found.rules if _line_in(rule, source.where) >= line][:number]
    names = [rule.rule_id for rule in new]
    others = [rule for rule in found.rules if rule.rule_id not in names]
    # The id of a rule without a name is its position, which changes.
    if len(new) != number or [rule.verdict for rule in others] != [rule.verdict for rule in rules.rules]:
        raise InsertionFault(f"{source.where} does not list its rules as [[rules]]: add the rule with an editor")
    return Edited(source.where, source, after, found, tuple(names), line)


def _line_in(rule: Rule, where: str) -> int:
    """Return the line of a rule in a document; 0 if it is in another one."""
    document, _, line = rule.where.rpartition(":")
    return int(line) if document == where else 0
