"""Tests for L{egress.http.proxy_authorization}."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from egress.http.proxy_authorization import Basic, Bearer, parse_credentials


class ParseCredentialsTests(SynchronousTestCase):
    """Valid and malformed credentials of clients."""

    def test_basic(self) -> None:
        for value, expected in (
            (b"Basic " + base64.b64encode(b"alice:s3cret"), Basic("alice", b"s3cret")),
            (b"basic  " + base64.b64encode(b"alice:a:b"), Basic("alice", b"a:b")),
            (b"BASIC " + base64.b64encode("bücher:ß".encode()), Basic("bücher", "ß".encode())),
            (b"Basic " + base64.b64encode(b"alice:\xff"), Basic("alice", b"\xff")),
            (b"Basic " + base64.b64encode(b"alice"), Basic("alice", b"")),
            (b"Basic ", Basic("", b"")),
            (b"Basic " + base64.b64encode("bücher:ß".encode("latin-1")), Basic("bücher", b"\xdf")),
            (b"Basic " + base64.b64encode(b"\xff:x"), Basic("ÿ", b"x")),
        ):
            with self.subTest(value):
                self.assertEqual(parse_credentials(value), expected)

    def test_encodings_of_a_password(self) -> None:
        for sent, expected in (
            (b"s3cret", (b"s3cret",)),
            ("ß".encode(), ("ß".encode(),)),
            (b"\xdf", ("ß".encode(), b"\xdf")),
            (b"", (b"",)),
        ):
            with self.subTest(sent):
                self.assertEqual(Basic("alice", sent).passwords, expected)

    def test_bearer(self) -> None:
        for value in (b"Bearer abc.DEF-_~+/9==", b"bearer   abc.DEF-_~+/9== "):
            self.assertEqual(parse_credentials(value), Bearer(b"abc.DEF-_~+/9=="))

    def test_malformed(self) -> None:
        for value in (
            b"",
            b"Basic !!!",
            b"Bearer",
            b"Bearer two words",
            b"Bearer a=b",
            b"Digest username=alice",
            b"Negotiate YII=",
            b"alice:s3cret",
        ):
            with self.subTest(value):
                self.assertIsNone(parse_credentials(value))

    def test_repr_contains_no_secrets(self) -> None:
        for value in (b"Basic " + base64.b64encode(b"alice:s3cret"), b"Bearer s3cret"):
            self.assertNotIn("s3cret", repr(parse_credentials(value)))
