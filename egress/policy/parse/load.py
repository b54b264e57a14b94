"""The policy loader.  It rejects unknown input, because a misread rule decides incorrectly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timezone
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

from egress.model.decision import Verdict
from egress.policy.case import Case
from egress.policy.match.time_windows import compile_zone
from egress.policy.parse.case_table import read_case
from egress.policy.parse.definitions import Definitions
from egress.policy.parse.includes import ReadDocument, parse_document, read_document, resolve_includes
from egress.policy.parse.obligation_parser import secrets_in
from egress.policy.parse.rule_parser import RuleReader
from egress.policy.parse.toml_reader import Document, PolicyError, Table, nearest
from egress.policy.parse.units import duration
from egress.policy.rule import DEFAULT_RULE, Rule, message_rule_ids
from egress.policy.rules import RuleSet
from egress.policy.source_text import SourceText

__all__ = ["PolicyError", "load_policy", "load_starter", "load_texts", "parse_policy"]


def parse_policy(text: str, where: str, name: str) -> RuleSet:
    """Parse a policy.

    @param text: TOML.
    @param where: the name of the text in errors.
    @param name: the value of L{RuleSet.name}.
    @raise PolicyError: if the policy is not valid.
    """
    return _rule_set(parse_document(text, where), name)


def load_policy(path: Path) -> RuleSet:
    """Parse a policy file and the files that it includes.

    @raise PolicyError: if a file cannot be read or parsed.
    """
    return _rule_set(read_document(path, str(path)), f"policy {path}")


def load_texts(texts: Sequence[SourceText], name: str) -> RuleSet:
    """Parse the texts of a policy, which its files may not have any more.

    @param texts: all texts, the main one first (L{RuleSet.texts}), perhaps with changes.
    @param name: the value of L{RuleSet.name}.
    @raise PolicyError: if the policy is not valid.  A file that a change of the texts includes is read.
    """
    known = {text.where: text for text in texts}

    def read(path: Path, where: str) -> Document:
        found = known.get(where)
        return read_document(path, where) if found is None else parse_document(found.text, where, path)

    main = texts[0]
    # A text that has no file includes nothing.
    return _rule_set(parse_document(main.text, main.where, Path(main.where)), name, read)


def load_starter() -> RuleSet:
    """Parse the packaged policy, which decides if nothing else is configured."""
    text = resources.files("egress.policy").joinpath("starter.toml").read_text("utf-8")
    return parse_policy(text, "starter.toml", "policy starter")


def _rule_set(root: Document, name: str, read: ReadDocument = read_document) -> RuleSet:
    documents = resolve_includes(root, read)
    table = Table(root, (), "", root.table, root.table)
    names = Definitions(documents)
    reader = RuleReader(names, table.read("timezone", _zone) or timezone.utc)
    rules: list[Rule] = []
    cases: list[Case] = []
    seen: dict[str, Rule] = {}
    for document in documents:
        for index, entry in enumerate(_listed(document, "rules")):
            rule = reader.rule(document, index, len(rules) + 1, entry)
            other = seen.setdefault(rule.rule_id, rule)
            if other is not rule:
                text = f"two rules have the name {rule.rule_id!r}, the other one at {other.where}; use different names"
                raise document.error(("rules", index), text)
            rules.append(rule)
        cases += _cases(document, names)
    names_of_rules = {*seen, DEFAULT_RULE, *chain.from_iterable(map(message_rule_ids, rules))}
    for case in cases:
        if case.rule is not None and case.rule not in names_of_rules:
            raise PolicyError(f"{case.where}: there is no rule {case.rule!r}; {nearest(case.rule, names_of_rules)}")
    return RuleSet(
        name,
        tuple(rules),
        blocks_private=table.verdict("private_addresses", Verdict.ALLOW, Verdict.DENY) is Verdict.DENY,
        default=table.verdict("default", Verdict.ALLOW, Verdict.DENY) or Verdict.DENY,
        files=tuple(document.file for document in reversed(documents) if document.file is not None),
        secrets=frozenset(secret for rule in rules for secret in secrets_in(rule.obligations)),
        ttl=table.read("ttl", duration),
        cases=tuple(cases),
        texts=tuple(SourceText.of(document.where, document.text) for document in reversed(documents)),
    )


def _zone(value: object) -> Any:
    if not isinstance(value, str):
        raise ValueError("write the name of a time zone, as in Europe/Berlin")
    return compile_zone(value)


def _listed(document: Document, key: str) -> list[Any]:
    """Return a list of tables.  A missing list may be intended (the default decides); an empty one is rejected."""
    found = document.table.get(key, [])
    if not isinstance(found, list):
        raise document.error((key,), f"{key!r} must be a list; write [[{key}]] before each of them")
    if not found and key in document.table:
        raise document.error((key,), f"{key!r} is empty; write [[{key}]] before each of them, or remove it")
    return found


def _cases(document: Document, names: Definitions) -> list[Case]:
    found = []
    for index, entry in enumerate(_listed(document, "test")):
        path = ("test", index)
        if not isinstance(entry, dict):
            raise document.error(path, f"test {index + 1}: must be a table; write [[test]] before it")
        found.append(read_case(document, index, names.expand(document, path, f"test {index + 1}", entry)))
    return found
