"""The environment of a process that the proxy starts for itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from egress.config.options import OPTIONS


def child_environment(environ: Mapping[str, str], path: Sequence[str]) -> dict[str, str]:
    """Make the environment of a process that runs a module of egressproxy.

    It contains no variable of a proxy option, and so no secret: the process receives its settings over a socket.  It
    finds the same modules as this process.
    """
    names = {variable.name for option in OPTIONS for variable in option.environment}
    inherited = {name: value for name, value in environ.items() if name.upper() not in names}
    return {**inherited, "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in path)}
