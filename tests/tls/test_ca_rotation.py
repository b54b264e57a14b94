"""Tests for L{egress.tls.ca_rotation}."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.ca_rotation import Rotation
from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import CA_LIFETIME, CaError
from tests.certificates import TestCA, key_pem_of, published

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
LATER = NOW + timedelta(days=30)


class RotationTestCase(SynchronousTestCase):
    """Creates a directory with a CA."""

    def setUp(self) -> None:
        self.directory = CaDirectory(Path(self.mktemp()))
        self.first = self.directory.load_or_create(NOW).certificate
        self.rotation = Rotation(self.directory)

    def signing(self) -> x509.Certificate:
        """Return the CA that a proxy would use now."""
        loaded, started = self.directory.load(LATER), self.directory.load_or_create(LATER)
        self.assertEqual(loaded.certificate, started.certificate)
        return loaded.certificate

    def names(self) -> set[str]:
        return {path.name for path in self.directory.path.iterdir()}

    def refused(self, step: Callable[[datetime], object], *words: str) -> None:
        error = self.assertRaises(CaError, step, NOW)
        for word in words:
            self.assertIn(word, error.reason)
        self.assertNotIn("\n", error.reason)

    def crash_after(self, name: str) -> None:
        """Let one operation of the directory succeed, and fail all operations after it."""
        original = getattr(CaDirectory, name)

        def last(directory: CaDirectory, *arguments: object) -> None:
            original(directory, *arguments)
            setattr(CaDirectory, name, original)
            raise KeyboardInterrupt

        self.patch(CaDirectory, name, last)

    def crash_before(self, name: str) -> None:
        original = getattr(CaDirectory, name)

        def never(*_: object) -> None:
            setattr(CaDirectory, name, original)
            raise KeyboardInterrupt

        self.patch(CaDirectory, name, never)


class StepsTests(RotationTestCase):
    """The steps of a rotation."""

    def test_prepare(self) -> None:
        """The next CA is published together with the signing one."""
        found = self.rotation.prepare(LATER)
        assert found.following is not None
        self.assertEqual(found.current, self.first)
        self.assertEqual(published(self.directory), [self.first, found.following])
        self.assertEqual(self.signing(), self.first)
        self.assertEqual(found.following.not_valid_after_utc, LATER + CA_LIFETIME)
        self.assertNotEqual(found.following.subject, self.first.subject)
        self.assertEqual(self.directory.certificates(), found)

    def test_modes(self) -> None:
        """Keys are readable only by their owner, certificates by every user, and no other file remains."""
        previous = os.umask(0)
        self.addCleanup(os.umask, previous)
        self.rotation.prepare(LATER)
        self.assertEqual(self.directory.next_path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.names(), {"ca-key.pem", "ca.pem", "ca-next-key.pem", "ca.lock"})
        self.rotation.activate(LATER)
        modes = {name: (self.directory.path / name).stat().st_mode & 0o777 for name in self.names()}
        self.assertEqual(modes, {"ca-key.pem": 0o600, "ca.pem": 0o644, "ca-old.pem": 0o644, "ca.lock": 0o600})
        for name in ("ca.pem", "ca-old.pem"):
            self.assertNotIn(b"PRIVATE", (self.directory.path / name).read_bytes())

    def test_prepare_twice(self) -> None:
        """A second call creates no other CA."""
        found = self.rotation.prepare(LATER)
        secret = self.directory.next_path.read_bytes()
        self.assertEqual(self.rotation.prepare(LATER, timedelta(days=1)), found)
        self.assertEqual(self.directory.next_path.read_bytes(), secret)

    def test_activate(self) -> None:
        """The next CA signs, the old one is still trusted, and the old key is deleted."""
        following = self.rotation.prepare(LATER).following
        old_key = self.directory.key_path.read_bytes().split(b"-----BEGIN CERT")[0]
        found = self.rotation.activate(LATER)
        self.assertEqual((found.current, found.following, found.past), (following, None, (self.first,)))
        self.assertEqual(self.signing(), following)
        self.assertEqual(published(self.directory), [following, self.first])
        self.assertEqual(self.directory.certificates(), found)
        for path in self.directory.path.iterdir():
            self.assertNotIn(old_key, path.read_bytes())

    def test_retire(self) -> None:
        """At the end there is one CA, as at the beginning."""
        following = self.rotation.prepare(LATER).following
        self.rotation.activate(LATER)
        found = self.rotation.retire(LATER)
        self.assertEqual((found.current, found.past), (following, ()))
        self.assertEqual(published(self.directory), [following])
        self.assertEqual(self.names(), {"ca-key.pem", "ca.pem", "ca.lock"})
        self.assertEqual(self.signing(), following)

    def test_cancel(self) -> None:
        """A cancelled next CA leaves no trace."""
        self.rotation.prepare(LATER)
        self.rotation.cancel(LATER)
        self.assertEqual(published(self.directory), [self.first])
        self.assertEqual(self.names(), {"ca-key.pem", "ca.pem", "ca.lock"})

    def test_repeated_rotation(self) -> None:
        """Several earlier CAs are trusted until they are retired or expire."""
        second = self.rotation.prepare(NOW, timedelta(days=10)).following
        self.rotation.activate(NOW)
        third = self.rotation.prepare(NOW, timedelta(days=20)).following
        self.assertEqual(published(self.directory), [second, third, self.first])
        self.rotation.activate(NOW)
        self.assertEqual(published(self.directory), [third, second, self.first])
        self.assertEqual(self.directory.certificates().past, (second, self.first))
        fourth = self.rotation.prepare(NOW + timedelta(days=15)).following
        self.assertEqual(published(self.directory), [third, fourth, self.first])

    def test_expired(self) -> None:
        """An expired CA can still be replaced."""
        end = NOW + CA_LIFETIME
        self.assertRaises(CaError, self.directory.load, end)
        following = self.rotation.prepare(end).following
        self.rotation.activate(end)
        self.assertEqual(self.directory.load(end).certificate, following)
        self.assertEqual(published(self.directory), [following])

    def test_other_certificates_are_preserved(self) -> None:
        """A certificate that an operator added to the published file is preserved."""
        other = TestCA("Other", now=NOW)
        with self.directory.certificate_path.open("ab") as file:
            file.write(other.pem)
        following = self.rotation.prepare(NOW).following
        self.assertEqual(published(self.directory), [self.first, following, other.certificate])
        self.rotation.activate(NOW)
        self.rotation.retire(NOW)
        self.assertEqual(published(self.directory), [following, other.certificate])

    def test_separate_certificate(self) -> None:
        """A CA with its key and certificate in separate files can be replaced as well."""
        ca = TestCA("Corp CA", now=NOW)
        self.directory.key_path.write_bytes(key_pem_of(ca.key))
        self.directory.certificate_path.write_bytes(ca.pem)
        following = self.rotation.prepare(NOW).following
        self.assertEqual(self.directory.load(NOW).certificate, ca.certificate)
        self.rotation.activate(NOW)
        self.assertEqual(self.directory.load(NOW).certificate, following)
        self.assertEqual(published(self.directory), [following, ca.certificate])

    def test_published_again(self) -> None:
        """If C{ca.pem} is deleted during a rotation, it is written again with all trusted certificates."""
        following = self.rotation.prepare(NOW).following
        self.directory.certificate_path.unlink()
        self.assertEqual(self.signing(), self.first)
        self.assertEqual(published(self.directory), [self.first, following])
        self.rotation.activate(NOW)
        self.directory.certificate_path.unlink()
        self.assertEqual(self.signing(), following)
        self.assertEqual(published(self.directory), [following, self.first])


class OwnerTests(RotationTestCase):
    """Root rotates the CA of a proxy that does not run as root."""

    def handed_over(self) -> set[tuple[int, int]]:
        """Return the owners that files are given to."""
        owners: set[tuple[int, int]] = set()
        self.patch(os, "fchown", lambda _, owner, group: owners.add((owner, group)))
        self.rotation.prepare(NOW)
        self.rotation.activate(NOW)
        self.rotation.retire(NOW)
        return owners

    def test_root(self) -> None:
        """Root's files belong to the owner of the directory, who could not read them otherwise."""
        if os.getuid() == 0:
            os.chown(self.directory.path, 12345, 12346)
        self.patch(os, "geteuid", lambda: 0)
        state = self.directory.path.stat()
        self.assertEqual(self.handed_over(), {(state.st_uid, state.st_gid)})

    def test_other_users(self) -> None:
        """Another user cannot change the owner, and does not need to."""
        owner = self.directory.path.stat().st_uid
        # For such a user root's files would count as lent, which is not the subject of this test.
        self.patch(os, "geteuid", lambda: owner or 12345)
        self.assertEqual(self.handed_over(), set())


