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
from egress.policy.rules import Rule, RuleSet, compile_host, compile_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")

_TOP: Final = frozenset({"version", "private_addresses", "rules"})
_RULE: Final = frozenset({"id", "action", "reason", "hosts", "ports", "schemes", "methods", "paths"})
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")


class PolicyError(Exception):
    """A policy that cannot be used.

    @ivar reason: one line that names the place and the remedy.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Table:
    """A TOML table, read strictly."""

    def __init__(self, where: str, table: dict[str, Any], known: frozenset[str]) -> None:
        self.where = where
        self._table = table
        for key in table:
            if key not in known:
                raise self.error(f"{key!r} is not known here; use {', '.join(sorted(known))}")

    def error(self, text: str) -> PolicyError:
        return PolicyError(f"{self.where}: {text}")

    def get(self, key: str, kind: type[_T]) -> _T | None:
        """A value of one type, or C{None}."""
        value = self._table.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(f"{key!r} must be {_NAMES[kind]}")
        return value

    def items(self, key: str, kind: type[_T], read: Callable[[_T], Any]) -> tuple[Any, ...]:
        """A list whose members are all of one type, each read in turn."""
        values = self.get(key, list)
        if values is None:
            return ()
        if not values:
            raise self.error(f"{key!r} is empty and would match nothing; leave it out to match everything")
        found = []
        for value in values:
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise self.error(f"{key!r} must be a list of {_NAMES[kind]}s")
            try:
                found.append(read(value))
            except (ValueError, InvalidTarget) as error:
                raise self.error(f"{key} {value!r}: {error}") from error
        return tuple(found)


_NAMES: Final[dict[type, str]] = {str: "a string", int: "a number", list: "a list", dict: "a table"}


def _port(value: int) -> int:
    if not 0 < value < 65536:
        raise ValueError("a port is 1 to 65535")
    return value


def _scheme(value: str) -> str:
    if value not in ("http", "https"):
        raise ValueError("a scheme is http or https")
    return value


def _method(value: str) -> str:
    if not _METHOD.fullmatch(value):
        raise ValueError("methods are written in capitals, as in GET")
    return value


def _path(value: str) -> re.Pattern[str]:
    if not value.startswith(("/", "*")):
        raise ValueError("a path pattern begins with / or *")
    return compile_path(value)


def _verdict(table: _Table) -> Verdict:
    action = table.get("action", str)
    try:
        return Verdict(action)
    except ValueError:
        raise table.error('\'action\' must be "allow" or "deny"') from None


def _rule(where: str, number: int, entry: object) -> Rule:
    if not isinstance(entry, dict):
        raise PolicyError(f"{where}, rule {number}: must be a table [[rules]]")
    name = entry.get("id")
    table = _Table(f"{where}, rule {name if isinstance(name, str) else number}", entry, _RULE)
    rule_id = table.get("id", str) or f"rule-{number}"
    verdict = _verdict(table)
    reason = table.get("reason", str)
    if not reason:
        if verdict is Verdict.DENY:
            raise table.error("a denial needs a 'reason' for the person who meets it")
        reason = f"allowed by the rule {rule_id}"
    return Rule(
        rule_id,
        verdict,
        reason,
        hosts=table.items("hosts", str, compile_host),
        ports=frozenset(table.items("ports", int, _port)),
        schemes=frozenset(table.items("schemes", str, _scheme)),
        methods=frozenset(table.items("methods", str, _method)),
        paths=table.items("paths", str, _path),
    )


def parse_policy(text: str, where: str, name: str) -> RuleSet:
    """Read a policy.

    @param where: names the text in errors.
    @param name: becomes L{RuleSet.name}.
    @raise PolicyError: for everything that is not understood.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{where}: is not TOML: {error}") from error
    table = _Table(where, document, _TOP)
    if table.get("version", int) != 1:
        raise table.error("'version = 1' is missing")
    private = table.get("private_addresses", str) or "allow"
    if private not in ("allow", "deny"):
        raise table.error('\'private_addresses\' must be "allow" or "deny"')
    entries = table.get("rules", list) or []
    rules = tuple(_rule(where, number, entry) for number, entry in enumerate(entries, 1))
    seen: set[str] = set()
    for rule in rules:
        if rule.rule_id in seen:
            raise table.error(f"the rule id {rule.rule_id!r} is given twice")
        seen.add(rule.rule_id)
    return RuleSet(name, rules, private == "deny")


def load_policy(path: Path) -> RuleSet:
    """Read a policy file.

    @raise PolicyError: when it cannot be read or understood.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: is not UTF-8 text") from error
    return parse_policy(text, str(path), f"policy {path}")


def load_starter() -> RuleSet:
    """Read the packaged policy, which decides when nothing else is configured."""
    text = resources.files("egress.policy").joinpath("starter.toml").read_text("utf-8")
    return parse_policy(text, "starter.toml", "policy starter")
