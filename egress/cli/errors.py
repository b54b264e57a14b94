"""What a command cannot do."""


class CommandFailed(Exception):
    """A command cannot do what it was told to; its text is one sentence, with the remedy.

    @cvar exit_status: the status of the process.
    """

    exit_status = 1


class Misused(CommandFailed):
    """The same from a command whose status 1 says that it found a difference."""

    exit_status = 2
