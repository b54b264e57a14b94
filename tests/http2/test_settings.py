"""Tests for L{egress.http2.settings}."""

from __future__ import annotations

import sys
from typing import Any

from h2.exceptions import InvalidSettingsValueError
from h2.settings import SettingCodes, Settings
from twisted.trial.unittest import SynchronousTestCase

from egress.http2.settings import CompactSettings

_UNKNOWN = 0xFF01


class CompactSettingsTests(SynchronousTestCase):
    """The settings behave as those of C{h2}."""

    def pairs(self) -> list[tuple[Settings, CompactSettings]]:
        values = {SettingCodes.MAX_CONCURRENT_STREAMS: 100, SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20}
        return [
            (Settings(client=True), CompactSettings(client=True)),
            (Settings(client=False, initial_values=values), CompactSettings(client=False, values=values)),
        ]

    def test_values(self) -> None:
        for theirs, ours in self.pairs():
            self.assertEqual(dict(ours), dict(theirs))

    def test_changes(self) -> None:
        """A value is current after its acknowledgement; each acknowledgement is for one change of a setting."""
        for theirs, ours in self.pairs():
            for settings in (theirs, ours):
                for value in (1 << 17, 1 << 18):
                    settings[SettingCodes.INITIAL_WINDOW_SIZE] = value
                    settings[_UNKNOWN] = value
            self.assertNotIn(_UNKNOWN, dict.fromkeys(key for key in ours if ours.get(key) is not None))
            for _ in range(3):
                changed, wanted = (
                    {key: (one.original_value, one.new_value) for key, one in settings.acknowledge().items()}
                    for settings in (ours, theirs)
                )
                self.assertEqual(changed, wanted)
                self.assertEqual(dict(ours), dict(theirs))

    def test_invalid_values(self) -> None:
        for _, ours in self.pairs():
            before = dict(ours)
            with self.assertRaises(InvalidSettingsValueError):
                ours[SettingCodes.MAX_FRAME_SIZE] = 1
            self.assertEqual(ours.acknowledge(), {})
            self.assertEqual(dict(ours), before)

    def test_memory(self) -> None:
        """No setting takes more than a list of a few values, also if the peer sends it."""
        for _, ours in self.pairs():
            for code in range(0x1000, 0x1100):
                ours[code] = 1
            ours.acknowledge()
            kept: Any = ours._settings  # noqa: SLF001
            self.assertLess(max(map(sys.getsizeof, kept.values())), 200)

    def test_connections_are_independent(self) -> None:
        """The connections share the lists of values that do not change."""
        first, second = CompactSettings(client=True), CompactSettings(client=True)
        first[SettingCodes.MAX_FRAME_SIZE] = 1 << 15
        self.assertEqual(second.acknowledge(), {})
        first.acknowledge()
        self.assertEqual((first.max_frame_size, second.max_frame_size), (1 << 15, 1 << 14))
        self.assertEqual(CompactSettings(client=True).max_frame_size, 1 << 14)
