"""A strict reader of the tables of settings in an operator's TOML file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from egress.model.errors import InvalidTarget
from egress.model.no_proxy import HostPattern


class SettingsTable:
    """A table of settings in a file of the operator.

    The embedded policy has a reader of its own, L{egress.policy.parse.toml_reader}, whose errors have line numbers.

    @param where: the file and the table, for errors.
    @param known: the permitted keys.
    @param error: makes an error from one line, which names the position and the fix.
    """

    def __init__(
        self, where: str, table: Mapping[str, Any], known: Collection[str], error: Callable[[str], Exception]
    ) -> None:
        self._where = where
        self._table = table
        self._error = error
        for key in table:
            if key not in known:
                raise self.error(f"unknown key {key!r}; use {', '.join(known)}")

    def error(self, text: str) -> Exception:
        """Return an error about the table."""
        return self._error(f"{self._where}: {text}")

    def get(self, key: str, default: object = None) -> Any:
        """Return an unchecked value."""
        return self._table.get(key, default)

    def text(self, key: str) -> str | None:
        """Return a text; C{None} if the key is missing."""
        value = self._table.get(key)
        if value is not None and (not isinstance(value, str) or not value or "\0" in value):
            raise self.error(f"{key!r} must be a string")
        return value

    def flag(self, key: str) -> bool | None:
        """Return C{true} or C{false}; C{None} if the key is missing."""
        value = self._table.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(f"{key!r} must be true or false")
        return value

    def path(self, key: str, directory: Path) -> Path | None:
        """Return the path of a file; C{None} if the key is missing.

        @param directory: the base of relative paths.
        """
        text = self.text(key)
        return None if text is None else directory / text

    def hosts(self, rule: str) -> tuple[HostPattern, ...]:
        """Return the patterns of C{hosts}, which is required.

        @param rule: what the list must do, for errors.
        """
        value = self._table.get("hosts")
        if not isinstance(value, list) or not value:
            raise self.error(f'\'hosts\' must {rule}, as in ["api.example.com", "*.example.org:8443"]')
        return tuple(map(self._host, value))

    def _host(self, value: object) -> HostPattern:
        try:
            return HostPattern.parse(value if isinstance(value, str) else "", suffix=False)
        except InvalidTarget as error:
            raise self.error(f"hosts {value!r}: {error.reason}") from error