class LinksTests(RotationTestCase):
    """Root works in a directory whose owner has created links there."""

    def setUp(self) -> None:
        super().setUp()
        self.victim = Path(self.mktemp()).absolute()
        self.victim.write_text("precious")
        self.victim.chmod(0o640)
        self.lock = self.directory.path / "ca.lock"
        if os.getuid() == 0:
            for path in (self.directory.path, *self.directory.path.iterdir()):
                os.chown(path, 12345, 12346)
        self.given: set[int] = set()
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "fchown", lambda descriptor, *_: self.given.add(os.fstat(descriptor).st_ino))
        for by_name in ("chown", "chmod", "lchown"):
            self.patch(os, by_name, lambda *_, **__: self.fail("an owner or a mode is set by name"))

    def tearDown(self) -> None:
        state = self.victim.stat()
        self.assertEqual((self.victim.read_text(), state.st_mode & 0o777), ("precious", 0o640))
        self.assertNotIn(state.st_ino, self.given)

    def test_lock(self) -> None:
        """Every step rejects a link in place of the lock file."""
        absent = self.victim.with_name("absent")
        kinds: tuple[tuple[Callable[[], object], str], ...] = (
            (lambda: self.lock.symlink_to(self.victim), "is a symbolic link; remove it"),
            (lambda: self.lock.symlink_to(absent), "is a symbolic link; remove it"),
            (lambda: os.link(self.victim, self.lock), "has a second name (a hard link); remove it"),
            (lambda: os.mkfifo(self.lock), "is not a regular file; remove it"),
        )
        for put_there, words in kinds:
            put_there()
            for step in (self.rotation.prepare, self.rotation.activate, self.rotation.cancel, self.rotation.retire):
                self.refused(step, f"{self.lock}: {words}")
            self.lock.unlink()
        self.assertFalse(absent.exists())
        self.assertEqual(self.given, set())

    def test_written_files(self) -> None:
        """Links in place of other files are replaced; their targets are unchanged."""
        self.directory.certificate_path.unlink()
        self.directory.certificate_path.symlink_to(self.victim.with_name("absent"))
        self.rotation.prepare(NOW)
        self.assertFalse(self.directory.certificate_path.is_symlink())
        self.assertFalse(self.victim.with_name("absent").exists())
        self.directory.old_path.symlink_to(self.victim.with_name("absent"))
        self.rotation.activate(NOW)
        self.assertFalse(self.victim.with_name("absent").exists())
        self.assertEqual(self.directory.old_path.lstat().st_mode & 0o777, 0o644)


