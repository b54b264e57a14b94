"""The filter of system calls: it closes ways out of the sandbox that namespaces leave open.

A filter is a program for the machine of C{linux/filter.h}, which returns what to do with a call (seccomp(2)).

  - Of the address families of sockets, it allows those whose sockets belong to a network namespace.  Sockets of
    C{AF_VSOCK}, for example, reach the host of a virtual machine from all of them.
  - It forbids C{io_uring}, whose operations no filter sees: they make sockets, too.  Programs use C{epoll} instead.
  - It forbids keys of the kernel: programs outside resolve names for a key of the type C{dns_resolver}.
  - It forbids the control of terminals that types input for the shell outside: C{TIOCSTI} and C{TIOCLINUX}.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

# Unspecified, local, IPv4, IPv6, netlink, packet, and cryptography: sys/socket.h.
_FAMILIES: Final = (0, 1, 2, 10, 16, 17, 38)
_TERMINAL_CONTROLS: Final = (0x5412, 0x541C)

# linux/filter.h: load a word; compare it; return.
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

# linux/seccomp.h
_ALLOW: Final = 0x7FFF0000
_ERROR: Final = 0x00050000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16

# Calls of x32, a second set of numbers on x86-64, begin with this one.
_X32: Final = 0x40000000


class Calls(NamedTuple):
    """The numbers of system calls of an architecture.

    @ivar architecture: its number (C{linux/audit.h}).
    @ivar socket: C{socket}.
    @ivar control: C{ioctl}.
    @ivar forbidden: C{io_uring_setup}, C{add_key}, C{request_key}, and C{keyctl}; and C{socketcall}, whose
        arguments no filter sees.  The C library uses C{socket} instead.
    """

    architecture: int
    socket: int
    control: int
    forbidden: Sequence[int]


_X86_64: Final = Calls(0xC000003E, 41, 16, (425, 248, 249, 250))
_X86: Final = Calls(0x40000003, 359, 54, (425, 286, 287, 288, 102))
_ARM64: Final = Calls(0xC00000B7, 198, 29, (425, 217, 218, 219))
_ARM: Final = Calls(0x40000028, 281, 54, (425, 309, 310, 311, 102))
_RISCV64: Final = Calls(0xC00000F3, 198, 29, (425, 217, 218, 219))
_POWER64: Final = Calls(0xC0000015, 326, 54, (425, 269, 270, 271, 102))

# The architectures whose programs each machine runs; its own is the first one.
_MACHINES: Final[Mapping[str, Sequence[Calls]]] = {
    "x86_64": (_X86_64, _X86),
    "aarch64": (_ARM64, _ARM),
    "riscv64": (_RISCV64,),
    "ppc64le": (_POWER64,),
    "armv7l": (_ARM,),
}


class UnknownMachine(Exception):
    """The numbers of the system calls of a machine are unknown."""


def system_call_filter(machine: str, byte_order: str) -> bytes:
    """Return the program for a machine.

    @param machine: the name of uname(2).
    @param byte_order: C{little} or C{big}; a program compares 32 bits of each argument.
    @raise UnknownMachine: if there is none.
    """
    if machine not in _MACHINES:
        raise UnknownMachine(machine)
    low = 0 if byte_order == "little" else 4
    program: list[tuple[int, int, int, int]] = []
    for calls in _MACHINES[machine]:
        body = _calls(calls, low)
        program += [
            (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
            (_JUMP_IF_EQUAL, 0, len(body), calls.architecture),
            *body,
        ]
    program.append((_RETURN, 0, 0, _ERROR | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _calls(calls: Calls, low: int) -> list[tuple[int, int, int, int]]:
    """Return the instructions for the calls of an architecture."""
    families = [
        (_LOAD, 0, 0, _ARGUMENTS_OFFSET + low),
        *((_JUMP_IF_EQUAL, len(_FAMILIES) - index, 0, family) for index, family in enumerate(_FAMILIES)),
        (_RETURN, 0, 0, _ERROR | errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]
    controls = [
        (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 + low),
        *(
            (_JUMP_IF_EQUAL, len(_TERMINAL_CONTROLS) - index, 0, control)
            for index, control in enumerate(_TERMINAL_CONTROLS)
        ),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
    ]
    forbidden = [
        *((_JUMP_IF_EQUAL, len(calls.forbidden) - index, 0, number) for index, number in enumerate(calls.forbidden)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
    ]
    # A jump skips as many instructions as it says.
    x32 = [(_JUMP_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)] if calls is _X86_64 else []
    return [
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        *x32,
        (_JUMP_IF_EQUAL, 0, len(families), calls.socket),
        *families,
        (_JUMP_IF_EQUAL, 0, len(controls), calls.control),
        *controls,
        *forbidden,
    ]
