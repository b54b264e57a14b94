"""Tests for L{egress.client_auth.key_source}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.client_auth.jwt_keys import InvalidKeys
from egress.client_auth.key_source import (
    FETCH_SECONDS,
    MAX_AGE_SECONDS,
    REFRESH_SECONDS,
    RETRY_SECONDS,
    UNKNOWN_SECONDS,
    FileKeys,
    IssuerKeys,
    KeyDownloads,
)
from egress.model.errors import ClientAuthUnavailable
from egress.model.jwt_issuer import ALGORITHMS
from tests.client_auth.jwt_issuer import ED25519, P256, as_jwk, key_set

FIRST, SECOND = key_set(as_jwk(P256, "first")), key_set(as_jwk(ED25519, "second"))


class FileTests(SynchronousTestCase):
    """Keys in a file."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_bytes(FIRST)
        self.keys = FileKeys(self.path, ALGORITHMS, self.clock)

    def uses(self, key_id: str) -> None:
        found = self.keys.current()
        assert found is not None
        self.assertIsNotNone(found.find(key_id))

    def test_change(self) -> None:
        """A change is noticed within a second."""
        before = self.keys.current()
        self.path.write_bytes(SECOND)
        self.clock.advance(0.9)
        self.assertIs(self.keys.current(), before)
        self.clock.advance(0.1)
        with capturedLogs() as events:
            self.uses("second")
        self.assertEqual([event["number"] for event in events], [1])
        after = self.keys.current()
        self.clock.advance(1)
        self.assertIs(self.keys.current(), after)

    def test_unusable(self) -> None:
        """The previous keys remain in use, and the reason is logged once."""
        for change, reason in (
            (lambda: self.path.write_bytes(b"{}"), "has no list"),
            (self.path.unlink, "cannot be read"),
        ):
            change()
            with capturedLogs() as events:
                for _ in range(3):
                    self.clock.advance(1)
                    self.uses("first")
            (event,) = events
            self.assertEqual(event["log_level"], LogLevel.error)
            self.assertIn(reason, event["reason"])
        self.path.write_bytes(SECOND)
        self.clock.advance(1)
        self.uses("second")

    def test_no_refresh(self) -> None:
        self.assertIsNone(self.keys.refresh())
        self.assertIn("not known", self.keys.unavailable().reason)

    def test_start(self) -> None:
        for content, reason in ((b"x", "cannot be parsed"), (None, "cannot be read")):
            self.path.unlink(missing_ok=True)
            if content is not None:
                self.path.write_bytes(content)
            error = self.assertRaises(InvalidKeys, FileKeys, self.path, ALGORITHMS, self.clock)
            self.assertIn(reason, error.reason)


