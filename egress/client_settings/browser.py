"""Flags for Chromium and the browsers that are built from it.

They trust a certificate whose key is named, only with a profile of its own, and read no variable for CAs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

FLAGS_VARIABLE: Final = "EGRESS_CHROMIUM_FLAGS"
"""The variable with the flags, for programs that start a browser."""

_BROWSER: Final = re.compile(
    r"(ungoogled-)?chromium(-browser|-headless|-shell)?|headless[-_]shell|chrome(-headless-shell)?"
    r"|google-chrome(-stable|-beta|-unstable)?|microsoft-edge(-stable|-beta|-dev)?|brave(-browser)?|vivaldi(-stable)?"
)
_PROFILE: Final = "--user-data-dir"


def browser_flags(proxy: str, leaf_key: str | None) -> list[str]:
    """Return the flags that make a browser use a proxy for all hosts, and trust it.

    @param proxy: the URL of the proxy.
    @param leaf_key: the hash of the key of its leaf certificates; C{None} if it is unknown, so that the browser must
        trust the CA already.
    """
    # Without the list, a browser contacts the hosts of this machine directly.
    flags = [f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"]
    return flags if leaf_key is None else [*flags, f"--ignore-certificate-errors-spki-list={leaf_key}"]


def with_browser_flags(command: Sequence[str], flags: Sequence[str], directory: Path) -> Sequence[str]:
    """Add flags to a command that starts a browser; return other commands unchanged.

    Without a profile of its own, a browser that runs already would open the page, without the proxy.

    @param directory: is the profile, unless the command names one.
    """
    if not _BROWSER.fullmatch(PurePath(command[0]).name):
        return command
    own = any(word.partition("=")[0] == _PROFILE for word in command)
    return [command[0], *flags, *([] if own else [f"{_PROFILE}={directory}"]), *command[1:]]
