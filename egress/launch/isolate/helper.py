"""The helper process: makes the sandbox, hands its sockets to the proxy, and runs the command in it.

It is a process of its own because a process with threads cannot enter a user namespace.  It makes the namespaces; its
child, the first process of the PID namespace, does the rest.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from egress.launch.isolate import network
from egress.launch.isolate.file_system import build, hide, mount_processes
from egress.launch.isolate.first_process import FAILED, block_signals, run_first_process, supervise, terminal_restored
from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.messages import (
    MAX_BYTES,
    RUN,
    Command,
    Failed,
    Ready,
    View,
    decode_command,
    decode_view,
    encode,
)
from egress.launch.isolate.seccomp import UnknownMachine, system_call_filter
from egress.launch.isolate.syscalls import (
    NEW_IPC,
    NEW_MOUNTS,
    NEW_NETWORK,
    NEW_PIDS,
    end_with_parent,
    filter_system_calls,
    unshare,
)
from egress.launch.isolate.user_namespace import check_nesting, enter_user_namespace, own_id_maps

_STANDARD_ERROR: Final = 2
_NAMESPACES: Final = NEW_MOUNTS | NEW_NETWORK | NEW_PIDS | NEW_IPC


class StepFailed(Exception):
    """A step failed.

    @ivar failed: the message for the proxy.
    """

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed


@contextmanager
def _step(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StepFailed(Failed(name, error.errno or 0, str(error))) from error


def main(descriptor: int, view: str) -> int:
    """Make the sandbox, and run the command of the proxy in it.

    @param descriptor: the socket to the proxy.
    @param view: what the command sees of the file system (L{decode_view}).
    @return: the exit status of the command.
    """
    proxy = socket.socket(fileno=descriptor)
    end_with_parent(signal.SIGKILL)
    blocked = block_signals()
    return _reported(proxy, lambda: _run_outside(proxy, decode_view(view), blocked))


def _reported(proxy: socket.socket, run: Callable[[], int]) -> int:
    """Run a function, and send the proxy the step that fails."""
    try:
        return run()
    except StepFailed as error:
        with suppress(OSError):
            proxy.send(encode(error.failed))
        return FAILED


def _run_outside(proxy: socket.socket, view: View, blocked: set[signal.Signals]) -> int:
    """Make the namespaces, and start the first process."""
    with _step("machine"):
        machine = os.uname().machine
        try:
            program = system_call_filter(machine, sys.byteorder)
        except UnknownMachine:
            raise StepFailed(Failed("machine", 0, machine)) from None
    with _step("user namespace"):
        maps = own_id_maps()
        enter_user_namespace(maps)
    with _step("namespaces"):
        unshare(_NAMESPACES)
        # The kernel forgets it when a process enters a user namespace.
        end_with_parent(signal.SIGKILL)
    with _step("network"):
        network.bring_up()
    with _step("packet filter"):
        network.redirect()
    with _step("file system"):
        build(view, os.environ)
    started_read, started_write = os.pipe()
    child = os.fork()
    if child == 0:
        status = FAILED
        try:
            end_with_parent(signal.SIGKILL)
            os.close(started_write)
            # Without the byte, the helper ended before the kernel was told to end this process with it.
            if os.read(started_read, 1):
                confine: Callable[[], None] = lambda: filter_system_calls(program)  # noqa: E731
                status = _reported(proxy, lambda: run_inside(proxy, maps, blocked, confine))
        except OSError as error:
            os.write(_STANDARD_ERROR, f"egress: --isolate: {error}\n".encode(errors="surrogateescape"))
        finally:
            os._exit(status)
    os.close(started_read)
    # The proxy notices the end of the first process.
    proxy.close()
    with suppress(BrokenPipeError):
        os.write(started_write, b"1")
    os.close(started_write)
    with terminal_restored():
        return supervise(child)


def run_inside(proxy: socket.socket, maps: IdMaps, blocked: set[signal.Signals], confine: Callable[[], None]) -> int:
    """Do the work of the first process of the sandbox."""
    with _step("processes"):
        mount_processes(complete=maps.complete)
    with _step("user namespace"):
        check_nesting()
    with _step("sockets"):
        opened = network.open_sockets()
    socket.send_fds(proxy, [encode(Ready([name for name, _ in opened]))], [each.fileno() for _, each in opened])
    for _, each in opened:
        each.close()
    command = _received(proxy)
    if command is None:
        return FAILED
    for path in command.hidden:
        hide(path)
    return run_first_process(command, maps, blocked, confine)


def _received(proxy: socket.socket) -> Command | None:
    """Return the command of the proxy, or C{None} if the proxy has ended."""
    message, descriptors, _, _ = socket.recv_fds(proxy, MAX_BYTES, 1)
    if message != RUN or len(descriptors) != 1:
        return None
    with open(descriptors[0], "rb") as file:
        file.seek(0)
        return decode_command(file.read())
