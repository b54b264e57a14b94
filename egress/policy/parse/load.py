"""The policy loader.  It rejects unknown input, because a misread rule decides incorrectly."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from datetime import timezone
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egress.model.decision import Verdict
from egress.policy.bundle import InvalidBundle, decode_bundle, is_bundle
from egress.policy.case import Case
from egress.policy.match.time_windows import compile_zone
from egress.policy.parse.case_table import read_case
from egress.policy.parse.definitions import Definitions
from egress.policy.parse.includes import (
    ReadDocument,
    decode_document,
    parse_document,
    read_document,
    read_file,
    resolve_includes,
)
from egress.policy.parse.obligation_parser import secrets_in
from egress.policy.parse.rule_parser import RuleReader
from egress.policy.parse.toml_reader import Document, PolicyError, Table, nearest
from egress.policy.parse.units import duration
from egress.policy.rule import DEFAULT_RULE, Rule, message_rule_ids
from egress.policy.rules import NOT_LOADED, RuleSet
from egress.policy.source_text import SourceText

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["PolicyError", "load_content", "load_policy", "load_starter", "load_texts", "no_policy", "parse_policy"]


def parse_policy(text: str, where: str, name: str) -> RuleSet:
    """Parse a policy.

    @param text: TOML.
    @param where: the name of the text in errors.
    @param name: the value of L{RuleSet.name}.
    @raise PolicyError: if the policy is not valid.
    """
    return _rule_set(parse_document(text, where), name)


def load_policy(path: Path, keys: Sequence[Ed25519PublicKey] | None = None) -> RuleSet:
    """Parse a policy file and the files that it includes, or a bundle.

    @param path: the file.
    @param keys: the keys of which one must have signed the policy; C{None}: no signature is required.
    @raise PolicyError: if a file cannot be read, verified or parsed.
    """
    where = str(path)
    content = read_file(path, where)
    if keys is not None or is_bundle(content):
        return load_content(content, where, path, keys)
    return _rule_set(decode_document(content, where, path), f"policy {path}")


def load_content(content: bytes, where: str, file: Path, keys: Sequence[Ed25519PublicKey] | None = None) -> RuleSet:
    """Parse a policy that is in one file, which includes no other file: a bundle, or one document.

    @param content: the content of the file.
    @param where: the name of the policy in errors.
    @param file: the file from which the policy is loaded again when it changes.
    @param keys: the keys of which one must have signed the policy; C{None}: no signature is required.
    @raise PolicyError: if the policy cannot be verified or parsed.
    """
    name = f"policy {where}"
    if not is_bundle(content):
        if keys is not None:
            raise PolicyError(f"{where}: is not signed: sign it with egress policy bundle --key FILE")
        return _rule_set(decode_document(content, where), name, files=(file,))
    try:
        bundle = decode_bundle(content, keys)
    except InvalidBundle as error:
        raise PolicyError(f"{where}: {error.reason}") from None

    def read(path: Path, _: str) -> Document:
        inside = os.path.normpath(path.relative_to(file)).replace(os.path.sep, "/") if file in path.parents else ""
        text = bundle.documents.get(inside)
        if text is None:
            raise PolicyError(f"{path.name}: is not in the bundle")
        return parse_document(text, f"{where}/{inside}", path)

    # Documents have paths below the bundle, and no other files are read.
    main = read(file / bundle.main, "")
    return _rule_set(main, f"{name} version {bundle.version}", read, files=(file,), version=bundle.version)


def no_policy(where: str, file: Path) -> RuleSet:
    """Return a placeholder for a policy that is not loaded yet; see L{RuleSet.is_loaded}.

    @param where: the name of the policy in errors.
    @param file: the file from which the policy is loaded when it exists.
    """
    return _rule_set(parse_document("version = 1\n", where), f"policy {where}", files=(file,), version=NOT_LOADED)


def load_texts(texts: Sequence[SourceText], name: str) -> RuleSet:
    """Parse the texts of a policy, which its files may not have any more.

    @param texts: all texts, the main one first (L{RuleSet.texts}), perhaps with changes.
    @param name: the value of L{RuleSet.name}.
    @raise PolicyError: if the policy is not valid.  A file that a change of the texts includes is read.
    """
    known = {text.where: text for text in texts}
    # The documents of a bundle have no files.
    in_bundle = {os.path.normpath(text.where): text for text in texts}

    def read(path: Path, where: str) -> Document:
        found = known.get(where) or (None if path.exists() else in_bundle.get(os.path.normpath(path)))
        return read_document(path, where) if found is None else parse_document(found.text, found.where, path)

    main = texts[0]
    # A text that has no file includes nothing.
    return _rule_set(parse_document(main.text, main.where, Path(main.where)), name, read)


def load_starter() -> RuleSet:
    """Parse the packaged policy, which decides if nothing else is configured."""
    text = resources.files("egress.policy").joinpath("starter.toml").read_text("utf-8")
    return parse_policy(text, "starter.toml", "policy starter")


def _rule_set(
    root: Document,
    name: str,
    read: ReadDocument = read_document,
    *,
    files: tuple[Path, ...] | None = None,
    version: int | None = None,
) -> RuleSet:
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
        files=tuple(document.file for document in reversed(documents) if document.file is not None)
        if files is None
        else files,
        secrets=frozenset(secret for rule in rules for secret in secrets_in(rule.obligations)),
        ttl=table.read("ttl", duration),
        cases=tuple(cases),
        texts=tuple(SourceText.of(document.where, document.text) for document in reversed(documents)),
        version=version,
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
