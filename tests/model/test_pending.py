"""Tests for L{egress.model.pending}."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.pending import bounded, merged


def entry(name: str, **members: Any) -> dict[str, Any]:
    """An entry of a process; the members that do not matter are omitted."""
    return {"id": name, "count": 1, "since": 1.0, "until": 9.0, **members}


class MergedTests(SynchronousTestCase):
    """Equal entries of several processes become one."""

    def test_without_holders(self) -> None:
        first, second = entry("a", since=3.0), entry("a", count=2, since=2.0, until=20.0)
        other = entry("b")
        self.assertEqual(merged([first, other, second]), [other, entry("a", count=3, since=2.0, until=20.0)])
        # The entries themselves stay as they are.
        self.assertEqual(first, entry("a", since=3.0))

    def test_same_entry_twice(self) -> None:
        """Each worker lists what waits in the others, too."""
        one = entry("a", holder="1", node="x", token="t1", grantId="g", preview=None)
        two = entry("a", holder="2", node="y", token="t2", grantId="g", preview={"headers": []})
        expected = entry("a", count=2, nodes=["x", "y"], preview={"headers": []})
        self.assertEqual(merged([two, one, dict(two), dict(one)]), [expected])
        self.assertEqual(merged([one, two]), [expected])
        self.assertEqual(merged([one, {**one, "holder": "3"}]), [entry("a", count=2, nodes=["x"], preview=None)])


class BoundedTests(SynchronousTestCase):
    """A list has a limited number of entries and previews."""

    def test_number(self) -> None:
        entries = [entry("a"), entry("b"), entry("c")]
        self.assertEqual(bounded(entries, most=2, previews=0), entries[:2])
        self.assertEqual(bounded(entries, most=5, previews=0), entries)

    def test_previews(self) -> None:
        preview: dict[str, Any] = {"headers": []}
        entries = [entry(name, preview=preview) for name in "abc"]
        found = bounded(entries, most=5, previews=2 * len(json.dumps(preview)))
        self.assertEqual([each["preview"] for each in found], [preview, preview, None])
        self.assertEqual([each["preview"] for each in entries], [preview] * 3)
