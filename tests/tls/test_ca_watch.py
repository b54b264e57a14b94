"""Tests for L{egress.tls.ca_watch}."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.ca_rotation import Rotation
from egress.tls.ca_store import CaDirectory
from egress.tls.ca_watch import LOOK_EVERY, REMIND_EVERY, CaWatch
from egress.tls.issuer import CertificateAuthority

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)


class WatchTestCase(SynchronousTestCase):
    """Watches a directory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = CaDirectory(Path(self.mktemp()))
        self.now = NOW
        self.changes: list[CertificateAuthority] = []
        self.watch = self.make()

    def make(self, reminds: bool = True) -> CaWatch:
        authority = self.directory.load_or_create(NOW)
        watch = CaWatch(
            self.clock,
            self.directory,
            authority,
            self.changes.append,
            reminds=reminds,
            wall_clock=lambda: self.now.timestamp(),
        )
        self.addCleanup(watch.stop)
        return watch

    def advance_to_check(self) -> None:
        """Advance the clock until the next check."""
        self.clock.advance(LOOK_EVERY)

    def rotate(self) -> None:
        rotation = Rotation(self.directory)
        rotation.prepare(NOW)
        self.advance_to_check()
        self.assertEqual(self.changes, [])
        rotation.activate(NOW)


class FollowingTests(WatchTestCase):
    """The watch uses the CA in the files."""

    def test_unchanged(self) -> None:
        """The same CA remains the same object, and unchanged files are not read."""
        authority = self.watch.authority
        self.watch.start()
        self.advance_to_check()
        self.patch(CaDirectory, "load", lambda *_: self.fail("it was read"))
        self.advance_to_check()
        self.assertIs(self.watch.authority, authority)
        self.assertEqual(self.changes, [])

    def test_rotated(self) -> None:
        """Another CA is used within seconds."""
        self.watch.start()
        self.rotate()
        with capturedLogs() as events:
            self.advance_to_check()
            self.advance_to_check()
        (authority,) = self.changes
        self.assertIs(self.watch.authority, authority)
        self.assertEqual(authority.certificate, self.directory.load(NOW).certificate)
        (event,) = events
        self.assertEqual(event["fingerprint"], authority.fingerprint)

    def test_trusted(self) -> None:
        """The certificates that clients trust are known from the start, and follow the files."""
        self.assertEqual(self.watch.trusted, ())
        self.watch.start()
        first = self.watch.authority.certificate
        self.assertEqual(self.watch.trusted, (first,))
        self.rotate()
        self.advance_to_check()
        self.assertEqual(self.watch.trusted, (self.watch.authority.certificate, first))
        Rotation(self.directory).retire(NOW)
        self.advance_to_check()
        self.assertEqual(self.watch.trusted, (self.watch.authority.certificate,))
        self.directory.key_path.unlink()
        self.advance_to_check()
        self.assertEqual(self.watch.trusted, (self.watch.authority.certificate,))

    def test_rotated_before(self) -> None:
        """A change between the first read and the first check is detected."""
        Rotation(self.directory).prepare(NOW)
        Rotation(self.directory).activate(NOW)
        self.watch.start()
        self.advance_to_check()
        self.assertEqual(len(self.changes), 1)

    def test_unusable(self) -> None:
        """The current CA remains in use; each error is logged once, and a valid CA is used again."""
        authority = self.watch.authority
        self.watch.start()
        self.advance_to_check()
        secret = self.directory.key_path.read_bytes()
        with capturedLogs() as events:
            self.directory.key_path.unlink()
            self.advance_to_check()
            self.advance_to_check()
            self.directory.key_path.write_bytes(b"garbage")
            self.directory.key_path.chmod(0o600)
            self.advance_to_check()
            self.advance_to_check()
        self.assertEqual([event["log_level"] for event in events], [LogLevel.error] * 2)
        self.assertIn("is missing", events[0]["reason"])
        self.assertIn("cannot be read", events[1]["reason"])
        self.assertIs(self.watch.authority, authority)
        other = CertificateAuthority.create("other", NOW)
        self.directory.key_path.write_bytes(other.secret_pem())
        self.directory.certificate_path.write_bytes(other.certificate_pem)
        with capturedLogs() as events:
            self.advance_to_check()
        self.assertEqual([event["log_level"] for event in events], [LogLevel.info])
        self.assertEqual(self.changes[0].fingerprint, other.fingerprint)
        self.directory.key_path.write_bytes(secret)

    def test_same_time(self) -> None:
        """Another file with the same time and size counts as changed."""
        self.watch.start()
        self.advance_to_check()
        state = self.directory.key_path.stat()
        other = CertificateAuthority.create("other", NOW)
        for path, content in (
            (self.directory.certificate_path, other.certificate_pem),
            (self.directory.key_path, other.secret_pem()),
        ):
            self.directory.put(path, content, 0o600)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        self.advance_to_check()
        self.assertEqual(len(self.changes), 1)

    def test_stopped(self) -> None:
        """No timer remains, and the watch can be started again, or twice."""
        self.watch.stop()
        self.watch.start()
        self.watch.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unexpected_error(self) -> None:
        """An unexpected error is logged."""
        self.watch.start()
        self.patch(CaDirectory, "load", lambda *_: 1 / 0)
        self.advance_to_check()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RemindingTests(WatchTestCase):
    """The watch warns before the CA expires."""

    def reminders(self, seconds: float) -> list[str]:
        """Return the warnings within a period."""
        with capturedLogs() as events:
            self.clock.pump([LOOK_EVERY] * int(seconds / LOOK_EVERY))
        return [event["end"] for event in events if event["log_level"] is LogLevel.warn]

    def test_daily(self) -> None:
        """At the start, and then once a day."""
        self.now = self.watch.authority.not_after - 30 * DAY
        with capturedLogs() as events:
            self.watch.start()
        self.assertEqual([event["end"] for event in events], ["2036-02-27, in 30 days"])
        self.assertEqual(self.reminders(REMIND_EVERY - LOOK_EVERY), [])
        self.now += DAY
        self.assertEqual(self.reminders(LOOK_EVERY), ["2036-02-27, in 29 days"])
        self.now += 29 * DAY
        self.assertEqual(self.reminders(REMIND_EVERY), ["2036-02-27, expired"])

    def test_not_yet(self) -> None:
        self.now = self.watch.authority.not_after - 91 * DAY
        with capturedLogs() as events:
            self.watch.start()
        self.assertEqual(events, [])

    def test_one_of_several(self) -> None:
        """A watch without reminders logs none."""
        watch = self.make(reminds=False)
        self.now = watch.authority.not_after - DAY
        with capturedLogs() as events:
            watch.start()
        self.assertEqual(events, [])

    def test_new_ca(self) -> None:
        """A new CA with a short lifetime causes a warning immediately."""
        self.watch.start()
        self.advance_to_check()
        rotation = Rotation(self.directory)
        rotation.prepare(NOW, DAY)
        rotation.activate(NOW)
        self.now = NOW + timedelta(hours=23)
        self.assertEqual(self.reminders(LOOK_EVERY), ["2026-03-02, in 0 days"])
