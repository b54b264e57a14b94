"""The definitions of a policy: groups of hosts and of clients, and variables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from egress.model.errors import InvalidTarget
from egress.policy.match.clients import ClientTest, compile_client
from egress.policy.match.hosts import HostTest, compile_host
from egress.policy.parse.toml_positions import Path
from egress.policy.parse.toml_reader import Document, Table, nearest

GROUP: Final = "@"
"""The prefix of a group reference."""

SECRET: Final = "secret:"  # noqa: S105 (the prefix of a secret reference)

MAX_DEPTH: Final = 50
"""The maximum nesting depth of groups."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REFERENCE: Final = re.compile(r"(\$?)\$\{([^{}]*)\}")
_COMPILE: Final[dict[str, Any]] = {"hosts": compile_host, "clients": compile_client}


class Definitions:
    """The groups and variables of all documents of a policy."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._variables: dict[str, tuple[Document, str]] = {}
        self._groups: dict[tuple[str, str], tuple[Document, list[Any]]] = {}
        self._compiled: dict[tuple[str, str], tuple[Any, ...]] = {}
        for document in documents:
            self._read_variables(document)
            self._read_groups(document)
        for kind, name in self._groups:
            self._group(kind, name, ())

    def _read_variables(self, document: Document) -> None:
        given = document.table.get("variables", {})
        if not isinstance(given, dict):
            raise document.error(("variables",), "'variables' must be a table")
        for name, value in given.items():
            path = ("variables", name)
            self._check_name(document, path, "variable", name, self._variables.get(name))
            if not isinstance(value, str):
                raise document.error(path, f"variable {name}: must be a string")
            if "${" in value:
                raise document.error(path, f"variable {name}: must not contain a variable")
            self._variables[name] = (document, value)

    def _read_groups(self, document: Document) -> None:
        given = document.table.get("groups", {})
        if not isinstance(given, dict):
            raise document.error(("groups",), "'groups' must be a table, with [groups.hosts] and [groups.clients]")
        for kind, groups in Table(document, ("groups",), "", given, _COMPILE).table.items():
            if not isinstance(groups, dict):
                raise document.error(("groups", kind), f"'groups.{kind}' must be a table of lists")
            for name, members in groups.items():
                path = ("groups", kind, name)
                self._check_name(document, path, "group", name, self._groups.get((kind, name)))
                if not isinstance(members, list) or not members:
                    raise document.error(path, f"group {name}: must be a non-empty list")
                self._groups[kind, name] = (document, members)

    @staticmethod
    def _check_name(document: Document, path: Path, what: str, name: str, other: tuple[Document, Any] | None) -> None:
        if not _NAME.fullmatch(name):
            raise document.error(path, f"{what} {name!r}: use up to 64 letters, digits, '.', '_' and '-'")
        if other is not None:
            raise document.error(path, f"{what} {name}: is also in {other[0].where}; use different names")

    def _group(self, kind: str, name: str, trail: tuple[str, ...]) -> tuple[Any, ...]:
        known = self._compiled.get((kind, name))
        if known is not None:
            return known
        document, members = self._groups[kind, name]
        if name in trail:
            raise document.error(("groups", kind, name), f"group {name}: is a member of itself")
        if len(trail) >= MAX_DEPTH:
            raise document.error(("groups", kind, name), f"group {name}: is nested in more than {MAX_DEPTH} groups")
        found: dict[Any, None] = {}
        for index, member in enumerate(members):
            path = ("groups", kind, name, index)
            compiled = self.members(kind, document, path, f"group {name}", entry=member, trail=(*trail, name))
            found.update(dict.fromkeys(compiled))
        self._compiled[kind, name] = tuple(found)
        return self._compiled[kind, name]

    def members(
        self, kind: str, document: Document, path: Path, label: str, *, entry: object, trail: tuple[str, ...] = ()
    ) -> tuple[Any, ...]:
        """Compile one entry of a list of hosts or clients; the entry can be a group reference.

        @raise egress.policy.parse.toml_reader.PolicyError: if the entry is not valid.
        """
        if not isinstance(entry, str):
            raise document.error(path, f"{label}: each of its {kind} must be a string")
        if entry.startswith(GROUP):
            name = entry.removeprefix(GROUP)
            if (kind, name) not in self._groups:
                known = [f"{GROUP}{group}" for one, group in self._groups if one == kind]
                says = nearest(entry, known) if known else f"there is no [groups.{kind}]"
                raise document.error(path, f"{label}: the group {entry!r} is not known; {says}")
            return self._group(kind, name, trail)
        text = self.expand(document, path, label, entry)
        try:
            return (_COMPILE[kind](text),)
        except (ValueError, InvalidTarget) as error:
            raise document.error(path, f"{label}: {kind} {text!r}: {error}") from None

    def compile_list(self, kind: str, table: Table, label: str) -> tuple[Any, ...]:
        """Compile a list of hosts or clients.  A list that consists of one group returns the same object each time."""
        entries = table.members(kind)
        found = [
            self.members(kind, table.document, (*table.path, kind, index), label, entry=entry)
            for index, entry in enumerate(entries)
        ]
        return found[0] if len(found) == 1 else tuple(test for tests in found for test in tests)

    def hosts(self, table: Table, label: str) -> tuple[HostTest, ...]:
        """Compile C{hosts}."""
        return self.compile_list("hosts", table, label)

    def clients(self, table: Table, label: str) -> tuple[ClientTest, ...]:
        """Compile C{clients}."""
        return self.compile_list("clients", table, label)

    def expand(self, document: Document, path: Path, label: str, value: Any, *, secrets: bool = False) -> Any:
        """Substitute variables in a text, or in all texts of a list or a table.

        @param document: the document of the value.
        @param path: the position in the document.
        @param label: the name of the table in errors.
        @param value: a text, or a list or a table of texts.
        @param secrets: whether C{${secret:NAME}} is permitted, and left unchanged; elsewhere it is an error.
        @raise egress.policy.parse.toml_reader.PolicyError: if a variable is not defined.
        """
        if document.is_plain:
            return value
        if isinstance(value, str):
            return self._text(document, path, label, value, secrets) if "${" in value else value
        if isinstance(value, list):
            return [
                self.expand(document, (*path, index), label, one, secrets=secrets) for index, one in enumerate(value)
            ]
        if isinstance(value, dict):
            return {
                key: self.expand(document, (*path, key), label, one, secrets=secrets or key == "set_headers")
                for key, one in value.items()
            }
        return value

    def _text(self, document: Document, path: Path, label: str, text: str, secrets: bool) -> str:
        def replace(match: re.Match[str]) -> str:
            name = match[2]
            if name.startswith(SECRET):
                if secrets and not match[1]:
                    return match[0]
                raise document.error(path, f"{label}: ${{{name}}} is permitted only in values of 'set_headers'")
            if match[1]:
                return match[0][1:]
            if name not in self._variables:
                says = nearest(name, self._variables) if self._variables else "there are no [variables]"
                raise document.error(path, f"{label}: the variable ${{{name}}} is not known; {says}")
            return self._variables[name][1]

        return _REFERENCE.sub(replace, text)
