"""The diagnosis of one runtime, from the output of its request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from egress.checks.finding import NOT_INSTALLED, Finding, Status, skipped
from egress.checks.setup import Setup
from egress.doctor.environment import wide_bypasses
from egress.doctor.remedies import fix_for
from egress.doctor.runtimes import LIBRARY_MISSING, Runtime
from egress.doctor.symptoms import Cause, cause_of
from egress.model.quote import printable

_ERROR: Final = ("error:", "fatal:")
_MAX_TEXT: Final = 160
# The program in PATH is that of a version manager, which has no version of it.
_NO_PROGRAM: Final = re.compile(
    r"^(error: rustup could not choose|pyenv: .* not found|nodenv: .* not found|No version is set for command)",
    re.MULTILINE,
)
_USERINFO: Final = re.compile(r"//[^/\s@]+@")


@attrs.frozen(kw_only=True)
class Attempt:
    """A request that was made.

    @ivar command: the command.
    @ivar status: its exit status; C{None} if it was killed after its timeout.
    @ivar output: what it wrote, on both streams.
    @ivar seconds: its duration.
    """

    command: Sequence[str]
    status: int | None
    output: str
    seconds: float


def judge_attempt(runtime: Runtime, attempt: Attempt, setup: Setup) -> Finding:
    """Judge a request.

    The response counts, and not the exit status: most of these programs expect other content.
    """
    name, output = runtime.name, attempt.output
    if runtime.response.search(output):
        return Finding(name, Status.OK, "uses the proxy, and trusts its CA", seconds=attempt.seconds)
    if _NO_PROGRAM.search(output):
        return skipped(name, error_line(output))
    if runtime.unusable is not None and runtime.unusable.search(output):
        return skipped(name, NOT_INSTALLED if runtime.unusable is LIBRARY_MISSING else error_line(output))
    cause = Cause.TIMEOUT if attempt.status is None else cause_of(output)
    text = cause.value if cause is not Cause.OTHER else f"{cause.value}: {error_line(output)}"
    bypasses = wide_bypasses(setup.environ)
    fix = fix_for(name, cause, setup, output=output, bypasses=bypasses, command=attempt.command)
    return Finding(name, Status.FAULT, text, fix, attempt.seconds)


def error_line(output: str) -> str:
    """Return the line of an output that names an error, or else its last line, without credentials, for a message."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(_ERROR)]
    text = _USERINFO.sub("//REDACTED@", printable((errors or lines)[-1], " ")) if lines else "no output"
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
