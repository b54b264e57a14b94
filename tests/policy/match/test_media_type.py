"""Tests for L{egress.policy.match.media_type}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.media_type import form_type, json_fault

NAME = "content-type"
NOT_JSON = "its Content-Type is not a JSON type"
CHARSET = "its charset is not UTF-8"


class MediaTypeTests(SynchronousTestCase):
    """Content is JSON if every server parses it as JSON in UTF-8."""

    CASES: dict[str, str | None] = {
        "application/json": None,
        "Application/JSON": None,
        "application/json;charset=utf-8": None,
        'application/json; charset="UTF-8"': None,
        "application/json \t; Charset=Utf-8": None,
        "application/vnd.api+json": None,
        "application/ld+json; profile=compacted; charset=utf-8": None,
        'application/json; odata="verbose"': None,
        # Another charset, or two; one that only some servers see.
        "application/json; charset=utf-7": CHARSET,
        "application/json; charset=utf-16le": CHARSET,
        "application/json; charset=utf8": CHARSET,
        "application/json; charset=": NOT_JSON,
        "application/json; charset=utf-8; charset=utf-7": CHARSET,
        "application/json; charset=utf-8; charset=utf-8": CHARSET,
        "application/json; xcharset=utf-7": CHARSET,
        "application/json; charset=utf-8x": CHARSET,
        'application/json; charset="utf-8"x': NOT_JSON,
        "application/json; charset =utf-7": NOT_JSON,
        "application/json; charset= utf-7": NOT_JSON,
        "application/json; charset*=utf-7''x": NOT_JSON,
        'application/json; x=";charset=utf-7"': NOT_JSON,
        'application/json; x="\\"; charset=utf-7"': NOT_JSON,
        "application/vnd.charset+json": CHARSET,
        # Types that are not JSON to every server.
        "": NOT_JSON,
        "json": NOT_JSON,
        "text/json": NOT_JSON,
        "text/x+json": NOT_JSON,
        "application/jsonp": NOT_JSON,
        "application/json-patch": NOT_JSON,
        "application/+json": NOT_JSON,
        "application/x-json": NOT_JSON,
        "multipart/x+json": NOT_JSON,
        "application/x-www-form-urlencoded": NOT_JSON,
        "application/x-www-form-urlencoded+json": NOT_JSON,
        "application/form-data+json": NOT_JSON,
        "application/json, application/x-www-form-urlencoded": NOT_JSON,
        "application/json,": NOT_JSON,
        "application/json;": NOT_JSON,
        "application/json; a": NOT_JSON,
        "application/json x": NOT_JSON,
        "application/json\u00a0": NOT_JSON,
        "application/js\u00f6n": NOT_JSON,
        "application /json": NOT_JSON,
    }

    def test_types(self) -> None:
        for value, expected in self.CASES.items():
            with self.subTest(value):
                self.assertEqual(json_fault(((NAME, value),)), expected)

    def test_fields(self) -> None:
        """There must be one Content-Type field, in the plain spelling."""
        plain = (NAME, "application/json")
        for types, word in (
            ((), "no Content-Type"),
            ((plain, plain), "more than one"),
            (((NAME, "application/json"), ("content_type", "text/plain")), "more than one"),
            ((("content_type", "application/json"),), "unusual spelling"),
        ):
            self.assertIn(word, json_fault(types) or "")

    @given(st.lists(st.sampled_from(["application/json", ";", " ", "charset", "=", "utf-8", '"', "utf-7", ",", "x"])))
    def test_no_other_charset(self, parts: list[str]) -> None:
        """A type that is accepted as JSON names at most one charset, and no other than UTF-8."""
        value = "".join(parts)
        if json_fault(((NAME, value),)) is None:
            self.assertNotIn(",", value)
            _, found, after = value.partition("charset")
            self.assertNotIn("charset", after)
            if found:
                self.assertTrue(after.replace('"', "").startswith("=utf-8"), value)


class FormTypeTests(SynchronousTestCase):
    """Content is a form if every server splits it at the same boundary."""

    def test_forms(self) -> None:
        for value, expected in (
            ("application/x-www-form-urlencoded", None),
            ("Application/X-WWW-Form-URLEncoded; Charset=UTF-8", None),
            ("multipart/form-data; boundary=----WebKitFormBoundaryAb9", b"----WebKitFormBoundaryAb9"),
            ("multipart/form-data;boundary=B", b"B"),
            ('multipart/form-data; boundary="a=b/c?"; charset="utf-8"', b"a=b/c?"),
        ):
            self.assertEqual(form_type(((NAME, value),)), (None, expected), value)

    def test_others(self) -> None:
        for value in (
            "",
            "application/json",
            "application/x-www-form-urlencoded; charset=utf-7",
            "application/x-www-form-urlencoded, application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; charset=utf-8; boundary=B",
            "multipart/form-data; boundary=B; boundary=C",
            "multipart/form-data; boundary*=utf-8''B",
            "multipart/form-data; boundary=B,C",
            "multipart/form-data; boundary=a=b",
            'multipart/form-data; boundary="B C"',
            'multipart/form-data; boundary="B\\""',
            'multipart/form-data; boundary="B"C',
            "multipart/form-data; boundary=" + "B" * 71,
            "multipart/mixed; boundary=B",
            "multipart/form-data; boundary=\u212a",
        ):
            fault = "its Content-Type is not that of a form, or has unusual parameters"
            self.assertEqual(form_type(((NAME, value),)), (fault, None), value)
        self.assertEqual(form_type(()), ("it has no Content-Type", None))