class ConstraintsTests(RotationTestCase):
    """The name constraints of the next CA."""

    def limits(self) -> str | None:
        """Return the name constraints of the signing CA."""
        return self.directory.load(NOW).limits

    def test_inherited(self) -> None:
        """The constraints are inherited by default; an omitted argument never widens them."""
        for permitted, expected in (
            (("example.com", ip_network("10.0.0.0/8")), "example.com, 10.0.0.0/8"),
            (None, "example.com, 10.0.0.0/8"),
            (("example.org",), "example.org"),
            ((), None),
            (None, None),
        ):
            self.rotation.prepare(NOW, permitted=permitted)
            self.rotation.activate(NOW)
            self.assertEqual(self.limits(), expected)


class RefusedTests(RotationTestCase):
    """An impossible step is rejected with an error, and changes nothing."""

    def test_out_of_order(self) -> None:
        self.refused(self.rotation.activate, "no next CA", "egress ca rotate")
        self.refused(self.rotation.cancel, "no next CA")
        self.refused(self.rotation.retire, "no earlier CA")
        self.assertEqual(published(self.directory), [self.first])

    def test_no_ca(self) -> None:
        """Without a CA, nothing is created, not even a directory."""
        empty = CaDirectory(Path(self.mktemp()))
        self.refused(Rotation(empty).prepare, "there is no CA")
        self.assertFalse(empty.path.exists())

    def test_concurrent_rotations(self) -> None:
        """One of two rotations continues."""
        with (self.directory.path / "ca.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for step in (self.rotation.prepare, self.rotation.activate, self.rotation.cancel, self.rotation.retire):
                self.refused(step, "another rotation is in progress")
        self.rotation.prepare(NOW)

    def test_exposed_directory(self) -> None:
        """No key is written where other users could replace it."""
        self.directory.path.chmod(0o770)
        self.refused(self.rotation.prepare, f"chmod 700 {self.directory.path}")
        self.assertEqual(self.names(), {"ca-key.pem", "ca.pem"})

    def test_intermediate(self) -> None:
        """Only the issuer of a CA can issue the next one."""
        middle = TestCA("Middle", TestCA("Root", now=NOW))
        self.directory.key_path.write_bytes(key_pem_of(middle.key) + middle.pem)
        self.directory.certificate_path.write_bytes(middle.pem)
        self.refused(self.rotation.prepare, "issued by another")

    def test_next_expired(self) -> None:
        """An expired next CA is not activated."""
        self.rotation.prepare(NOW, timedelta(days=5))
        error = self.assertRaises(CaError, self.rotation.activate, LATER)
        self.assertIn("expired", error.reason)
        self.assertIn(str(self.directory.next_path), error.reason)
        self.assertEqual(self.signing(), self.first)

    def test_next_damaged(self) -> None:
        self.rotation.prepare(NOW)
        self.directory.next_path.write_bytes(b"garbage")
        self.refused(self.rotation.activate, str(self.directory.next_path), "cannot be read")
        self.assertEqual(self.signing(), self.first)

    def test_published_damaged(self) -> None:
        self.directory.certificate_path.write_bytes(b"garbage")
        self.refused(self.rotation.prepare, str(self.directory.certificate_path), "cannot be read")

    def test_not_writable(self) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "x")

        self.patch(os, "fsync", full)
        self.refused(self.rotation.prepare, "No space left on device")
        self.assertEqual(self.names(), {"ca-key.pem", "ca.pem", "ca.lock"})
        self.patch(CaDirectory, "open_lock", full)
        self.refused(self.rotation.prepare, "ca.lock", "No space left on device")


