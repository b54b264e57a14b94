"""The settings of one end of an HTTP/2 connection, with a tenth of the memory of the class in C{h2}."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from h2.settings import SettingCodes, Settings


class _Values(list[Any]):
    """The current value of a setting, and the values that are not acknowledged.

    C{h2} uses a C{deque}, which reserves 64 places. A connection has some fifteen settings, and a peer can send many
    unknown ones.
    """

    def popleft(self) -> Any:
        """Remove the first value; see C{deque.popleft}."""
        return self.pop(0)


class CompactSettings(Settings):
    """The settings of one end.

    @param client: whether this end is the client.
    @param values: the values that differ from the default values of RFC 9113.
    """

    def __init__(self, *, client: bool, values: dict[SettingCodes, int] | None = None) -> None:
        super().__init__(client=client, initial_values=values)
        settings: Any = self._settings
        for key, (value,) in settings.items():
            settings[key] = _single(value)

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        settings: Any = self._settings
        former = settings.get(key)
        if former is not None:
            # The former values may be shared.
            settings[key] = _Values(former)
        super().__setitem__(key, value)
        if former is None:
            settings[key] = _Values(settings[key])


@lru_cache(maxsize=256)
def _single(value: int) -> _Values:
    """Return the list of one value that never changes, and that all connections share."""
    return _Values((value,))
