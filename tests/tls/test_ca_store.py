"""Tests for L{egress.tls.ca_store}."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

import egress
from egress.model.authority import Authority
from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import Folder
from egress.tls import ca_store as module
from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import CA_LIFETIME, CaError, CertificateAuthority
from tests.certificates import TestCA, key_pem_of, new_key

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)

# One of several processes that start concurrently: reads a directory per line, and prints the fingerprint.
STARTER = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from egress.tls.ca_store import CaDirectory
print("ready", flush=True)
for line in sys.stdin:
    print(CaDirectory(Path(line.strip())).load_or_create(datetime.now(timezone.utc)).fingerprint, flush=True)
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class StoreTestCase(SynchronousTestCase):
    """Provides a directory for a CA that does not exist yet."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir(0o755)
        self.directory = CaDirectory(self.root / "made" / "ca")

    def load(self, now: datetime = NOW) -> CertificateAuthority:
        return self.directory.load_or_create(now)

    def refused(self, *words: str, now: datetime = NOW) -> None:
        """Verify that loading fails with a line that contains all the words, and does not change the files."""
        before = self.files()
        error = self.assertRaises(CaError, self.load, now)
        for word in words:
            self.assertIn(word, error.reason)
        self.assertNotIn("\n", error.reason)
        self.assertEqual(self.files(), before)

    def files(self) -> dict[str, bytes]:
        directory = self.directory.path
        if not directory.is_dir():
            return {}
        return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


class FirstStartTests(StoreTestCase):
    """Creation of the CA."""

    def test_files(self) -> None:
        """The directory and the key are private, the certificate is public, and no other file remains."""
        previous = os.umask(0)
        self.addCleanup(os.umask, previous)
        authority = self.load()
        self.assertEqual(mode(self.directory.path), 0o700)
        self.assertEqual(mode(self.directory.key_path), 0o600)
        self.assertEqual(mode(self.directory.certificate_path), 0o644)
        self.assertEqual(set(self.files()), {"ca-key.pem", "ca.pem"})
        self.assertEqual(self.files()["ca.pem"], authority.certificate_pem)
        self.assertNotIn(b"PRIVATE", self.files()["ca.pem"])

    def test_second_start(self) -> None:
        """The next start reads the same CA, and writes nothing."""
        first = self.load()
        before = self.files()
        self.directory.path.chmod(0o500)
        self.addCleanup(self.directory.path.chmod, 0o700)
        second = self.load(NOW + timedelta(days=300))
        self.assertEqual(second.fingerprint, first.fingerprint)
        self.assertEqual(self.files(), before)
        leaf = second.issue(Authority("a.example", 443), NOW)
        leaf.certificate.verify_directly_issued_by(first.certificate)

    def test_names_differ(self) -> None:
        """The CAs of two directories have different names."""
        other = CaDirectory(self.root / "other").load_or_create(NOW)
        self.assertNotEqual(other.certificate.subject, self.load().certificate.subject)

    def test_existing_directory(self) -> None:
        """A directory that other users may read but not write is accepted: the key's own mode protects it."""
        self.directory.path.mkdir(mode=0o755, parents=True)
        self.load()
        self.assertEqual(mode(self.directory.key_path), 0o600)


