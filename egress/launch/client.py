"""A command that uses a proxy: its arguments and its environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from egress.client_settings.browser import browser_flags, with_browser_flags
from egress.client_settings.variables import ClientFiles, environment

_PROFILE: Final = "browser"


@attrs.frozen
class Client:
    """The settings of a command.

    @ivar proxy: the URL of the proxy.
    @ivar files: the files that the command trusts.
    @ivar leaf_key: see L{browser_flags}.
    @ivar profile: a directory for the profile of a browser, which makes it; by default next to the files.
    """

    proxy: str
    files: ClientFiles
    leaf_key: str | None = None
    profile: Path = attrs.field()

    @profile.default
    def _next_to_the_files(self) -> Path:
        return self.profile_in(self.files.ca.parent)

    @staticmethod
    def profile_in(directory: Path) -> Path:
        """Return the default profile, for files in a directory."""
        return directory / _PROFILE

    def arguments(self, command: Sequence[str]) -> Sequence[str]:
        """Return the command to run: a browser gets flags."""
        flags = browser_flags(self.proxy, self.leaf_key)
        return with_browser_flags(command, flags, self.profile)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of the command.

        @param environ: the settings of clients replace or extend its variables.
        """
        return environment(self.proxy, self.files, environ, self.leaf_key)
