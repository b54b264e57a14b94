"""The name of the user who runs a command."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Return the name of the user; empty if there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # pragma: no cover - depends on the machine
        # A container may run as a user that has no name.
        return ""
