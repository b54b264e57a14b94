"""Pending approvals of several processes, as one list for approvers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

# What tells a process which of its requests an approver's answer is for.
_INTERNAL = ("holder", "node", "token", "grantId")


def bounded(entries: Iterable[Mapping[str, Any]], *, most: int, previews: int) -> list[dict[str, Any]]:
    """Return the first entries, as many as a list may have.

    @param entries: the entries.
    @param most: the maximum number of entries.
    @param previews: the maximum length of all their previews, as JSON.  Other entries have none.
    """
    found: list[dict[str, Any]] = []
    for each in entries:
        if len(found) == most:
            break
        entry = dict(each)
        if entry.get("preview") is not None:
            previews -= len(json.dumps(entry["preview"]))
            if previews < 0:
                entry["preview"] = None
        found.append(entry)
    return found


def merged(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Merge the entries of several processes: equal ones become one.

    @param entries: the entries.  If replicas share state, each has a C{holder}, the id of the process in which the
        requests wait, and its C{node}.  The same entry can occur several times.
    @return: the entries, oldest first, with C{nodes}: the names of the nodes on which the requests wait.
    """
    found: dict[str, dict[str, Any]] = {}
    seen: set[tuple[str, str]] = set()
    for each in entries:
        holder, node = each.get("holder"), each.get("node")
        if holder is not None:
            if (each["id"], holder) in seen:
                continue
            seen.add((each["id"], holder))
        entry = {key: value for key, value in each.items() if key not in _INTERNAL}
        if node is not None:
            entry["nodes"] = [node]
        other = found.setdefault(each["id"], entry)
        if other is not entry:
            _add(other, entry)
    return sorted(found.values(), key=lambda one: one["since"])


def _add(entry: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Add an equal entry of another process."""
    entry["count"] += other["count"]
    entry["since"] = min(entry["since"], other["since"])
    entry["until"] = max(entry["until"], other["until"])
    if "preview" in entry and entry["preview"] is None:
        entry["preview"] = other["preview"]
    if "nodes" in entry:
        entry["nodes"] = sorted({*entry["nodes"], *other["nodes"]})