class CrashTests(RotationTestCase):
    """After a crash at any point, a proxy can start, its clients trust it, and the next call continues."""

    def stopped(self, step: Callable[[datetime], object]) -> None:
        self.assertRaises(KeyboardInterrupt, step, NOW)
        # Clients with the published certificates trust the signing CA.
        self.assertIn(self.signing(), published(self.directory))

    def test_next_not_published(self) -> None:
        """Clients cannot trust a CA that was never published, so it is not activated."""
        self.crash_before("publish")
        self.stopped(self.rotation.prepare)
        self.assertEqual(published(self.directory), [self.first])
        self.refused(self.rotation.activate, "does not contain the next CA")
        following = self.directory.certificates().following
        self.assertEqual(self.rotation.prepare(NOW).following, following)
        self.assertEqual(published(self.directory), [self.first, following])

    def test_old_written(self) -> None:
        """The old certificate is already listed as an earlier one, and its CA still signs."""
        following = self.rotation.prepare(NOW).following
        self.crash_after("put")
        self.stopped(self.rotation.activate)
        self.assertEqual(self.signing(), self.first)
        self.assertEqual(self.directory.certificates().past, ())
        self.rotation.activate(NOW)
        self.assertEqual(published(self.directory), [following, self.first])
        self.assertEqual(self.directory.certificates().past, (self.first,))

    def test_activated_not_published(self) -> None:
        """The new CA signs, although the published order is still the old one."""
        following = self.rotation.prepare(NOW).following
        self.crash_before("publish")
        self.stopped(self.rotation.activate)
        self.assertEqual(self.signing(), following)
        self.assertEqual(published(self.directory), [self.first, following])
        self.rotation.retire(NOW)
        self.assertEqual(published(self.directory), [following])

    def test_retired_half(self) -> None:
        """The certificate is not trusted any more but still listed; the next call removes it."""
        self.rotation.prepare(NOW)
        self.rotation.activate(NOW)
        self.crash_after("publish")
        self.stopped(self.rotation.retire)
        self.assertIn("ca-old.pem", self.names())
        self.rotation.retire(NOW)
        self.assertNotIn("ca-old.pem", self.names())

    def test_crash_with_a_separate_certificate(self) -> None:
        """A separate key is replaced by the same atomic rename."""
        ca = TestCA("Corp CA", now=NOW)
        self.directory.key_path.write_bytes(key_pem_of(ca.key))
        self.directory.certificate_path.write_bytes(ca.pem)
        following = self.rotation.prepare(NOW).following
        self.crash_before("publish")
        self.assertRaises(KeyboardInterrupt, self.rotation.activate, NOW)
        self.assertEqual(self.directory.load(NOW).certificate, following)

    def test_replaced_while_written(self) -> None:
        """A file that cannot be renamed leaves no temporary file behind."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted", "x")

        self.patch(os, "replace", refuse)
        self.refused(self.rotation.prepare, "Operation not permitted")
        self.assertEqual(self.names(), {"ca-key.pem", "ca.pem", "ca.lock"})


class NewLifeTests(RotationTestCase):
    """The lifetime of the next CA."""

    def test_days(self) -> None:
        following = self.rotation.prepare(NOW, timedelta(days=30)).following
        assert following is not None
        self.assertEqual(following.not_valid_after_utc, LATER)
        self.rotation.activate(NOW)
        self.assertEqual(self.directory.load(NOW).not_after, LATER)
