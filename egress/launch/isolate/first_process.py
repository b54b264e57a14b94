"""The first process of the sandbox: it starts the command, passes signals on, and ends the sandbox with the command.

The kernel ends all processes of a PID namespace with its first process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.messages import Command
from egress.launch.isolate.syscalls import NEW_USER, forbid_new_privileges, unshare
from egress.launch.isolate.user_namespace import write_id_maps

_FORWARDED: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
WAITED: Final = frozenset({*_FORWARDED, signal.SIGCHLD})

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
FAILED: Final = 125
_SIGNALLED: Final = 128
_STANDARD_ERROR: Final = 2

# A signal that the terminal sent has this code; all processes in the foreground receive it themselves (siginfo.h).
_FROM_KERNEL: Final = 0x80


def block_signals() -> set[signal.Signals]:
    """Let signals wait until L{supervise} handles them.

    @return: the signals that were blocked before.
    """
    # Python returns numbers without a name as integers.
    return signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)  # type: ignore[return-value]


@contextmanager
def terminal_restored() -> Iterator[None]:
    """Return the terminal to the processes that have it now, after the block.

    A shell in the sandbox takes it, but cannot return it: it has no number for processes outside.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        before = os.tcgetpgrp(terminal)
        yield
        if before == os.getpgrp() != os.tcgetpgrp(terminal):
            # The kernel stops a process in the background that does this without blocking the signal.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
            os.tcsetpgrp(terminal, before)
    finally:
        os.close(terminal)


def supervise(process: int, wait: Callable[[Iterable[int]], signal.struct_siginfo] = signal.sigwaitinfo) -> int:
    """Wait until a child ends; pass signals on to it, and collect the other processes that end.

    @return: its exit status, as a shell reports it.
    """
    while True:
        information = wait(WAITED)
        if information.si_signo == signal.SIGCHLD:
            status = _collect(process)
            if status is not None:
                return status
        elif information.si_code != _FROM_KERNEL:
            os.kill(process, information.si_signo)


def _collect(process: int) -> int | None:
    """Collect all processes that have ended; return the exit status of one of them."""
    status = None
    while True:
        try:
            number, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if number == 0:
            return status
        if number == process:
            exit_code = os.waitstatus_to_exitcode(code)
            status = exit_code if exit_code >= 0 else _SIGNALLED - exit_code


def run_first_process(command: Command, maps: IdMaps, blocked: Iterable[int], confine: Callable[[], None]) -> int:
    """Start the command in a user namespace of its own, in which it has no capability over the sandbox.

    @param maps: the ids in the namespace.
    @param blocked: the signals that are blocked for the command.
    @param confine: called in the process of the command, before it executes the program.
    @return: the exit status of the command.
    """
    entered_read, entered_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(entered_read)
        os.close(mapped_write)
        _execute(command, entered_write, mapped_read, blocked=blocked, confine=confine)
    os.close(entered_write)
    os.close(mapped_read)
    if os.read(entered_read, 1):
        write_id_maps(maps, child)
        os.write(mapped_write, b"1")
    os.close(entered_read)
    os.close(mapped_write)
    return supervise(child)


def _execute(
    command: Command, entered: int, mapped: int, *, blocked: Iterable[int], confine: Callable[[], None]
) -> NoReturn:
    status = FAILED
    try:
        unshare(NEW_USER)
        os.write(entered, b"1")
        if not os.read(mapped, 1):
            os._exit(FAILED)
        forbid_new_privileges()
        confine()
        for descriptor in os.listdir("/proc/self/fd"):
            if int(descriptor) > _STANDARD_ERROR:
                with suppress(OSError):
                    os.close(int(descriptor))
        # Python ignores these; a program expects their default.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        status = NOT_EXECUTABLE
        os.execve(command.executable, list(command.arguments), command.environ)  # noqa: S606
    except OSError as error:
        if isinstance(error, FileNotFoundError) and status == NOT_EXECUTABLE:
            status = NOT_FOUND
        text = f"egress: {command.arguments[0]}: {error.strerror}\n"
        os.write(_STANDARD_ERROR, text.encode(errors="surrogateescape"))
    finally:
        os._exit(status)
