"""Tests for L{egress.relay.splice}."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from egress.relay import splice
from egress.relay.buffered import BufferedFlows, Flows
from egress.relay.splice import (
    MAX_IDLE_PIPES,
    MAX_PIPES,
    Pipe,
    Pipes,
    SplicedFlow,
    SplicedFlows,
    best_flows,
    can_splice,
)
from tests.relay.flows import Cases


def _denied(*_: object) -> Any:
    raise PermissionError(errno.EPERM, "too much in pipes")


def _too_many(*_: object) -> Any:
    raise OSError(errno.EMFILE, "too many open files")


class SplicedFlowTests(Cases.AnyFlow):
    """A flow through a pipe."""

    def make(self) -> Flows:
        if not can_splice():
            raise SkipTest("this system does not splice")
        return SplicedFlows()

    def borrowed(self) -> int:
        """The number of borrowed pipes."""
        assert isinstance(self.flows, SplicedFlows)
        return self.flows.pipes.made - self.flows.pipes.idle

    def test_has_a_pipe_only_while_it_holds_data(self) -> None:
        self.assertRaises(BlockingIOError, self.flow.fill)
        self.assertEqual(self.borrowed(), 0)
        self.sender.send(b"x")
        self.flow.fill()
        self.assertEqual(self.borrowed(), 1)
        self.flow.drain()
        self.sender.close()
        self.flow.fill()
        self.assertEqual(self.borrowed(), 0)
        assert isinstance(self.flows, SplicedFlows)
        self.assertEqual(self.flows.pipes.made, 1)

    def test_a_pipe_with_data_is_discarded(self) -> None:
        assert isinstance(self.flows, SplicedFlows)
        pipe = self.flows.pipes.borrow()
        assert pipe is not None
        self.flows.pipes.give_back(pipe)
        self.sender.send(b"x")
        self.flow.fill()
        self.assertEqual((self.flows.pipes.made, self.flows.pipes.idle), (1, 0), "the flow has this pipe")
        self.flow.close()
        self.flow.close()
        self.assertRaises(OSError, os.fstat, pipe.inlet)
        self.assertRaises(OSError, os.fstat, pipe.outlet)
        self.assertEqual(self.flows.pipes.made, 0)

    def test_a_broken_source(self) -> None:
        self.source.close()
        self.assertRaises(OSError, self.flow.fill)
        self.assertEqual(self.borrowed(), 0)

    def test_uses_a_pipe_again_when_one_is_available(self) -> None:
        assert isinstance(self.flow, SplicedFlow)
        with self.patched(_too_many):
            self.sender.send(b"one")
            self.assertEqual((self.flow.fill(), self.flow.drain()), (3, 3))
        self.assertEqual(self.borrowed(), 0)
        self.sender.send(b"two")
        self.flow.fill()
        self.assertEqual(self.borrowed(), 1)
        self.flow.drain()
        self.assertEqual(self.receiver.recv(100), b"onetwo")

    def patched(self, instead: Any) -> Any:
        """Make no pipe available."""
        from unittest import mock

        return mock.patch.object(os, "pipe2", instead)


class NoPipeTests(Cases.AnyFlow):
    """A flow through the buffer, because no pipe is available."""

    def make(self) -> Flows:
        return SplicedFlows(Pipes(0))


class PipesTests(SynchronousTestCase):
    """The pool of pipes."""

    def setUp(self) -> None:
        if not can_splice():
            raise SkipTest("this system does not splice")
        self.pipes = Pipes()
        self.out: list[Pipe] = []
        self.addCleanup(self.end)

    def end(self) -> None:
        """Discard all pipes."""
        for pipe in self.out:
            self.pipes.discard(pipe)
        self.pipes.close()
        self.assertEqual(self.pipes.made, 0)

    def borrow(self) -> Pipe | None:
        """Borrow a pipe, and remember it."""
        pipe = self.pipes.borrow()
        if pipe is not None:
            self.out.append(pipe)
        return pipe

    def test_reused(self) -> None:
        pipe = self.pipes.borrow()
        assert pipe is not None
        self.pipes.give_back(pipe)
        self.assertIs(self.borrow(), pipe)

    def test_limited(self) -> None:
        self.patch(splice, "PIPE_SIZE", 4096)
        while self.borrow() is not None:
            pass
        self.assertEqual((len(self.out), self.pipes.made), (MAX_PIPES, MAX_PIPES))
        while self.out:
            self.pipes.give_back(self.out.pop())
        self.assertEqual(self.pipes.made, MAX_IDLE_PIPES)

    def test_size(self) -> None:
        import fcntl

        pipe = self.borrow()
        assert pipe is not None
        self.assertEqual(fcntl.fcntl(pipe.inlet, fcntl.F_GETPIPE_SZ), splice.PIPE_SIZE)
        self.assertFalse(os.get_inheritable(pipe.inlet) or os.get_inheritable(pipe.outlet))

    def test_not_permitted(self) -> None:
        import fcntl

        self.borrow()
        descriptors = len(os.listdir("/proc/self/fd"))
        self.patch(fcntl, "fcntl", _denied)
        self.assertIsNone(self.borrow())
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors)
        self.patch(os, "pipe2", _too_many)
        self.assertIsNone(self.borrow(), "no further pipe is created")

    def test_too_many_open_files(self) -> None:
        make = os.pipe2
        self.patch(os, "pipe2", _too_many)
        self.assertIsNone(self.borrow())
        self.patch(os, "pipe2", make)
        self.assertIsNotNone(self.borrow())

    def test_no_idle_pipes_after_close(self) -> None:
        pipe, other = self.pipes.borrow(), self.pipes.borrow()
        assert pipe is not None and other is not None
        self.pipes.give_back(pipe)
        self.pipes.close()
        self.assertEqual(self.pipes.made, 1)
        self.pipes.give_back(other)
        self.assertEqual(self.pipes.made, 0)


class BestFlowsTests(SynchronousTestCase):
    """Detection of the system's support."""

    def test_this_system(self) -> None:
        self.assertIsInstance(best_flows(), SplicedFlows if can_splice() else BufferedFlows)

    def test_without_python_support(self) -> None:
        if hasattr(os, "splice"):
            splice_of_os = os.splice
            del os.splice
            self.addCleanup(setattr, os, "splice", splice_of_os)
        self.assertIsInstance(best_flows(), BufferedFlows)

    def test_without_system_support(self) -> None:
        def refuse(*_: object) -> int:
            raise OSError(errno.EINVAL, "not these")

        if hasattr(os, "splice"):
            self.patch(os, "splice", refuse)
        self.assertIsInstance(best_flows(), BufferedFlows)