class ReadingTests(StoreTestCase):
    """Reading the CA while the proxy runs."""

    def test_load(self) -> None:
        """The CA in the files is read, and nothing is written."""
        made = self.load()
        before = self.files()
        self.assertEqual(self.directory.load(NOW).certificate, made.certificate)
        self.assertEqual(self.files(), before)
        self.assertEqual(self.directory.paths, (self.directory.key_path, self.directory.certificate_path))

    def test_missing_ca_is_not_created(self) -> None:
        """A deleted CA is not replaced silently."""
        self.load()
        for path in self.directory.paths:
            path.unlink()
        error = self.assertRaises(CaError, self.directory.load, NOW)
        self.assertIn("is missing", error.reason)
        self.assertEqual(self.files(), {})

    def test_missing_directory_is_not_created(self) -> None:
        """The directory is not created either."""
        error = self.assertRaises(CaError, self.directory.load, NOW)
        self.assertIn("make it accessible", error.reason)
        self.assertFalse(self.directory.path.exists())

    def test_exposed_files(self) -> None:
        """Files that other users may write to are not read."""
        self.load()
        self.directory.path.chmod(0o777)
        error = self.assertRaises(CaError, self.directory.load, NOW)
        self.assertIn("chmod 700", error.reason)

    def test_leaves_are_not_stored(self) -> None:
        """Keys and certificates of hosts exist only in memory."""
        authority = self.load()
        before = self.files()
        previous = Path.cwd()
        os.chdir(self.root)
        self.addCleanup(os.chdir, previous)
        authority.issue(Authority("a.example", 443), NOW)
        self.assertEqual([path.name for path in Path().iterdir()], ["made"])
        self.assertEqual({path.name: path.read_bytes() for path in Path("made/ca").iterdir()}, before)


class ConstraintsTests(StoreTestCase):
    """Name constraints."""

    def setUp(self) -> None:
        super().setUp()
        self.limited = CaDirectory(self.directory.path, ("example.com",))

    def test_new_ca(self) -> None:
        """A new CA has them, and retains them when it is read again."""
        self.assertEqual(self.limited.load_or_create(NOW).limits, "example.com")
        self.assertEqual(self.load().limits, "example.com")
        self.limited.load(NOW)

    def test_existing_ca_without_constraints(self) -> None:
        """An existing CA without constraints is rejected if constraints are configured."""
        self.load()
        for load in (self.limited.load, self.limited.load_or_create):
            error = self.assertRaises(CaError, load, NOW)
            self.assertIn("egress ca rotate --ca-name-constraints", error.reason)


