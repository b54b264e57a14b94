"""Errors of commands."""


class CommandFailed(Exception):
    """A command failed; the text is one sentence with the fix.

    @cvar exit_status: the exit status of the process.
    """

    exit_status = 1


class Misused(CommandFailed):
    """A command whose exit status 1 means that it found a difference failed, so its exit status is 2."""

    exit_status = 2