class IssuerTestCase(SynchronousTestCase):
    """Keys that are downloaded when a test says so.

    @ivar downloads: the downloads, in order.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.downloads: list[Deferred[bytes]] = []
        self.cancelled = 0
        self.keys = IssuerKeys(self.fetch, ALGORITHMS, self.clock, "https://issuer.test")

    def fetch(self) -> Deferred[bytes]:
        def cancel(_: object) -> None:
            self.cancelled += 1

        download: Deferred[bytes] = Deferred(cancel)
        self.downloads.append(download)
        return download

    def refresh(self) -> Deferred[None]:
        found = self.keys.refresh()
        assert found is not None
        return found

    def download(self, content: bytes = FIRST) -> None:
        """Download keys."""
        waiting = self.refresh()
        self.downloads[-1].callback(content)
        self.assertIsNone(self.successResultOf(waiting))

    def uses(self, key_id: str | None) -> None:
        found = self.keys.current()
        self.assertEqual(found is not None and found.find(key_id or "") is not None, key_id is not None)

    def fail_download(self, error: Exception | None = None) -> None:
        waiting = self.refresh()
        self.downloads[-1].errback(error or ClientAuthUnavailable("it is down"))
        self.successResultOf(waiting)


class IssuerTests(IssuerTestCase):
    """Keys that an issuer publishes."""

    def test_on_demand(self) -> None:
        """Nothing is downloaded before it is needed, and once for all who need it."""
        self.uses(None)
        self.assertIn("not downloaded yet", self.keys.unavailable().reason)
        self.assertEqual(self.downloads, [])
        waiting = [self.refresh() for _ in range(3)]
        self.assertEqual(len(self.downloads), 1)
        for each in waiting:
            self.assertNoResult(each)
        self.downloads[0].callback(FIRST)
        for each in waiting:
            self.successResultOf(each)
        self.uses("first")

    def test_turns(self) -> None:
        """Those who waited continue a few at a time."""
        waiting = [self.refresh() for _ in range(40)]
        self.downloads[0].callback(FIRST)
        self.assertEqual(sum(each.called for each in waiting), 16)
        # The clock makes all turns that need no time.
        self.clock.advance(0)
        self.assertEqual(sum(each.called for each in waiting), 40)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refresh_in_the_background(self) -> None:
        self.download()
        before = self.keys.current()
        self.clock.advance(REFRESH_SECONDS - 1)
        self.uses("first")
        self.assertEqual(len(self.downloads), 1)
        self.clock.advance(1)
        self.uses("first")
        self.uses("first")
        self.assertEqual(len(self.downloads), 2)
        self.downloads[-1].callback(FIRST)
        self.assertIs(self.keys.current(), before)
        self.clock.advance(REFRESH_SECONDS)
        self.uses("first")
        self.downloads[-1].callback(SECOND)
        self.uses("second")

    def test_unknown_keys(self) -> None:
        """A flood of tokens with unknown keys causes few downloads."""
        self.download()
        for _ in range(100):
            self.assertIsNone(self.keys.refresh())
        self.clock.advance(UNKNOWN_SECONDS)
        waiting = [self.refresh() for _ in range(3)]
        self.assertEqual(len(self.downloads), 2)
        self.downloads[-1].callback(SECOND)
        self.assertEqual([each.called for each in waiting], [True] * 3)
        self.assertIsNone(self.keys.refresh())
        self.uses("second")

    def test_last_good_keys(self) -> None:
        """They remain in use for a limited time."""
        self.download()
        elapsed = 0.0
        while elapsed + REFRESH_SECONDS < MAX_AGE_SECONDS:
            self.clock.advance(REFRESH_SECONDS)
            elapsed += REFRESH_SECONDS
            self.uses("first")
            self.downloads[-1].errback(ClientAuthUnavailable("it is down"))
        self.clock.advance(REFRESH_SECONDS)
        self.uses(None)
        self.downloads[-1].errback(ClientAuthUnavailable("it is still down"))
        self.assertIn("it is still down", self.keys.unavailable().reason)
        self.clock.advance(RETRY_SECONDS)
        self.download(SECOND)
        self.uses("second")

    def test_failures(self) -> None:
        """Each reason is logged once, and told to clients."""
        with capturedLogs() as events:
            for error, reason in (
                (ClientAuthUnavailable("it is down"), "it is down"),
                (ClientAuthUnavailable("it is down"), "it is down"),
                (ValueError("secret"), "an internal error"),
            ):
                self.fail_download(error)
                self.assertIn(reason, self.keys.unavailable().reason)
                self.assertIsNone(self.keys.refresh())
                self.clock.advance(RETRY_SECONDS)
            waiting = self.refresh()
            self.downloads[-1].callback(b"{}")
            self.successResultOf(waiting)
            self.assertIn("has no list", self.keys.unavailable().reason)
        self.assertEqual(
            [event["reason"].partition(";")[0] for event in events if "reason" in event],
            ["it is down", "an internal error", "the key set has no list of at most 100 keys"],
        )
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.uses(None)

    def test_timeout(self) -> None:
        waiting = self.refresh()
        self.clock.advance(FETCH_SECONDS)
        self.successResultOf(waiting)
        self.assertEqual(self.cancelled, 1)
        self.assertIn("no response within 8 s", self.keys.unavailable().reason)
        self.clock.advance(RETRY_SECONDS)
        self.download()
        self.uses("first")

    def test_immediate_failure(self) -> None:
        def fetch() -> Deferred[bytes]:
            raise ClientAuthUnavailable("no token")

        self.keys = IssuerKeys(fetch, ALGORITHMS, self.clock, "https://issuer.test")
        self.successResultOf(self.refresh())
        self.assertIn("no token", self.keys.unavailable().reason)

    def test_cancelled_waiters(self) -> None:
        """A client that disconnects does not stop the download for others."""
        first, second = self.refresh(), self.refresh()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.downloads[0].callback(FIRST)
        self.successResultOf(second)
        self.assertEqual(self.cancelled, 0)

    def test_cancelled_by_another(self) -> None:
        """A client that continues can disconnect another one."""
        first, second = self.refresh(), self.refresh()
        first.addCallback(lambda _: second.cancel())
        self.downloads[0].callback(FIRST)
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)

    def test_close(self) -> None:
        waiting = self.refresh()
        with capturedLogs() as events:
            self.keys.close()
        self.assertEqual((self.cancelled, events), (1, []))
        self.successResultOf(waiting)
        self.clock.advance(3600)
        self.assertIsNone(self.keys.refresh())
        self.keys.close()

    def test_ready(self) -> None:
        waiting = self.keys.check_ready()
        self.assertNoResult(waiting)
        self.downloads[-1].errback(ClientAuthUnavailable("it is down"))
        self.failureResultOf(waiting, ClientAuthUnavailable)
        error: Any = self.failureResultOf(self.keys.check_ready(), ClientAuthUnavailable).value
        self.assertIn("it is down", error.reason)
        self.clock.advance(RETRY_SECONDS)
        waiting = self.keys.check_ready()
        self.downloads[-1].callback(FIRST)
        self.successResultOf(waiting)
        self.successResultOf(self.keys.check_ready())


class DownloadsTests(IssuerTestCase):
    """All issuers of a proxy."""

    def test_none(self) -> None:
        downloads = KeyDownloads(())
        self.assertEqual(downloads.checks, {})
        downloads.start()
        downloads.stop()

    def test_checks(self) -> None:
        downloads = KeyDownloads([self.keys])
        (check,) = downloads.checks.values()
        downloads.start()
        waiting = check()
        self.assertEqual(len(self.downloads), 1)
        self.downloads[0].errback(ClientAuthUnavailable("it is down"))
        error = self.failureResultOf(waiting, ClientAuthUnavailable).value
        self.assertIn("it is down", error.reason)
        self.clock.advance(RETRY_SECONDS)
        waiting = check()
        self.downloads[1].callback(FIRST)
        self.assertIsNone(self.successResultOf(waiting))

    def test_stop(self) -> None:
        downloads = KeyDownloads([self.keys])
        downloads.start()
        downloads.stop()
        self.assertEqual(self.cancelled, 1)
