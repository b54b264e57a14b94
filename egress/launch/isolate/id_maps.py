"""User and group ids inside of the sandbox."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# linux/capability.h: CAP_SETGID, CAP_SETUID, CAP_SETFCAP.  A user namespace that maps root requires the last one.
_ALL_IDS: Final = 1 << 6 | 1 << 7 | 1 << 31

_EFFECTIVE: Final = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)


class IdMaps(NamedTuple):
    """The ids that exist in a user namespace; each is mapped to itself.

    @ivar users: the content of C{/proc/PID/uid_map}.
    @ivar groups: the content of C{/proc/PID/gid_map}.
    @ivar complete: whether these are all ids of this process.  Otherwise, they are its own user and group, and
        setgroups(2) must be denied before they are written.
    """

    users: str
    groups: str
    complete: bool


def id_maps(user: int, group: int, status: str, user_map: str, group_map: str) -> IdMaps:
    """Choose the ids: all ids for a process that may set them, such as root; else its own.

    @param status: the content of C{/proc/self/status}.
    @param user_map: the content of C{/proc/self/uid_map}.
    @param group_map: the content of C{/proc/self/gid_map}.
    """
    found = _EFFECTIVE.search(status)
    capabilities = int(found[1], 16) if found is not None else 0
    if capabilities & _ALL_IDS == _ALL_IDS:
        return IdMaps(_identity(user_map), _identity(group_map), complete=True)
    return IdMaps(f"{user} {user} 1\n", f"{group} {group} 1\n", complete=False)


def _identity(table: str) -> str:
    rows = [line.split() for line in table.splitlines()]
    return "".join(f"{first} {first} {count}\n" for first, _, count in rows)
