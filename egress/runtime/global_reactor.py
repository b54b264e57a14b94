"""The reactor of the process."""

from __future__ import annotations

from typing import Any


def global_reactor() -> Any:
    """Return the reactor of the process; the first import of it installs the default one.

    Only a function that starts a process calls this, after the reactor that was chosen is installed.  All other code
    gets its reactor as a parameter.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - at the top, importing egress would install a reactor

    return reactor
