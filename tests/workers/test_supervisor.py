"""Tests for L{egress.workers.supervisor}."""

from __future__ import annotations

import sys
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.model.errors import WorkerFailed
from egress.workers.ipc import CONTROL, WorkerSpec
from egress.workers.supervisor import State, WorkerSlot
from tests.lines import FakeLine, WorkerReactor, frame, tell

CONFIG = ProxyConfig(authz_url="http://a.test", authz_token="hunter2")
SPEC = WorkerSpec(2, "twisted.internet.epollreactor", CONFIG, (2, 10), shared=(True, True))


def close(line: FakeLine) -> None:
    """Make a worker's end of a channel closed."""
    line.error = BrokenPipeError()


class SlotTestCase(SynchronousTestCase):
    """Base: a slot, and a reactor in memory."""

    def setUp(self) -> None:
        self.reactor = WorkerReactor()
        self.wrote: list[bytes | None] = []
        self.left: list[None] = []
        self.restarted: list[None] = []
        self.slot = WorkerSlot(
            self.reactor,
            SPEC,
            [7, 9],
            wrote=self.wrote.append,
            left=lambda: self.left.append(None),
            restarted=lambda: self.restarted.append(None),
            socketpair=self.reactor.socketpair,  # type: ignore[arg-type]
        )

    def started(self, said: bytes = tell("ready")) -> None:
        """Start the first worker, which sends a message."""

        def say(line: FakeLine) -> None:
            line.incoming = said

        self.reactor.answers = say
        self.slot.begin()
        self.slot.wait_ready()
        self.reactor.answers = lambda line: None

    def serving(self) -> None:
        """Return a slot whose worker serves."""
        self.started()
        self.slot.serve()
        self.reactor.heard()

    def delayed(self) -> float:
        """Return the delay of the next restart, and let it pass."""
        before = len(self.reactor.processes)
        begun = self.reactor.seconds()
        while len(self.reactor.processes) == before:
            self.reactor.advance(0.05)
        return round(self.reactor.seconds() - begun, 1)


class StartingTests(SlotTestCase):
    """The first worker."""

    def test_process(self) -> None:
        self.started()
        process = self.reactor.process
        self.assertEqual(process.arguments, [sys.executable, "-m", "egress.workers.worker"])
        theirs = self.reactor.pairs[0][1]
        self.assertEqual(
            process.options["childFDs"],
            {0: "w", 1: "r", 2: "r", CONTROL: theirs.number, CONTROL + 1: 7, CONTROL + 2: 9},
        )
        self.assertEqual((process.options["path"], theirs.closed), ("/", True))
        self.assertEqual(self.reactor.spec(), SPEC)

    def test_serving(self) -> None:
        self.started()
        self.assertEqual((self.slot.state, self.reactor.heard()), (State.STARTING, []))
        self.slot.serve()
        self.assertIs(self.slot.state, State.RUNNING)
        self.assertEqual(self.reactor.heard(), [{"notification": "serve", "text": ""}])

    def test_reloading(self) -> None:
        """A worker that is not ready yet may have read the files before they changed, so it is notified, too."""
        self.slot.reload()
        self.started()
        self.slot.reload()
        self.slot.serve()
        self.assertEqual([each["notification"] for each in self.reactor.heard()], ["reload", "serve"])

    def have_it_fail(self, said: bytes = b"", silent: bool = False) -> str:
        """Make the first worker fail."""

        def say(line: FakeLine) -> None:
            line.incoming, line.open = said, silent

        self.reactor.answers = say
        self.slot.begin()
        return str(self.assertRaises(WorkerFailed, self.slot.wait_ready))

    def test_failure_message(self) -> None:
        self.assertEqual(self.have_it_fail(tell("failed", "--policy: no")), "--policy: no")

    def test_worker_ends_before_it_is_ready(self) -> None:
        self.assertEqual(self.have_it_fail(), "worker 2 exited before it was ready: the channel closed")

    def test_last_line_of_stderr(self) -> None:
        spawn = self.reactor.spawnProcess

        def dying(*arguments: Any, **options: Any) -> Any:
            process = spawn(*arguments, **options)
            process.pipes[2].content = [b"Traceback:\n  x\nImportErr", b"or: no\n"]
            return process

        self.patch(self.reactor, "spawnProcess", dying)
        self.assertEqual(self.have_it_fail(), "worker 2 exited before it was ready: ImportError: no")

    def test_ready_timeout(self) -> None:
        self.assertEqual(self.have_it_fail(silent=True), "worker 2 is not ready after 60 seconds")
        self.assertEqual(self.reactor.pairs[0][0].timeouts[-1], 60)

    def test_spawn_failure(self) -> None:
        self.reactor.error = BlockingIOError(11, "Resource temporarily unavailable")
        self.assertRaises(OSError, self.slot.begin)
        self.assertTrue(self.reactor.pairs[0][1].closed)

    def test_spec_cannot_be_sent(self) -> None:
        self.reactor.answers = close
        self.slot.begin()
        self.assertEqual(self.reactor.process.signals, ["KILL"])
        self.assertRaises(WorkerFailed, self.slot.wait_ready)

    def test_illegal_steps(self) -> None:
        self.serving()
        self.assertRaises(AssertionError, self.slot.serve)
        self.assertRaises(AssertionError, self.slot.begin)


