"""The helper process: makes the sandbox, hands its sockets to the proxy, and runs the command in it.

It is a process of its own, because a process with threads cannot enter a user namespace, and because its children are
in the PID namespace that it makes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from egress.launch.isolate import network
from egress.launch.isolate.file_system import mount_processes, replace_files
from egress.launch.isolate.first_process import FAILED, block_signals, run_first_process, supervise
from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.messages import (
    MAX_BYTES,
    RUN,
    Command,
    Failed,
    Ready,
    decode_command,
    encode,
)
from egress.launch.isolate.syscalls import NEW_IPC, NEW_MOUNTS, NEW_NETWORK, NEW_PIDS, end_with_parent, unshare
from egress.launch.isolate.user_namespace import enter_user_namespace, own_id_maps


class _Step:
    """Names the step in which an error occurs."""

    def __init__(self) -> None:
        self.name = "start"

    def run(self, name: str, step: Callable[[], None]) -> None:
        self.name = name
        step()


def _make_sandbox(maps: IdMaps, step: _Step) -> None:
    step.run("user namespace", lambda: enter_user_namespace(maps))
    step.run("namespaces", lambda: unshare(NEW_MOUNTS | NEW_NETWORK | NEW_PIDS | NEW_IPC))
    # The kernel forgets it when a process enters a user namespace.
    end_with_parent(signal.SIGKILL)
    step.run("network", network.bring_up)
    step.run("packet filter", network.redirect)
    step.run("mounts", replace_files)


def main(descriptor: int) -> int:
    """Make the sandbox, and run the command of the proxy in it.

    @param descriptor: the socket to the proxy.
    @return: the exit status of the command.
    """
    end_with_parent(signal.SIGKILL)
    blocked = block_signals()
    proxy = socket.socket(fileno=descriptor)
    step = _Step()
    try:
        maps = own_id_maps()
        _make_sandbox(maps, step)
        step.name = "sockets"
        opened = network.open_sockets()
    except OSError as error:
        with suppress(OSError):
            proxy.send(encode(Failed(step.name, error.errno or 0, str(error))))
        return FAILED
    socket.send_fds(proxy, [encode(Ready([name for name, _ in opened]))], [each.fileno() for _, each in opened])
    for _, each in opened:
        each.close()
    command = _received(proxy)
    if command is None:
        return FAILED
    return _run(command, maps, blocked)


def _received(proxy: socket.socket) -> Command | None:
    """Return the command of the proxy, or C{None} if the proxy has ended."""
    message, descriptors, _, _ = socket.recv_fds(proxy, MAX_BYTES, 1)
    if message != RUN or len(descriptors) != 1:
        return None
    with open(descriptors[0], "rb") as file:
        file.seek(0)
        return decode_command(file.read())


def _run(command: Command, maps: IdMaps, blocked: set[signal.Signals]) -> int:
    started_read, started_write = os.pipe()
    child = os.fork()
    if child == 0:
        status: Final = FAILED
        try:
            end_with_parent(signal.SIGKILL)
            os.close(started_write)
            # Without the byte, the helper ended before the kernel was told to end this process with it.
            if os.read(started_read, 1):
                mount_processes()
                os._exit(run_first_process(command, maps, blocked, lambda: None))
        except OSError as error:
            os.write(2, f"egress: --isolate: {error}\n".encode(errors="surrogateescape"))
        finally:
            os._exit(status)
    os.close(started_read)
    os.write(started_write, b"1")
    os.close(started_write)
    return supervise(child)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
