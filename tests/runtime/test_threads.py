"""Tests for L{egress.runtime.threads}."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime import threads
from egress.runtime.threads import Pools, Threads

_PATIENCE = 20

_HANGS = """
import sys, threading
from egress.runtime.threads import Threads
from twisted.internet import reactor
began = threading.Event()
def hang():
    began.set()
    threading.Event().wait()
Threads(reactor, "test", 1)(hang)
assert began.wait(20)
reactor.callWhenRunning(reactor.stop)
reactor.run()
print("over")
"""


class Reactor:
    """Collects the calls from threads, which the test runs."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._calls.put((call, arguments))

    def run_one(self) -> None:
        """Wait for one call, and run it."""
        call, arguments = self._calls.get(timeout=_PATIENCE)
        call(*arguments)

    @property
    def idle(self) -> bool:
        """Tell whether there is no call."""
        return self._calls.empty()


class Gate:
    """A call that blocks until the test releases it."""

    def __init__(self, result: object = None) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.result = result

    def __call__(self) -> object:
        self.begun.set()
        assert self.go_on.wait(_PATIENCE)
        return self.result


class ThreadsTests(SynchronousTestCase):
    """Blocking calls run in a bounded number of threads, and their results are delivered in the reactor's thread."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.pool = Threads(self.reactor, "test", 2)
        self.gates: list[Gate] = []
        self.addCleanup(self._let_go)

    def _let_go(self) -> None:
        for gate in self.gates:
            gate.go_on.set()

    def gate(self, result: object = None) -> Gate:
        """Create a blocking call."""
        gate = Gate(result)
        self.gates.append(gate)
        return gate

    def test_result(self) -> None:
        done = self.pool(lambda: threading.current_thread().name)
        self.assertNoResult(done)
        self.reactor.run_one()
        self.assertEqual(self.successResultOf(done), "egress-test")

    def test_failure(self) -> None:
        done = self.pool(lambda: 1 / 0)
        self.reactor.run_one()
        self.failureResultOf(done, ZeroDivisionError)

    def test_size_limits_the_threads(self) -> None:
        gates = [self.gate(number) for number in range(3)]
        done = [self.pool(gate) for gate in gates]
        for gate in gates[:2]:
            self.assertTrue(gate.begun.wait(_PATIENCE))
        self.assertEqual((self.pool.threads, self.pool.waiting), (2, 1))
        self.assertFalse(gates[2].begun.is_set())
        gates[0].go_on.set()
        self.reactor.run_one()
        self.assertEqual(self.successResultOf(done[0]), 0)
        self.assertTrue(gates[2].begun.wait(_PATIENCE))

    def test_cancelled_before_the_start(self) -> None:
        held = [self.gate() for _ in range(2)]
        for gate in held:
            self.pool(gate)
        skipped, last = self.gate(), self.gate("last")
        given_up, kept = self.pool(skipped), self.pool(last)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        for gate in (*held, last):
            gate.go_on.set()
        for _ in range(3):
            self.reactor.run_one()
        self.assertEqual(self.successResultOf(kept), "last")
        self.assertFalse(skipped.begun.is_set())

    def test_cancelled_while_running(self) -> None:
        gate = self.gate()
        done = self.pool(gate)
        self.assertTrue(gate.begun.wait(_PATIENCE))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        gate.go_on.set()
        self.assertEqual(self._next_result("next"), "next")
        self.assertTrue(self.reactor.idle)

    def test_cancelled_after_the_result(self) -> None:
        for call in (lambda: None, lambda: 1 / 0):
            done = self.pool(call)
            while self.reactor.idle:
                threading.Event().wait(0.001)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.reactor.run_one()

    def _next_result(self, result: str) -> object:
        done = self.pool(lambda: result)
        self.reactor.run_one()
        return self.successResultOf(done)

    def test_stop(self) -> None:
        """All jobs are cancelled, idle threads end, and the pool can be used again."""
        self._next_result("idle")
        gate = self.gate()
        running = self.pool(gate)
        self.assertTrue(gate.begun.wait(_PATIENCE))
        waiting = [self.pool(self.gate()) for _ in range(2)]
        self.pool.stop()
        for done in (running, *waiting):
            self.failureResultOf(done, CancelledError)
        self._let_go()
        self.assertEqual(self._next_result("again"), "again")

    def test_idle_thread_ends(self) -> None:
        self.patch(threads, "IDLE_SECONDS", 0)
        self._next_result("done")
        for _ in range(_PATIENCE * 1000):
            if not self.pool.threads:
                break
            threading.Event().wait(0.001)
        self.assertEqual(self.pool.threads, 0)

    def test_system_starts_no_thread(self) -> None:
        """The existing threads run the job; without any thread the job fails."""

        def refuse(target: object, name: str) -> None:
            raise RuntimeError("can't start new thread")

        gate = self.gate("first")
        first = self.pool(gate)
        self.assertTrue(gate.begun.wait(_PATIENCE))
        self.patch(threads, "start_daemon", refuse)
        second = self.pool(lambda: "second")
        gate.go_on.set()
        self.reactor.run_one()
        self.reactor.run_one()
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ("first", "second"))
        empty = Threads(self.reactor, "empty", 1)
        self.failureResultOf(empty(lambda: None), CancelledError)
        self._next_result("the pool goes on")

    def test_hanging_call_does_not_prevent_the_exit(self) -> None:
        run = subprocess.run(
            [sys.executable, "-c", _HANGS],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "over\n", ""))


class PoolsTests(SynchronousTestCase):
    """Each kind of work has its own threads."""

    def test_separate_threads(self) -> None:
        reactor = Reactor()
        pools = Pools(reactor, lookups=2, passwords=1)
        gates = [Gate() for _ in range(6)]
        hanging = [pools.lookups(gate) for gate in gates[:4]] + [pools.passwords(gates[4]), pools.keys(gates[5])]
        done = pools.files(lambda: "read")
        reactor.run_one()
        self.assertEqual(self.successResultOf(done), "read")
        pools.stop()
        for one in hanging:
            self.failureResultOf(one, CancelledError)
        for gate in gates:
            gate.go_on.set()
