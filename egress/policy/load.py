"""Reading rules from TOML; whatever is not understood is refused, since a rule that is misread decides wrongly."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from egress.model.decision import Verdict
from egress.model.errors import InvalidTarget
from egress.policy.paths import compile_path
from egress.policy.rules import DEFAULT_RULE, Rule, RuleSet, compile_host

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

_T = TypeVar("_T")
_R = TypeVar("_R")

_TOP: Final = frozenset({"version", "default", "private_addresses", "rules"})
_RULE: Final = frozenset({"id", "action", "reason", "hosts", "ports", "schemes", "methods", "paths"})
_SCHEMES: Final = frozenset({"http", "https"})
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
# Ids and reasons end up in header fields and in log lines.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMES: Final[dict[type, str]] = {str: "a string", int: "a whole number", list: "a list"}


class PolicyError(Exception):
    """A policy that cannot be used.

    @ivar reason: one line that names the place and the remedy.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


class _Table:
    """A TOML table, read strictly."""

    def __init__(self, where: str, table: dict[str, Any], known: frozenset[str]) -> None:
        self._where = where
        self._table = table
        for key in table:
            if key not in known:
                raise self.error(f"{key!r} is not known here; use {', '.join(sorted(known))}")

    def error(self, text: str) -> PolicyError:
        return PolicyError(f"{self._where}: {text}")

    def get(self, key: str, kind: type[_T]) -> _T | None:
        """A value of one type; C{None} where there is none."""
        value = self._table.get(key)
        if value is not None and not _is(value, kind):
            raise self.error(f"{key!r} must be {_NAMES[kind]}")
        return value

    def line(self, key: str) -> str | None:
        """A text of one line."""
        text = self.get(key, str)
        if text is not None and (not text.strip() or _UNPRINTABLE.search(text)):
            raise self.error(f"{key!r} must be one line of text; leave it out, or write it in a few words")
        return text

    def verdict(self, key: str) -> Verdict | None:
        """C{"allow"} or C{"deny"}."""
        text = self.get(key, str)
        if text is None:
            return None
        try:
            return Verdict(text)
        except ValueError:
            raise self.error(f'{key!r} must be "allow" or "deny", not {text!r}') from None

    def entries(self, key: str, kind: type[_T], read: Callable[[_T], _R]) -> tuple[_R, ...]:
        """A list whose members are all of one type, each read in turn."""
        values = self.get(key, list)
        if values is None:
            return ()
        if not values:
            raise self.error(f"{key!r} is empty and would match nothing; leave it out to match everything")
        found = []
        for value in values:
            if not _is(value, kind):
                raise self.error(f"{key!r} must be a list, and each entry {_NAMES[kind]}")
            try:
                found.append(read(value))
            except (ValueError, InvalidTarget) as error:
                raise self.error(f"{key} {value!r}: {error}") from None
        return tuple(found)


def _port(value: int) -> int:
    if not 0 < value < 65536:
        raise ValueError("a port is 1 to 65535")
    return value


def _scheme(value: str) -> str:
    if value not in _SCHEMES:
        raise ValueError("a scheme is http or https")
    return value


def _method(value: str) -> str:
    if not _METHOD.fullmatch(value):
        raise ValueError("write a method in capitals, as in GET")
    return value


def _rule(where: str, number: int, entry: object) -> Rule:
    if not isinstance(entry, dict):
        raise PolicyError(f"{where}, rule {number}: must be a table; write [[rules]] before it")
    name = entry.get("id")
    known = isinstance(name, str) and _ID.fullmatch(name) is not None
    table = _Table(f"{where}, rule {name if known else number}", entry, _RULE)
    rule_id = table.get("id", str)
    if rule_id is None:
        rule_id = f"rule-{number}"
    elif not known or rule_id == DEFAULT_RULE:
        raise table.error(
            f"the id {rule_id!r} cannot be used; write up to 64 of letters, digits, '.', '_' and '-', "
            f"and not {DEFAULT_RULE!r}"
        )
    verdict = table.verdict("action")
    if verdict is None:
        raise table.error('\'action\' is missing; write "allow" or "deny"')
    is_denial = verdict is Verdict.DENY
    reason = table.line("reason")
    if reason is None:
        if is_denial:
            raise table.error("'reason' is missing; write why, for the person who meets the denial")
        reason = f"allowed by the rule {rule_id}"
    schemes = frozenset(table.entries("schemes", str, _scheme))
    methods = frozenset(table.entries("methods", str, _method))
    paths = table.entries("paths", str, lambda pattern: compile_path(pattern, broad=is_denial))
    if paths and "CONNECT" in methods:
        raise table.error("a tunnel has no path; put CONNECT into a rule without 'paths'")
    return Rule(
        rule_id,
        verdict,
        reason,
        hosts=table.entries("hosts", str, compile_host),
        ports=frozenset(table.entries("ports", int, _port)),
        # Both are all there are.
        schemes=schemes if schemes != _SCHEMES else frozenset(),
        methods=methods,
        paths=paths,
    )


def parse_policy(text: str, where: str, name: str) -> RuleSet:
    """Read a policy.

    @param where: names the text in errors.
    @param name: becomes L{RuleSet.name}.
    @raise PolicyError: for everything that is not understood.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{where}: is not TOML: {' '.join(str(error).split())}") from None
    table = _Table(where, document, _TOP)
    version = table.get("version", int)
    if version != 1:
        given = "is missing" if version is None else f"is {version}, which this proxy does not know"
        raise table.error(f"'version' {given}; write version = 1")
    rules = tuple(_rule(where, number, entry) for number, entry in enumerate(_list_of_rules(table), 1))
    seen: set[str] = set()
    for rule in rules:
        if rule.rule_id in seen:
            raise table.error(f"two rules have the id {rule.rule_id!r}; give each its own")
        seen.add(rule.rule_id)
    return RuleSet(
        name,
        rules,
        blocks_private=table.verdict("private_addresses") is Verdict.DENY,
        default=table.verdict("default") or Verdict.DENY,
    )


def _list_of_rules(table: _Table) -> list[Any]:
    """Without any, the default decides on everything: that may be meant, an empty list hardly is."""
    rules = table.get("rules", list)
    if rules is not None and not rules:
        raise table.error("'rules' is empty; write [[rules]] before each rule, or leave it out")
    return rules or []


def load_policy(path: Path) -> RuleSet:
    """Read a policy file.

    @raise PolicyError: when it cannot be read or understood.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: is not UTF-8; save it as UTF-8 text") from error
    return parse_policy(text, str(path), f"policy {path}")


def load_starter() -> RuleSet:
    """Read the packaged policy, which decides when nothing else is configured."""
    text = resources.files("egress.policy").joinpath("starter.toml").read_text("utf-8")
    return parse_policy(text, "starter.toml", "policy starter")
