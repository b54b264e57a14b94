"""System calls of Linux that Python does not have in all supported versions."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# linux/sched.h
NEW_MOUNTS: Final = 0x00020000
NEW_IPC: Final = 0x08000000
NEW_USER: Final = 0x10000000
NEW_PIDS: Final = 0x20000000
NEW_NETWORK: Final = 0x40000000

# sys/mount.h
READ_ONLY: Final = 0x1
NO_SETUID: Final = 0x2
NO_DEVICES: Final = 0x4
NO_EXECUTABLES: Final = 0x8
REMOUNT: Final = 0x20
BIND: Final = 0x1000
RECURSIVE: Final = 0x4000
PRIVATE: Final = 0x40000
_DETACH: Final = 0x2

# linux/prctl.h
_PARENT_DEATH_SIGNAL: Final = 1
_SECURE_COMPUTING: Final = 22
_NO_NEW_PRIVILEGES: Final = 38

_FILTER_MODE: Final = 2
_INSTRUCTION_BYTES: Final = 8


class _Program(ctypes.Structure):
    """C{struct sock_fprog} (linux/filter.h)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


_libc: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def unshare(flags: int) -> None:
    """Enter new namespaces: unshare(2)."""
    _checked(_libc.unshare(flags))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system, or change a mount: mount(2)."""
    arguments = [None if value is None else os.fsencode(value) for value in (source, target, kind)]
    options = None if data is None else os.fsencode(data)
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options), target)


def unmount(target: str) -> None:
    """Remove a mount, even if it is in use: umount2(2)."""
    _checked(_libc.umount2(os.fsencode(target), _DETACH), target)


def end_with_parent(signal_number: int) -> None:
    """Let the kernel send a signal to this process when the thread that started it ends."""
    _control(_PARENT_DEATH_SIGNAL, signal_number)


def forbid_new_privileges() -> None:
    """Let the programs that this process executes gain no privileges, as by a setuid bit."""
    _control(_NO_NEW_PRIVILEGES, 1)


def filter_system_calls(program: bytes) -> None:
    """Let a program decide which system calls this process and its children can use: seccomp(2).

    @param program: of L{egress.launch.isolate.seccomp}.
    """
    made = _Program(len(program) // _INSTRUCTION_BYTES, program)
    _control(_SECURE_COMPUTING, _FILTER_MODE, ctypes.addressof(made))


def _control(option: int, *values: int) -> None:
    numbers = (*values, 0, 0, 0, 0)[:4]
    _checked(_libc.prctl(option, *(ctypes.c_ulong(number) for number in numbers)))
