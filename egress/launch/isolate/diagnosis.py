"""Why a sandbox cannot be made on this machine, and what to change."""

from __future__ import annotations

import os

from egress.launch.isolate.messages import Failed


def explain(failed: Failed) -> str:
    """Return the cause and the fix, in one line."""
    if failed.step == "platform":
        return f"namespaces exist only on Linux, and this is {failed.detail}"
    return f"{failed.step}: {os.strerror(failed.error_number)} ({failed.detail})"
