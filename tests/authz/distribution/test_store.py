"""Tests for L{egress.authz.distribution.store}."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.distribution.store import CheckStatus, PolicyIntake, PolicyStore, RejectedPolicy
from egress.model.policy_url import PolicyUrl
from egress.policy.bundle import Bundle, encode_bundle
from egress.policy.parse.load import PolicyError, load_content
from egress.policy.rules import RuleSet
from egress.runtime.safe_files import UnsafeFile
from tests.files import make_directory

URL = PolicyUrl.parse("https://policies.test/policy.toml")
NOW = 1_700_000_000.5
POLICY = b"version = 1\n"
OTHER = b'version = 1\ndefault = "allow"\n'


def bundle(version: int, text: bytes = POLICY) -> bytes:
    """Make a bundle."""
    return encode_bundle(Bundle(version, "policy.toml", {"policy.toml": text.decode()}), [])


class StoreTestCase(SynchronousTestCase):
    """Base: the files of a URL."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute() / "state" / "policy"
        self.store = PolicyStore(self.directory, URL)


class StoreTests(StoreTestCase):
    """The files are private, and replaced atomically."""

    def test_empty(self) -> None:
        self.assertIsNone(self.store.read())
        self.assertEqual(self.store.read_status(), CheckStatus())
        self.store.prepare()
        self.assertIsNone(self.store.read())

    def test_files(self) -> None:
        self.store.prepare()
        status = CheckStatus(NOW, "digest", '"1"', "")
        self.store.save(POLICY)
        self.store.save_status(status)
        self.assertEqual((self.store.read(), self.store.read_status()), (POLICY, status))
        folder = self.store.policy.parent
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
        self.assertEqual(modes, {URL.key: 0o700, "policy": 0o600, "status.json": 0o600})

    def test_another_url(self) -> None:
        other = PolicyStore(self.directory, PolicyUrl.parse("https://policies.test/other.toml"))
        self.assertNotEqual(self.store.policy, other.policy)

    def test_unsafe_directory(self) -> None:
        self.store.prepare()
        os.chmod(self.store.policy.parent, 0o777)
        for call in (self.store.prepare, self.store.read):
            error = self.assertRaises(UnsafeFile, call)
            self.assertIn("replace the policy", error.strerror)

    def test_damaged_status(self) -> None:
        self.store.prepare()
        for content in ("", "[]", "{}", '{"checked": "x", "digest": "", "etag": null}', "[" * 50_000):
            with self.subTest(content[:20]):
                self.store.status.write_text(content)
                self.assertEqual(self.store.read_status(), CheckStatus())


class IntakeTests(StoreTestCase):
    """A downloaded policy replaces the stored one only if it is valid and not older."""

    def setUp(self) -> None:
        super().setUp()
        self.parsed = 0
        self.store.prepare()
        self.intake = self.make()

    def make(self) -> PolicyIntake:
        """Make an intake, as each start does."""
        return PolicyIntake(self.store, self.parse, lambda: NOW)

    def parse(self, content: bytes) -> RuleSet:
        """Parse a policy."""
        self.parsed += 1
        try:
            return load_content(content, URL.url, Path("/none"))
        except PolicyError as error:
            raise ValueError(error.reason) from error

    def test_first(self) -> None:
        self.assertIsNone(self.intake.etag())
        self.assertTrue(self.intake.accept(POLICY, '"1"'))
        self.assertEqual(self.store.read(), POLICY)
        self.assertEqual(self.intake.etag(), '"1"')
        self.assertEqual(self.store.read_status().checked, NOW)
        self.assertEqual(self.parsed, 1)

    def test_same_content(self) -> None:
        self.intake.accept(POLICY, '"1"')
        self.assertFalse(self.intake.accept(POLICY, '"2"'))
        self.assertEqual(self.intake.etag(), '"2"')

    def test_unchanged(self) -> None:
        self.intake.accept(POLICY, '"1"')
        self.intake.failed("refused")
        self.assertEqual(self.store.read_status().fault, "refused")
        self.intake.unchanged()
        status = self.store.read_status()
        self.assertEqual((status.fault, status.checked, status.etag), ("", NOW, '"1"'))

    def test_failed(self) -> None:
        """A failure does not change the time of the last successful check, and is written once."""
        self.intake.accept(POLICY, '"1"')
        self.intake.failed("refused")
        written = self.store.status.stat().st_ino
        self.intake.failed("refused")
        self.assertEqual(self.store.status.stat().st_ino, written)
        self.assertEqual(self.store.read_status().checked, NOW)

    def test_invalid(self) -> None:
        self.intake.accept(POLICY, '"1"')
        self.assertRaises(ValueError, self.intake.accept, b"garbage", '"2"')
        self.assertEqual((self.store.read(), self.intake.etag()), (POLICY, '"1"'))

    def test_next_start(self) -> None:
        self.intake.accept(POLICY, '"1"')
        self.assertEqual(self.make().etag(), '"1"')

    def test_changed_files(self) -> None:
        """The tag of the status is that of the stored policy only; a policy that is not valid is downloaded again."""
        self.intake.accept(POLICY, '"1"')
        for content in (OTHER, b"garbage"):
            self.store.save(content)
            self.assertIsNone(self.make().etag())
            self.assertIsNone(self.intake.etag())

    def test_forget(self) -> None:
        """After a reload, the stored policy is verified with the keys of now."""
        self.intake.accept(POLICY, '"1"')
        self.intake.etag()
        self.assertEqual(self.parsed, 1)
        self.intake.forget()
        self.intake.etag()
        self.assertEqual(self.parsed, 2)

    def test_versions(self) -> None:
        self.assertTrue(self.intake.accept(bundle(5), None))
        self.assertTrue(self.intake.accept(bundle(6, OTHER), None))
        for content, words in (
            (bundle(5), "version 5 is older than version 6"),
            (bundle(6), "is that of another policy"),
            (POLICY, "is not a bundle"),
        ):
            for intake in (self.intake, self.make()):
                error = self.assertRaises(RejectedPolicy, intake.accept, content, '"x"')
                self.assertIn(words, str(error))
        self.assertEqual(self.store.read(), bundle(6, OTHER))
        self.assertFalse(self.intake.accept(bundle(6, OTHER), '"2"'))

    def test_the_same_version_signed_again(self) -> None:
        self.intake.accept(bundle(5), None)
        self.assertTrue(self.intake.accept(bundle(5) + b"\n", None))

    def test_from_a_document_to_bundles(self) -> None:
        self.intake.accept(POLICY, None)
        self.assertTrue(self.intake.accept(bundle(1), None))