class RaceTests(StoreTestCase):
    """Several processes that start concurrently."""

    def test_other_process_was_faster(self) -> None:
        """A process that loses the race uses the winner's CA."""
        winner = CertificateAuthority.create("winner", NOW)
        link = os.link

        def late_link(source: str, target: str, **folder: Any) -> None:
            path = self.directory.key_path
            self.assertEqual(target, path.name)
            path.write_bytes(winner.secret_pem())
            path.chmod(0o600)
            link(source, target, **folder)

        self.patch(os, "link", late_link)
        self.assertEqual(self.load().fingerprint, winner.fingerprint)
        self.assertEqual(self.files(), {"ca-key.pem": winner.secret_pem(), "ca.pem": winner.certificate_pem})

    def test_other_process_finished_between_two_reads(self) -> None:
        """A CA that is created between two reads is not mistaken for a certificate without its key."""
        other = CaDirectory(self.directory.path)
        reads = {name: getattr(module, name) for name in ("read_plain", "read_key_file")}

        def slow(name: str) -> Callable[..., bytes | None]:
            def read(*arguments: object) -> bytes | None:
                for each, original in reads.items():
                    setattr(module, each, original)
                try:
                    found: bytes | None = reads[name](*arguments)
                finally:
                    other.load_or_create(NOW)
                return found

            return read

        for name in reads:
            self.patch(module, name, slow(name))
        authority = self.load()
        self.assertEqual(authority.fingerprint, other.load_or_create(NOW).fingerprint)
        self.assertEqual(self.files()["ca.pem"], authority.certificate_pem)

    def test_processes(self) -> None:
        """Four processes agree on the CA of each of twenty directories, and it stays the same."""
        environment = {**os.environ, "PYTHONPATH": str(Path(egress.__file__).parent.parent)}
        starters = [
            subprocess.Popen(
                [sys.executable, "-c", STARTER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(4)
        ]
        for starter in starters:
            self.addCleanup(starter.communicate)
            assert starter.stdout is not None
            self.assertEqual(starter.stdout.readline(), "ready\n")
        for number in range(20):
            path = (self.root / str(number)).absolute()
            for starter in starters:
                assert starter.stdin is not None
                starter.stdin.write(f"{path}\n")
                starter.stdin.flush()
            answers = {starter.stdout.readline().strip() for starter in starters if starter.stdout is not None}
            again = CaDirectory(path).load_or_create(datetime.now(timezone.utc))
            self.assertEqual(answers, {again.fingerprint})
            self.assertEqual({entry.name for entry in path.iterdir()}, {"ca-key.pem", "ca.pem"})


class RecoveryTests(StoreTestCase):
    """Recovery from a crash, a full disk or an operator's mistake."""

    def crash_in(self, module: object, name: str, error: BaseException) -> None:
        """Interrupt the creation of a CA at one call; the next start can make the call again."""
        call: Callable[..., object] = getattr(module, name)

        def crash(*arguments: object, **more: object) -> object:
            setattr(module, name, call)
            raise error

        self.patch(module, name, crash)

    def test_crash_before_key(self) -> None:
        """A crash before the key has its name leaves no effective files."""
        self.crash_in(os, "link", KeyboardInterrupt())
        self.assertRaises(KeyboardInterrupt, self.load)
        self.assertFalse(self.directory.key_path.exists())
        self.load()
        self.assertEqual(set(self.files()), {"ca-key.pem", "ca.pem"})

    def test_crash_before_certificate(self) -> None:
        """After a crash between key and certificate, the next start writes the certificate of the key."""
        self.crash_in(CaDirectory, "publish", RuntimeError("pulled the plug"))
        self.assertRaises(RuntimeError, self.load)
        self.assertEqual(set(self.files()), {"ca-key.pem"})
        secret = self.files()["ca-key.pem"]
        authority = self.load()
        self.assertEqual(self.files(), {"ca-key.pem": secret, "ca.pem": authority.certificate_pem})
        self.assertIn(authority.certificate_pem, secret)

    def test_killed_while_writing(self) -> None:
        """The unfinished files of a killed process do not affect the next one."""
        self.directory.path.mkdir(parents=True, mode=0o700)
        (self.directory.path / "ca-key.pem.abc.tmp").write_bytes(b"-----BEGIN PRIV")
        self.load()
        self.load()

    def test_disk_full(self) -> None:
        """A full disk is an error that names the directory, and leaves no partial file."""
        self.crash_in(os, "fsync", OSError(errno.ENOSPC, "No space left on device"))
        self.refused(str(self.directory.path), "No space left on device")
        self.load()

    def test_certificate_removed(self) -> None:
        """A deleted certificate is written again, unchanged."""
        authority = self.load()
        self.directory.certificate_path.unlink()
        self.assertEqual(self.load().fingerprint, authority.fingerprint)
        self.assertEqual(self.files()["ca.pem"], authority.certificate_pem)

    def test_certificate_cannot_be_written(self) -> None:
        """A key without a published certificate in a directory that is not writable."""
        self.load()
        self.directory.certificate_path.unlink()
        self.patch(Folder, "create", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only")))
        self.refused(str(self.directory.certificate_path), "Read-only", "writable")

    def test_key_removed(self) -> None:
        """A certificate that clients trust is not replaced because its key is missing."""
        self.load()
        self.directory.key_path.unlink()
        self.refused(str(self.directory.key_path), "missing", f"remove {self.directory.certificate_path}")
        self.directory.certificate_path.unlink()
        self.load()

    def test_key_removed_during_the_start(self) -> None:
        """If the key disappears while the proxy starts, the start fails."""
        self.patch(CaDirectory, "sync", lambda directory: directory.key_path.unlink())
        self.refused(str(self.directory.key_path), "start it again")

    def test_no_hard_links(self) -> None:
        """The error for a file system without hard links names the cause, and no part of the key remains."""
        self.crash_in(os, "link", PermissionError(errno.EPERM, "Operation not permitted"))
        self.refused(str(self.directory.path), "hard links", "another")
        self.assertEqual(self.files(), {})


class OperatorCaTests(StoreTestCase):
    """A CA that an operator puts into the directory."""

    def put(self, secret: bytes, certificate: bytes | None) -> None:
        self.directory.path.mkdir(parents=True, mode=0o700)
        self.directory.key_path.write_bytes(secret)
        self.directory.key_path.chmod(0o600)
        if certificate is not None:
            self.directory.certificate_path.write_bytes(certificate)

    def test_separate_files(self) -> None:
        """Key and certificate in separate files; neither is changed."""
        ca = TestCA("Corp CA", now=NOW)
        self.put(key_pem_of(ca.key), ca.pem)
        before = self.files()
        self.assertEqual(self.load().certificate, ca.certificate)
        self.assertEqual(self.files(), before)

    def test_key_without_certificate(self) -> None:
        """A key without a certificate in either file."""
        self.put(key_pem_of(new_key()), None)
        self.refused(str(self.directory.key_path), "certificate cannot be read", "remove it")

    def test_wrong_key(self) -> None:
        """The key of another CA."""
        self.put(key_pem_of(new_key()), TestCA(now=NOW).pem)
        self.refused(str(self.directory.key_path), "does not belong to its certificate", "restore the correct files")

    def test_wrong_certificate(self) -> None:
        """A published certificate that differs from the one after the key: clients would trust the wrong CA."""
        self.load()
        self.directory.certificate_path.write_bytes(TestCA(now=NOW).pem)
        self.refused(str(self.directory.certificate_path), "differs from the certificate", str(self.directory.key_path))

    def test_damaged_certificate(self) -> None:
        """A published certificate that is invalid."""
        self.load()
        self.directory.certificate_path.write_bytes(b"")
        self.refused(str(self.directory.certificate_path), "cannot be read", "remove it")

    def test_der(self) -> None:
        """Files that are not PEM."""
        ca = TestCA(now=NOW)
        self.put(b"\x30\x82\x01\x00", ca.certificate.public_bytes(Encoding.DER))
        self.refused(str(self.directory.key_path), "cannot be read as PEM")

    def test_empty_key(self) -> None:
        """An empty key file is not treated as a missing one."""
        self.put(b"", None)
        self.refused(str(self.directory.key_path), "cannot be read")

    def test_expired(self) -> None:
        """The error for an expired CA names the remedy."""
        self.load()
        self.refused(
            str(self.directory.key_path),
            "expired",
            f"remove it and {self.directory.certificate_path}",
            now=NOW + CA_LIFETIME,
        )

    def test_not_a_ca(self) -> None:
        """The certificate of a server."""
        server = TestCA(now=NOW).issue("a.example")
        self.put(server.key_pem, server.certificate_pem)
        self.refused(str(self.directory.key_path), "not a CA certificate")

    def test_size_limit(self) -> None:
        """A file is read up to a limit."""
        self.load()
        secret = self.directory.key_path.read_bytes()
        self.directory.key_path.write_bytes(b"#" * MAX_BYTES + b"\n" + secret)
        self.refused(str(self.directory.key_path), "cannot be read")


class PermissionTests(StoreTestCase):
    """The permissions of files and directories."""

    def test_exposed_key(self) -> None:
        """A key that other users may read, write or execute is rejected with the command that fixes it."""
        self.load()
        for bit in (0o040, 0o020, 0o010, 0o004, 0o002, 0o001):
            self.directory.key_path.chmod(0o600 | bit)
            self.refused(f"chmod 600 {self.directory.key_path}")
        self.directory.key_path.chmod(0o400)
        self.load()

    def test_exposed_directory(self) -> None:
        """A directory that other users may write to is rejected before a file is written to it."""
        self.directory.path.mkdir(parents=True)
        for bit in (0o020, 0o002):
            self.directory.path.chmod(0o700 | bit)
            self.refused(f"chmod 700 {self.directory.path}")
        self.assertEqual(self.files(), {})

    def test_not_a_directory(self) -> None:
        """A regular file in place of the directory or of one of its parents."""
        (self.root / "made").write_bytes(b"")
        self.refused(str(self.directory.path), "use another directory")
        self.directory = CaDirectory(self.root / "made")
        self.refused(str(self.directory.path), "use another directory")

    def test_unreadable_key(self) -> None:
        """A key that cannot be opened."""
        self.directory.key_path.mkdir(parents=True, mode=0o700)
        self.directory.path.chmod(0o700)
        self.refused(str(self.directory.key_path), "use another directory")
