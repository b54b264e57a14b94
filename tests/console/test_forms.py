"""Tests for L{egress.console.forms}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.forms import InvalidForm, parse_form, parse_query

FORM = [b"application/x-www-form-urlencoded"]


class FormTests(SynchronousTestCase):
    """Forms and queries are text, within limits."""

    def test_form(self) -> None:
        self.assertEqual(parse_form(FORM, b"a=1&b=%C3%A9+x&a=2&c="), {"a": ["1", "2"], "b": ["é x"], "c": [""]})
        self.assertEqual(parse_form([b"Application/X-WWW-Form-URLencoded; charset=utf-8"], b""), {})

    def test_query(self) -> None:
        self.assertEqual(parse_query(b"/console/live?q=host%3Aa"), {"q": ["host:a"]})
        self.assertEqual(parse_query(b"/console/live"), {})

    def test_invalid(self) -> None:
        for kinds, content in (
            ([], b"a=1"),
            ([b"text/plain"], b"a=1"),
            ([b"multipart/form-data; boundary=x"], b"a=1"),
            (FORM * 2, b"a=1"),
            (FORM, b"a=%FF"),
            (FORM, b"a=\xff"),
            (FORM, b"a=1&" * 300),
        ):
            with self.subTest((kinds, content[:9])), self.assertRaises(InvalidForm):
                parse_form(kinds, content)
        with self.assertRaises(InvalidForm):
            parse_query(b"/?q=" + b"x" * 9_000)
