"""The parser of rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import tzinfo
from functools import lru_cache
from typing import Final

import attrs

from egress.model.decision import Verdict
from egress.policy.match.paths import PathPattern, compile_path
from egress.policy.parse.budget_parser import KEYS as BUDGETS
from egress.policy.parse.budget_parser import read_budgets
from egress.policy.parse.condition_parser import KEYS as CONDITIONS
from egress.policy.parse.condition_parser import UNSEEN, read_conditions
from egress.policy.parse.definitions import Definitions
from egress.policy.parse.message_parser import KEY as MESSAGES
from egress.policy.parse.message_parser import read_messages
from egress.policy.parse.obligation_parser import KEYS as TERMS
from egress.policy.parse.obligation_parser import read_obligations
from egress.policy.parse.toml_reader import Document, Table
from egress.policy.parse.units import ports
from egress.policy.reason_template import Reason
from egress.policy.rule import DEFAULT_RULE, Rule

# Every key of a rule.
KEYS: Final = frozenset(
    {
        "name",
        "id",
        "action",
        "reason",
        "hosts",
        "ports",
        "schemes",
        "methods",
        "paths",
        *CONDITIONS,
        *TERMS,
        *BUDGETS,
        MESSAGES,
    },
)
_SCHEMES: Final = frozenset({"http", "https"})
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
# Names and reasons appear in header fields and in log lines.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _scheme(value: str) -> str:
    if value not in _SCHEMES:
        raise ValueError("a scheme must be http or https")
    return value


def _method(value: str) -> str:
    if not _METHOD.fullmatch(value):
        raise ValueError("write a method in capitals, as in GET")
    return value


@attrs.frozen
class RuleReader:
    """A parser of rules.

    @ivar names: the groups and the variables of the policy.
    @ivar zone: the time zone of time windows.
    """

    names: Definitions
    zone: tzinfo
    # Cached because many rules share the same few paths.
    _path: Callable[[str, bool], PathPattern] = attrs.field(
        init=False, factory=lambda: lru_cache(maxsize=1024)(lambda text, broad: compile_path(text, broad=broad))
    )

    def rule(self, document: Document, index: int, number: int, entry: object) -> Rule:
        """Parse a rule.

        @param document: the document of the rule.
        @param index: the position in its document.
        @param number: the position in the whole policy, from 1.
        @param entry: the table of the rule.
        @raise egress.policy.parse.toml_reader.PolicyError: if the rule is not valid.
        """
        path = ("rules", index)
        if not isinstance(entry, dict):
            raise document.error(path, f"rule {number}: must be a table; write [[rules]] before it")
        name = entry.get("name", entry.get("id"))
        is_name = isinstance(name, str) and _NAME.fullmatch(name) is not None
        label = f"rule {name if is_name else number}"
        table = Table(document, path, label, entry, KEYS)
        rule_id = _rule_id(table, number, is_name)
        if not document.is_plain:
            lists = {key: value for key, value in entry.items() if key not in ("name", "id", "hosts", "clients")}
            table.table = {**entry, **self.names.expand(document, path, label, lists)}
        return self._conditions(table, label, rule_id)

    def _conditions(self, table: Table, label: str, rule_id: str) -> Rule:
        verdict = table.verdict("action", Verdict.ALLOW, Verdict.DENY, Verdict.ASK)
        if verdict is None:
            raise table.error('\'action\' is missing; write "allow", "deny" or "ask"')
        broad = verdict is not Verdict.ALLOW
        reason = _reason(table, verdict, rule_id)
        schemes = frozenset(table.entries("schemes", str, _scheme))
        methods = frozenset(table.entries("methods", str, _method))
        paths = table.entries("paths", str, lambda pattern: self._path(pattern, broad))
        if "CONNECT" in methods:
            _refuse_unseen(table)
        hosts = self.names.hosts(table, label)
        ranges = [
            table.reading(ports, value, f"ports {value!r}", "ports", index)
            for index, value in enumerate(table.members("ports"))
        ]
        obligations = read_obligations(table, verdict)
        messages = read_messages(table, label, verdict)
        if messages is not None:
            obligations = attrs.evolve(obligations, messages=messages[1])
        budgets = read_budgets(table, label, rule_id, verdict)
        if budgets:
            obligations = attrs.evolve(obligations, budgets=budgets)
        return Rule(
            rule_id,
            verdict,
            reason,
            hosts=hosts,
            ports=frozenset(found[0] for found in ranges if len(found) == 1),
            # Both schemes together do not restrict.
            schemes=schemes if schemes != _SCHEMES else frozenset(),
            methods=methods,
            paths=paths,
            port_ranges=tuple(found for found in ranges if len(found) > 1),
            conditions=read_conditions(table, self.names, self.zone, label, broad=broad),
            obligations=obligations,
            messages=None if messages is None else messages[0],
            where=table.document.place(table.path),
        )


def _rule_id(table: Table, number: int, is_name: bool) -> str:
    if "name" in table.table and "id" in table.table:
        raise table.error("'name' and 'id' have the same meaning; remove one of them", "id")
    key = "id" if "id" in table.table else "name"
    name = table.get(key, str)
    if name is None:
        return f"rule-{number}"
    if not is_name or name == DEFAULT_RULE:
        raise table.error(
            f"the {key} {name!r} cannot be used; use up to 64 letters, digits, '.', '_' and '-', "
            f"and not {DEFAULT_RULE!r}",
            key,
        )
    return name


_REASONS: Final = {Verdict.ALLOW: "allowed by the rule {}", Verdict.ASK: "the rule {} requires approval"}


def _reason(table: Table, verdict: Verdict, rule_id: str) -> Reason:
    text = table.line("reason")
    if text is not None:
        return table.reading(Reason.parse, text, "'reason'", "reason")
    if verdict is Verdict.DENY:
        raise table.error("'reason' is missing; add the reason for the user whose request is denied")
    return Reason((_REASONS[verdict].format(rule_id),))


def _refuse_unseen(table: Table) -> None:
    for key in ("paths", MESSAGES, *UNSEEN):
        if key in table.table:
            raise table.error(f"{key!r} cannot match a tunnel; use a rule without it for CONNECT", "methods")
