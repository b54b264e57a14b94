"""Tests for L{egress.policy.match.form}."""

from __future__ import annotations

import gzip
import zlib

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.form import NO_FORM, Form, read_form
from egress.policy.match.multipart import AmbiguousForm
from egress.policy.match.patterns import compile_pattern
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork, WorkBudget
from tests.policy.match.test_multipart import form, part

YES, NO, MAYBE = Match.YES, Match.NO, Match.MAYBE


def has(found: Form, name: str) -> Match:
    """Return whether a form has a field."""
    return found.has(found.fields, name)


def matches(found: Form, name: str, text: str) -> Match:
    """Return whether a field of a form has a value."""
    return found.matches(found.fields, name, (compile_pattern(text, broad=False),), WorkBudget())


class FormTests(SynchronousTestCase):
    """The fields and files of forms."""

    def read(self, body: bytes, boundary: bytes | None = None, earlier: tuple[bytes, ...] = ()) -> Form:
        return read_form(body, boundary, earlier, WorkBudget())

    def refuse(self, body: bytes, boundary: bytes | None = None, earlier: tuple[bytes, ...] = ()) -> str:
        return str(self.assertRaises(AmbiguousForm, self.read, body, boundary, earlier).cause)

    def test_without_content(self) -> None:
        self.assertIs(has(NO_FORM, "a"), NO)
        self.assertIs(matches(NO_FORM, "a", "*"), NO)

    def test_urlencoded(self) -> None:
        found = self.read(b"a=1&b=x+y&c=%C3%A9&d=\xc3\xa9&e=1&e=2&f")
        for name, value, expected in (
            ("a", "1", YES),
            ("a", "2", NO),
            ("b", "x y", MAYBE),
            ("c", "é", YES),
            ("d", "é", YES),
            ("e", "1", MAYBE),
            ("e", "[12]", NO),
            ("e", "*", YES),
            ("f", "", YES),
            ("g", "*", NO),
        ):
            self.assertIs(matches(found, name, value), expected, (name, value))
        self.assertIs(has(found, "f"), YES)
        self.assertIs(has(found, "F"), MAYBE)
        self.assertIs(has(found, "g"), NO)
        self.assertIs(found.has(found.files, "a"), NO)
        self.assertIs(found.has(found.types, "a"), NO)

    def test_ambiguous_urlencoded(self) -> None:
        self.assertEqual(self.refuse(b"a=\xff"), "its form is not UTF-8")
        for body in (b"\xef\xbb\xbfa=1", b"_charset_=utf-7&a=1"):
            self.assertEqual(self.refuse(body), "its form states a charset")

    def test_multipart(self) -> None:
        body = form(
            part('Content-Disposition: form-data; name="a"', content="1 + 1 = 2%"),
            part('Content-Disposition: form-data; name="User[id]"', content="7"),
            part('Content-Disposition: form-data; name="doc"; filename="x.pdf"', "Content-Type: application/pdf"),
            part('Content-Disposition: form-data; name="none"; filename=""', "Content-Type: application/octet-stream"),
            part('Content-Disposition: form-data; name="é"', content="1"),
        )
        found = self.read(body, b"B")
        self.assertIs(matches(found, "a", "1 + 1 = 2%"), YES)
        self.assertIs(has(found, "user[id]"), MAYBE)
        self.assertIs(has(found, "user_id"), MAYBE)
        self.assertIs(has(found, "é"), MAYBE)
        # Of a file, servers make a field or none.
        self.assertIs(has(found, "doc"), MAYBE)
        self.assertIs(matches(found, "doc", "x"), MAYBE)
        self.assertIs(found.has(found.files, "doc"), YES)
        self.assertIs(found.has(found.files, "none"), MAYBE)
        self.assertIs(found.has(found.files, "a"), NO)
        for group, value, expected in (
            (found.files, "*.pdf", YES),
            (found.files, "*.exe", NO),
            (found.types, "application/pdf", YES),
            (found.types, "image/*", NO),
        ):
            pattern = (compile_pattern(value, broad=False),)
            self.assertIs(found.matches(group, "doc", pattern, WorkBudget()), expected, value)
        unclear = self.read(form(part('Content-Disposition: form-data; name="a;b"')), b"B")
        self.assertIs(has(unclear, "x"), MAYBE)
        self.assertIs(unclear.has(unclear.files, "x"), NO)
        unclear = self.read(form(part('Content-Disposition: form-data; name="a;b"; filename="f"')), b"B")
        self.assertIs(unclear.has(unclear.files, "x"), MAYBE)

    def test_long_values(self) -> None:
        """Only a value that is compared is decoded."""
        found = self.read(form(part('Content-Disposition: form-data; name="a"', content="+" * 1_000_000)), b"B")
        self.assertIs(has(found, "a"), YES)
        error = self.assertRaises(TooMuchWork, matches, found, "a", "x")
        self.assertEqual(error.cause, "its form has many or long values to compare")
        error = self.assertRaises(TooMuchWork, self.read, b"&".join(b"%d=" % n for n in range(501)))
        self.assertEqual(error.cause, "its form has more than 500 parameters")
        for separator in (b"&", b";", b"%26", b"%3B"):
            error = self.assertRaises(TooMuchWork, self.read, separator * 1001)
            self.assertEqual(error.cause, "its form has more than 500 fields")

    def test_undecoded(self) -> None:
        """Servers that ignore content codings read a field in the encoded content."""
        compressor = zlib.compressobj(0, wbits=31)
        hidden = compressor.compress(b"x&admin=1&y") + compressor.flush()
        for earlier, name, expected in (
            (hidden, "admin", MAYBE),
            (hidden, "other", NO),
            (b"\x1f\x8b;%61dmin", "admin", MAYBE),
            (b"\x1f\x8b%26%2561dmin[x]=", "admin", MAYBE),
            (b"\x1f\x8b&\xff\xef\xbd\x81dmin=", "admin", MAYBE),
            (b"\x1f\x8b&+admin=", "admin", MAYBE),
            (gzip.compress(b"a=1"), "admin", NO),
        ):
            found = self.read(b"a=1", earlier=(earlier,))
            self.assertIs(has(found, name), expected, (earlier, name))
            self.assertIs(matches(found, name, "*"), expected, (earlier, name))
            self.assertIs(matches(found, "a", "1"), YES)
        self.assertEqual(
            self.refuse(form(), b"B", (b"\x1f\x8b--B",)), "its form contains its boundary before it is decoded"
        )
        self.assertEqual(self.read(form(), b"B", (b"\x1f\x8b",)).undecoded, ())
        error = self.assertRaises(TooMuchWork, self.read, b"a=1", None, (b"\x1f\x8b" + b"&" * 500,))
        self.assertEqual(error.cause, "its encoded content of 502 bytes takes long to search for fields")
