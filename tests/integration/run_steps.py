"""The commands that a client runs behind C{egress run}, and their expected results."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from tests.integration.peers import ORIGIN, Origins

REASON: Final = "this path is closed"
"""The reason of the denials: the policy of the tests denies C{/closed/**}."""

FILE: Final = "/files/hello.txt"
CONTENT: Final = "hello"
CLOSED: Final = "/closed/a"


@attrs.frozen(kw_only=True)
class Step:
    """One command, and its expected result.

    @ivar command: the command and its arguments.
    @ivar works: whether it exits with status 0; C{None} if the status does not matter.
    @ivar shows: texts in its standard output, with the minimum number of their occurrences.
    @ivar makes: a file that it makes.
    @ivar summary: a text in the summary.
    @ivar environ: more variables.
    """

    command: Sequence[str]
    works: bool | None = True
    shows: dict[str, int] = attrs.field(factory=dict)
    makes: Path | None = None
    summary: str = ""
    environ: dict[str, str] = attrs.field(factory=dict)


def denied(*command: str, output: str = "") -> Step:
    """Return a command that fails because a request is denied: the summary has the reason.

    @param output: a text that its standard output has, too.
    """
    return Step(command=command, works=False, shows={output: 1} if output else {}, summary=f"    reason: {REASON}\n")


@attrs.frozen
class Place:
    """The place where a client runs.

    @ivar directory: an empty directory.
    @ivar origins: the origins that it contacts.
    """

    directory: Path
    origins: Origins

    def url(self, path: str) -> str:
        """Return a URL of the HTTP origin."""
        return f"http://{ORIGIN}:{self.origins.http}{path}"

    def secure(self, path: str) -> str:
        """Return a URL of the HTTPS origin."""
        return f"https://{ORIGIN}:{self.origins.https}{path}"

    def write(self, name: str, text: str) -> str:
        """Write a file of the client.

        @return: its path.
        """
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path)

    def published(self, name: str) -> Path:
        """Return a new directory of the origins, at the path C{/files/NAME/}; it replaces that of an earlier test."""
        path = self.origins.directory / "www" / "files" / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


def fetches(place: Place, *command: str, times: int = 1) -> Step:
    """Return a command that prints the contents of its URLs: two are allowed and two denied, with HTTP and HTTPS.

    @param times: the number of requests for each URL.
    """
    urls = (make(path) for path in (FILE, CLOSED) for make in (place.url, place.secure))
    summary = f" {4 * times} requests, {2 * times} allowed, {2 * times} refused\n"
    return Step(command=(*command, *urls), works=None, shows={CONTENT: 2 * times, REASON: 2 * times}, summary=summary)
