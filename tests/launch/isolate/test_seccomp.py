"""Tests for L{egress.launch.isolate.seccomp}."""

from __future__ import annotations

import errno
import struct
import sys

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.seccomp import UnknownMachine, system_call_filter

_ALLOW = 0x7FFF0000
_X86_64, _X86, _ARM64 = 0xC000003E, 0x40000003, 0xC00000B7


def run(program: bytes, number: int, architecture: int, *arguments: int, order: str = sys.byteorder) -> int:
    """Run a filter on a call, as the kernel does.

    @return: 0 if the call is allowed, or else its error.
    """
    prefix = "<" if order == "little" else ">"
    data = struct.pack(f"{prefix}IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    instructions = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        code, if_true, if_false, operand = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from(f"{prefix}I", data, operand)
        elif code == 0x15:
            position += if_true if accumulator == operand else if_false
        elif code == 0x35:
            position += if_true if accumulator >= operand else if_false
        else:
            assert code == 0x06
            return 0 if operand == _ALLOW else operand & 0xFFFF


class FilterTests(SynchronousTestCase):
    """The calls that the filter forbids, on the machines that it knows."""

    def check(self, machine: str, architecture: int, number: int, *arguments: int) -> int:
        return run(system_call_filter(machine, sys.byteorder), number, architecture, *arguments)

    def test_families(self) -> None:
        """Sockets of other families do not belong to a network namespace, or no program needs them."""
        for machine, architecture, number in (
            ("x86_64", _X86_64, 41),
            ("x86_64", _X86, 359),
            ("aarch64", _ARM64, 198),
            ("aarch64", 0x40000028, 281),
            ("armv7l", 0x40000028, 281),
            ("riscv64", 0xC00000F3, 198),
            ("ppc64le", 0xC0000015, 326),
        ):
            allowed = [family for family in range(64) if not self.check(machine, architecture, number, family, 1)]
            self.assertEqual(allowed, [0, 1, 2, 10, 16, 17, 38], machine)
            self.assertEqual(self.check(machine, architecture, number, 40, 1), errno.EAFNOSUPPORT)

    def test_families_beyond_32_bits(self) -> None:
        """The kernel reads 32 bits of the argument: others cannot hide the family, also on big-endian machines."""
        self.assertEqual(self.check("x86_64", _X86_64, 41, 1 << 32 | 40), errno.EAFNOSUPPORT)
        program = system_call_filter("x86_64", "big")
        self.assertEqual(run(program, 41, _X86_64, 1 << 32 | 40, order="big"), errno.EAFNOSUPPORT)
        self.assertEqual(run(program, 41, _X86_64, 2, order="big"), 0)

    def test_terminal(self) -> None:
        """CVE-2017-5226, and CVE-2019-10063 for the upper bits."""
        for control, expected in (
            (0x5412, errno.EPERM),
            (0x541C, errno.EPERM),
            (1 << 32 | 0x5412, errno.EPERM),
            (0x5413, 0),
        ):
            self.assertEqual(self.check("x86_64", _X86_64, 16, 0, control), expected, hex(control))
            self.assertEqual(self.check("aarch64", _ARM64, 29, 0, control), expected, hex(control))

    def test_forbidden(self) -> None:
        """io_uring and keys; and socketcall of 32-bit programs."""
        for number in (425, 248, 249, 250):
            self.assertEqual(self.check("x86_64", _X86_64, number), errno.ENOSYS)
        for number in (425, 217, 218, 219):
            self.assertEqual(self.check("aarch64", _ARM64, number), errno.ENOSYS)
        for number in (425, 286, 287, 288, 102):
            self.assertEqual(self.check("x86_64", _X86, number), errno.ENOSYS)

    def test_others(self) -> None:
        """connect, execve and the number of socket in another architecture."""
        for architecture, number in ((_X86_64, 42), (_X86_64, 59), (_X86_64, 359), (_X86, 41)):
            self.assertEqual(self.check("x86_64", architecture, number, 40), 0)

    def test_architectures(self) -> None:
        """Calls of other architectures, and of x32, are not in the table."""
        self.assertEqual(self.check("x86_64", _ARM64, 42), errno.ENOSYS)
        self.assertEqual(self.check("x86_64", _X86_64, 0x40000000 | 41, 40), errno.ENOSYS)
        self.assertEqual(self.check("x86_64", _X86_64, 0x40000000 | 42), errno.ENOSYS)

    def test_unknown_machine(self) -> None:
        self.assertRaises(UnknownMachine, system_call_filter, "mips", "big")
