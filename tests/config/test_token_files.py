"""Tests for L{egress.config.token_files}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.token_files import MAX_SIZE, read_token
from egress.model.converters import BadValue
from tests.files import make_directory


class ReadTokenTests(SynchronousTestCase):
    """A file with a token."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "token"

    def test_token(self) -> None:
        self.path.write_text(" secret\n")
        self.assertEqual(read_token(self.path), "secret")

    def test_not_a_token(self) -> None:
        for content in (b"", b"two words", "gr\xfcn".encode(), b"x" * (MAX_SIZE + 1)):
            with self.subTest(content[:20]):
                self.path.write_bytes(content)
                self.assertRaises(BadValue, read_token, self.path)

    def test_missing(self) -> None:
        self.assertRaises(FileNotFoundError, read_token, self.path)