class DyingTests(SlotTestCase):
    """A worker that ends is restarted."""

    def test_the_first_restart_is_immediate(self) -> None:
        self.serving()
        with capturedLogs() as events:
            self.reactor.die()
        self.assertIn("was killed by SIGKILL", events[-1]["how"])
        self.assertEqual((self.slot.state, self.left, self.restarted), (State.WAITING, [None], []))
        self.assertEqual(self.delayed(), 0.1)
        self.assertEqual((self.slot.state, self.restarted), (State.STARTING, [None]))
        self.assertEqual(self.reactor.spec(), attrs.evolve(SPEC, is_replacement=True))
        self.reactor.say(tell("ready"))
        self.assertIs(self.slot.state, State.RUNNING)
        self.assertEqual(self.reactor.heard(), [{"notification": "serve", "text": ""}])

    def test_repeated_restarts_back_off(self) -> None:
        self.serving()
        delays = []
        for _ in range(9):
            self.reactor.die(status=1, signal=None)
            delays.append(self.delayed())
        self.assertEqual(delays, [0.1, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_a_long_life_resets_the_backoff(self) -> None:
        self.serving()
        for _ in range(4):
            self.reactor.die()
            self.delayed()
        self.reactor.say(tell("ready"))
        self.reactor.advance(60)
        self.reactor.die()
        self.assertEqual(self.delayed(), 0.1)

    def test_failure_message_is_logged(self) -> None:
        self.serving()
        self.reactor.die()
        self.delayed()
        self.reactor.say(tell("failed", "--ca-dir: gone"))
        with capturedLogs() as events:
            self.reactor.die(status=1, signal=None)
        self.assertEqual((events[-1]["how"], events[-1]["said"]), ("exited with status 1", " (--ca-dir: gone)"))

    def test_restarted_worker_that_does_not_become_ready(self) -> None:
        self.serving()
        self.reactor.die()
        self.delayed()
        self.reactor.advance(59)
        self.assertEqual(self.reactor.process.signals, [])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.process.signals, ["KILL"])

    def test_restarted_worker_that_becomes_ready_is_not_killed(self) -> None:
        self.serving()
        self.reactor.die()
        self.delayed()
        self.reactor.say(tell("ready"))
        self.reactor.advance(1000)
        self.assertEqual(self.reactor.process.signals, [])

    def test_spawn_failure(self) -> None:
        self.serving()
        self.reactor.die()
        self.reactor.error = BlockingIOError(11, "Resource temporarily unavailable")
        with capturedLogs() as events:
            self.reactor.advance(0.1)
        self.assertEqual(events[-1]["how"], "cannot be started: Resource temporarily unavailable")
        self.assertEqual((self.slot.state, len(self.left)), (State.WAITING, 2))
        self.reactor.error = None
        self.assertEqual(self.delayed(), 1)

    def test_spec_cannot_be_sent(self) -> None:
        self.serving()
        self.reactor.die()

        self.reactor.answers = close
        self.delayed()
        self.assertEqual(self.reactor.process.signals, ["KILL"])
        self.reactor.die()
        self.reactor.answers = lambda line: None
        self.assertEqual(self.delayed(), 1)

    def test_worker_that_closes_its_channel(self) -> None:
        self.serving()
        process = self.reactor.process
        self.reactor.transports[-1].loseConnection()
        self.reactor.advance(5)
        self.assertEqual(process.signals, ["KILL"])
        process.end(None, 9)
        # The next process is not killed.
        self.delayed()
        self.reactor.advance(10)
        self.assertEqual(self.reactor.process.signals, [])


class RunningTests(SlotTestCase):
    """A worker that runs."""

    def test_output(self) -> None:
        self.serving()
        with capturedLogs() as events:
            self.reactor.process.protocol.childDataReceived(1, b"one\ntw")
            self.reactor.process.protocol.childDataReceived(2, b"a \xff b\n")
            self.reactor.die()
        self.assertEqual(self.wrote, [b"one", None])
        self.assertEqual((events[0]["number"], events[0]["text"]), ("2", "a \ufffd b"))

    def test_request(self) -> None:
        self.serving()
        asked, slow = self.slot.request("metrics", 1.0), self.slot.request("checks", 2.0)
        self.reactor.say(frame(response=[1], id=1))
        self.assertEqual(self.successResultOf(asked), [1])
        self.reactor.advance(2)
        self.failureResultOf(slow, TookTooLong)

    def test_request_with_an_argument(self) -> None:
        """The worker accepts requests as soon as it is about to serve, and receives them before SERVE."""
        asked: list[Any] = []
        nothing, pair = (lambda: None), self.reactor.socketpair
        self.slot = WorkerSlot(
            self.reactor,
            SPEC,
            [],
            wrote=self.wrote.append,
            left=nothing,
            restarted=nothing,
            socketpair=pair,  # type: ignore[arg-type]
            serves=lambda slot: asked.append(slot.request("add-grant", 1.0, {"a": 1})),
        )
        self.started()
        self.slot.serve()
        self.assertEqual(
            self.reactor.heard(),
            [{"request": "add-grant", "argument": {"a": 1}, "id": 1}, {"notification": "serve", "text": ""}],
        )
        self.reactor.advance(1)
        self.failureResultOf(asked[0], TookTooLong)

    def test_notices(self) -> None:
        noticed: list[str] = []
        learned: list[str] = []
        self.slot = WorkerSlot(
            self.reactor,
            SPEC,
            [],
            wrote=self.wrote.append,
            left=lambda: None,
            restarted=lambda: None,
            socketpair=self.reactor.socketpair,  # type: ignore[arg-type]
            noticed=noticed.append,
            learned=learned.append,
        )
        self.serving()
        self.reactor.say(tell("notice", "a text") + tell("shared", "another text"))
        self.assertEqual((noticed, learned), (["a text"], ["another text"]))

    def test_unexpected_messages(self) -> None:
        self.serving()
        self.reactor.say(tell("ready") + tell("nonsense"))
        self.assertIs(self.slot.state, State.RUNNING)


class StoppingTests(SlotTestCase):
    """A stopped slot starts no further process."""

    def stop(self) -> Deferred[None]:
        return self.slot.stop(24.0)

    def test_aborted(self) -> None:
        self.slot.abort()
        self.serving()
        self.reactor.heard()
        stopped = self.stop()
        self.slot.abort()
        self.assertEqual([each["notification"] for each in self.reactor.heard()], ["drain", "abort"])
        self.reactor.die(status=0)
        self.successResultOf(stopped)
        self.slot.abort()

    def test_drained(self) -> None:
        self.serving()
        stopped = self.stop()
        self.assertEqual(self.reactor.heard(), [{"notification": "drain", "text": ""}])
        self.assertNoResult(stopped)
        self.reactor.die(status=0)
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual((self.slot.state, len(self.reactor.processes)), (State.CLOSED, 1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_worker_that_does_not_end(self) -> None:
        self.serving()
        stopped = self.stop()
        self.reactor.advance(23)
        self.assertEqual(self.reactor.process.signals, [])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.process.signals, ["KILL"])
        self.assertNoResult(stopped)
        self.reactor.die()
        self.successResultOf(stopped)

    def test_worker_that_cannot_be_killed(self) -> None:
        self.serving()
        stopped = self.stop()
        self.reactor.advance(24)
        self.reactor.advance(5)
        self.successResultOf(stopped)
        # It ends later.
        self.reactor.die()
        self.assertIs(self.slot.state, State.CLOSED)

    def test_worker_that_is_starting(self) -> None:
        self.serving()
        self.reactor.die()
        self.delayed()
        stopped = self.stop()
        self.reactor.say(tell("ready"))
        self.assertEqual(self.reactor.heard(), [{"notification": "drain", "text": ""}])
        self.reactor.die(status=0)
        self.successResultOf(stopped)

    def test_no_process(self) -> None:
        self.serving()
        self.reactor.die()
        self.successResultOf(self.stop())
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_not_started(self) -> None:
        self.successResultOf(self.stop())
        self.slot.kill()

    def test_worker_killed_before_the_reactor_ran(self) -> None:
        self.slot.begin()
        stopped = self.stop()
        self.slot.kill()
        self.reactor.process.end(None, 9)
        self.successResultOf(stopped)
        self.slot.kill()

    def test_worker_that_has_ended(self) -> None:
        self.serving()
        self.reactor.process.ended = True
        self.slot.kill()
        self.assertEqual(self.reactor.process.signals, [])
