"""Tests for L{egress.authz.distribution.poller}."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.distribution.client import Download, NotDownloaded
from egress.authz.distribution.poller import FAILED, LAST_RETRY, UNCHANGED, UPDATED, PolicyPoller
from egress.authz.distribution.store import RejectedPolicy
from egress.runtime.safe_files import UnsafeFile
from tests.files import make_directory

INTERVAL = 30.0


class Client:
    """A client that returns what a test says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str | None, str | None]] = []
        self.result: Deferred[Download | None] | None = None
        self.closed = False

    def fetch(self, etag: str | None, token: str | None) -> Deferred[Download | None]:
        self.requests.append((etag, token))
        return succeed(Download(b"policy", '"1"')) if self.result is None else self.result

    def describe(self, failure: Any) -> str:
        return str(failure.value.reason)

    def close(self) -> None:
        self.closed = True


class Intake:
    """An intake that accepts every policy, unless a test says otherwise."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.error: Exception | None = None
        self.differs = True
        self.cannot_write = False

    def etag(self) -> str | None:
        return '"0"'

    def unchanged(self) -> None:
        self.calls.append("unchanged")

    def accept(self, content: bytes, etag: str | None) -> bool:
        if self.error is not None:
            raise self.error
        self.calls.append((content, etag))
        return self.differs

    def failed(self, fault: str) -> None:
        self.calls.append(fault)
        if self.cannot_write:
            raise OSError("disk full")


class PolicyPollerTests(SynchronousTestCase):
    """The schedule of the checks, and their results."""

    def setUp(self) -> None:
        self.clock, self.client, self.intake = Clock(), Client(), Intake()
        self.checked = 0
        self.jitter = 0.0

    def start(self, token_file: Path | None = None) -> PolicyPoller:
        """Start to check."""

        def count() -> None:
            self.checked += 1

        poller = PolicyPoller(
            cast(Any, self.clock),
            "the policy",
            cast(Any, self.client),
            cast(Any, self.intake),
            execute,
            interval=INTERVAL,
            token_file=token_file,
            jitter=lambda: self.jitter,
            checked=count,
        )
        poller.start()
        self.addCleanup(poller.stop)
        return poller

    def delay(self) -> float:
        """Return the seconds until the next check."""
        (call,) = self.clock.getDelayedCalls()
        return round(call.getTime() - self.clock.seconds(), 6)

    def test_interval(self) -> None:
        poller = self.start()
        poller.start()
        self.assertEqual((self.client.requests, self.intake.calls), ([('"0"', None)], [(b"policy", '"1"')]))
        self.assertEqual((self.checked, self.delay()), (1, INTERVAL))
        self.client.result = succeed(None)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.intake.calls[1:], ["unchanged"])
        self.assertEqual(poller.results, {UPDATED: 1, UNCHANGED: 1, FAILED: 0})

    def test_the_same_content(self) -> None:
        self.intake.differs = False
        self.assertEqual(self.start().results[UNCHANGED], 1)

    def test_jitter(self) -> None:
        self.jitter = 1.0
        self.start()
        self.assertEqual(self.delay(), 0.8 * INTERVAL)

    def test_backoff(self) -> None:
        self.client.result = fail(NotDownloaded("the status is 404"))
        poller = self.start()
        delays = []
        for _ in range(12):
            delays.append(self.delay())
            self.client.result = fail(NotDownloaded("the status is 404"))
            self.clock.advance(delays[-1])
        self.assertEqual(delays[:5], [1.0, 2.0, 4.0, 8.0, 16.0])
        self.assertEqual(delays[-1], LAST_RETRY)
        self.assertEqual(poller.results[FAILED], 13)
        self.client.result = None
        self.clock.advance(LAST_RETRY)
        self.assertEqual(self.delay(), INTERVAL)

    def test_log(self) -> None:
        """Each fault is logged once, and so is its end."""
        with capturedLogs() as events:
            self.client.result = fail(NotDownloaded("the status is 404"))
            self.start()
            for result in (fail(NotDownloaded("the status is 404")), succeed(None), succeed(None)):
                self.client.result = cast(Any, result)
                self.clock.advance(INTERVAL)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.error, LogLevel.info])
        self.assertEqual(events[0]["fault"], "the status is 404")

    def test_faults(self) -> None:
        for error, expected in (
            (ValueError("line 1: is not TOML"), "the policy is not valid: line 1: is not TOML"),
            (RejectedPolicy("its version is older"), "the policy is rejected: its version is older"),
            (UnsafeFile(1, "other users can write to it", "/state"), "/state: other users can write to it"),
            (NotDownloaded("the status is 404"), "the status is 404"),
        ):
            with self.subTest(expected):
                self.setUp()
                self.intake.error = error
                self.start().stop()
                self.assertEqual(self.intake.calls, [expected])

    def test_the_fault_cannot_be_written(self) -> None:
        self.intake.error, self.intake.cannot_write = ValueError("x"), True
        poller = self.start()
        self.assertEqual((poller.results[FAILED], self.delay()), (1, 1.0))

    def test_token(self) -> None:
        """The token is read for each check."""
        file = make_directory(self) / "token"
        file.write_text("one")
        self.start(file)
        file.write_text("two")
        self.clock.advance(INTERVAL)
        file.write_text("not a token")
        self.clock.advance(INTERVAL)
        self.assertEqual([token for _, token in self.client.requests], ["one", "two"])
        self.assertIn("only the token", str(self.intake.calls[-1]))

    def test_stop(self) -> None:
        poller = self.start()
        poller.stop()
        self.assertTrue(self.client.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_during_a_check(self) -> None:
        cancelled: list[object] = []
        self.client.result = Deferred(cancelled.append)
        poller = self.start()
        poller.stop()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual((self.clock.getDelayedCalls(), self.intake.calls), ([], []))

    def test_a_result_after_the_stop(self) -> None:
        """A thread cannot be cancelled."""
        self.client.result = Deferred(lambda result: result.callback(None))
        poller = self.start()
        poller.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.checked), ([], 0))
