"""Tests for L{egress.policy.match.multipart}."""

from __future__ import annotations

import io
from typing import Any

import requests
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.multipart import MAX_PARTS, AmbiguousForm, Part, read_multipart
from egress.policy.match.work_budget import MAX_WORK, TooMuchWork, WorkBudget

NAME = 'Content-Disposition: form-data; name="a"'


def part(*header: str, content: str = "x", boundary: str = "B") -> bytes:
    """Return a delimiter and a part."""
    return "\r\n".join([f"--{boundary}", *header, "", content, ""]).encode("utf-8")


def form(*parts: bytes, boundary: str = "B", end: bytes = b"--\r\n") -> bytes:
    """Return a form."""
    return b"".join(parts) + f"--{boundary}".encode() + end


class MultipartTests(SynchronousTestCase):
    """Forms with several parts."""

    def read(self, body: bytes, boundary: str = "B") -> tuple[Part, ...]:
        return read_multipart(body, boundary.encode(), WorkBudget())

    def one(self, *header: str, content: str = "x") -> Part:
        (found,) = self.read(form(part(*header, content=content)))
        return found

    def values(self, body: bytes) -> list[frozenset[str] | None]:
        """Return the values of all fields."""
        return [one.values(body) for one in self.read(body)]

    def refuse(self, body: bytes, boundary: str = "B") -> str:
        return str(self.assertRaises(AmbiguousForm, self.read, body, boundary).cause)

    def test_fields(self) -> None:
        body = form(part(NAME, content="one\r\ntwo"), part(NAME.replace('"', ""), content=""))
        found = self.read(body)
        self.assertEqual([one.names for one in found], [{"a"}, {"a"}])
        self.assertEqual([body[one.start : one.end] for one in found], [b"one\r\ntwo", b""])
        self.assertEqual(self.values(body), [{"one\r\ntwo"}, {""}])
        self.assertEqual({one.is_file for one in found}, {False})
        self.assertEqual(self.values(form(part(NAME), end=b"--")), [{"x"}])
        self.assertEqual(self.read(form()), ())

    def test_common_client(self) -> None:
        files: dict[str, Any] = {"doc": ("a b.pdf", io.BytesIO(b"%PDF\r\n"), "application/pdf"), "empty": ("", b"")}
        made = requests.Request("POST", "http://a.test/", data={"a": "1", "b": "é"}, files=files).prepare()
        boundary = str(made.headers["Content-Type"]).partition("boundary=")[2]
        assert isinstance(made.body, bytes)
        a, b, doc = self.read(made.body, boundary)[:3]
        self.assertEqual((a.names, a.values(made.body), b.values(made.body)), ({"a"}, {"1"}, {"é"}))
        self.assertEqual((doc.names, doc.file_names, doc.types), ({"doc"}, {"a b.pdf"}, {"application/pdf"}))
        self.assertTrue(doc.is_file)
        self.assertIsNone(doc.values(made.body))

    def test_files(self) -> None:
        for header, is_file, names, types in (
            ('; filename="x.txt"', True, {"x.txt"}, {"", "text/plain", "application/octet-stream"}),
            ('; filename="x.txt"\r\nContent-Type: Image/PNG; q=1', True, {"x.txt"}, {"image/png"}),
            (";filename=x.txt\r\ncontent-type:text/plain", True, {"x.txt"}, {"text/plain"}),
            ('; filename=""\r\nContent-Type: application/octet-stream', None, {""}, {"application/octet-stream"}),
            ("\r\nContent-Type: application/octet-stream", None, None, {"application/octet-stream"}),
            ("; filename=x.txt; filename*=utf-8''y.txt\r\nContent-Type: a/b", True, None, {"a/b"}),
            ('\r\nContent-Type: text/plain; name="x.txt"', None, None, {"text/plain"}),
            ('; filename="../x/y.txt"\r\nContent-Type: a/b', True, {"../x/y.txt", "y.txt"}, {"a/b"}),
            ('; filename="a%2fb"\r\nContent-Type: a/b', True, {"a%2fb", "a/b", "b"}, {"a/b"}),
            ('; filename="a;b"\r\nContent-Type: a/b', True, None, {"a/b"}),
        ):
            found = self.one(NAME + header)
            self.assertEqual(found.is_file, is_file, header)
            self.assertEqual(found.file_names, names, header)
            self.assertEqual(found.types, types, header)
            self.assertIsNone(found.values(b""), header)

    def test_names(self) -> None:
        for name, expected in (
            ("user[id]", {"user[id]"}),
            ("", {""}),
            ("a b", {"a b"}),
            ("a%20b", {"a%20b", "a b"}),
            ("é", {"é", "Ã©"}),
            ("\uff41", {"\uff41", "a", "ï½\x81"}),
            ("a;b", None),
            ("a%22b", None),
            ("a%0ab", {"a%0ab", "a\nb"}),
            ("a%00b", None),
            ("a%ffb", None),
        ):
            self.assertEqual(self.one(f'Content-Disposition: form-data; name="{name}"').names, expected, name)

    def test_values(self) -> None:
        for header, content, expected in (
            (("Content-Type: text/plain",), "é", {"é"}),
            (("Content-Type: text/plain; charset=UTF-8",), "é", {"é"}),
            (('Content-Type: text/plain;charset="us-ascii"',), "e", {"e"}),
            (("Content-Type: application/json",), '{"a": 1}', {'{"a": 1}'}),
            (("Content-Type: text/plain; charset=utf-16",), "e", None),
            (("Content-Type: text/plain; charset=utf-8; charset=utf-16",), "e", None),
            (("Content-Type: text/html",), "e", None),
            (("Content-Transfer-Encoding: 8BIT", "Content-Length: 1"), "e", {"e"}),
            ((), "a\tb", {"a\tb"}),
            ((), "a\0b", None),
            ((), "ｅ", {"ｅ", "e"}),
        ):
            self.assertEqual(self.values(form(part(NAME, *header, content=content))), [expected], (header, content))
        self.assertEqual(self.values(form(b"--B\r\n%b\r\n\r\n\xe9\r\n" % NAME.encode())), [None])

    def test_ambiguous(self) -> None:
        """Whatever one parser splits in another way than others."""
        start = "its form does not begin with its boundary"
        end = "its form does not end with its boundary"
        inside = "its form has a boundary inside a line"
        header = "its form has a part with an incomplete or long header"
        malformed = "its form has a part with a malformed, repeated or unknown header field"
        unusual = "its form has a part with an unusual Content-Disposition"
        good = part(NAME)
        for expected, bodies in {
            start: (b"", b"x", b"preamble\r\n" + form(good), b"\r\n" + form(good), good.replace(b"--B", b"-B")),
            end: (
                good,
                good[:-2],
                form(good) + b"epilogue",
                form(good, end=b"-- "),
                form(good, end=b"-"),
                form(good, end=b"--\n"),
                # The boundary of the end differs.
                form(good, boundary="C"),
            ),
            inside: (
                form(good[:-2]),
                form(good.replace(b"\r\n", b"\n")),
                form(good[:-2] + b"\n"),
                form(part(NAME, content="x\n--B\r\nContent-Disposition: form-data; name=b\r\n\r\ny")),
                form(b"--B \r\n" + good[5:]),
                form(part(NAME, boundary="BB")),
                form(form(good), good),
            ),
            header: (
                form(b"--B\r\n\r\nx\r\n"),
                form(b"--B\r\n%b\r\n" % NAME.encode()),
                form(part(NAME, "Content-Type: " + "a" * 5000)),
            ),
            "its form has a part without content": (
                form(b"--B\r\n%b\r\n\r\n" % NAME.encode()),
                form(part(NAME, content="--B")),
            ),
            malformed: (
                form(part(NAME, NAME)),
                form(part(NAME, " folded")),
                form(part(NAME, "Content-Type : text/plain")),
                form(part(NAME, "Content-Type: text/plain", "content-type: text/plain")),
                form(part(NAME, "Content-Encoding: gzip")),
                form(part(NAME, "X: y")),
                form(part(NAME + "\nContent-Type: text/plain")),
                form(part(NAME + "\0")),
            ),
            unusual: (
                form(part("Content-Type: text/plain")),
                form(part("Content-Disposition: form-data")),
                form(part("Content-Disposition: attachment; name=a")),
                form(part("Content-Disposition: FORM-DATA; name=a")),
                form(part('Content-Disposition: form-data; filename="x"; name="a"')),
                form(part('Content-Disposition: form-data; name="a"; name="b"')),
                form(part('Content-Disposition: form-data; name="a"; filename="b"; filename="c"')),
                form(part('Content-Disposition: form-data; name="a\\"b"')),
                form(part("Content-Disposition: form-data; name='a'")),
                form(part('Content-Disposition: form-data; name="a" x')),
                form(part("Content-Disposition: form-data; name*=utf-8''a")),
            ),
            "its form has a part with a Content-Transfer-Encoding": (
                form(part(NAME, "Content-Transfer-Encoding: base64")),
            ),
            "its form has a part whose Content-Length is wrong": (form(part(NAME, "Content-Length: 2")),),
            "its form has a field that states a charset": (
                form(part('Content-Disposition: form-data; name="_charset_"', content="utf-7")),
            ),
            "its form has a file whose name has only an extended notation (filename*)": (
                form(part(NAME + "; filename*=utf-8''x")),
            ),
            "its form has a part with an unusual Content-Type": (
                form(part(NAME, "Content-Type: text")),
                form(part(NAME, "Content-Type:")),
                form(part(NAME, "Content-Type: text/plain, text/html")),
            ),
        }.items():
            for body in bodies:
                with self.subTest(body):
                    self.assertEqual(self.refuse(body), expected)

    def test_work(self) -> None:
        self.assertEqual(len(self.read(form(*[part(NAME)] * MAX_PARTS))), MAX_PARTS)
        for count in (MAX_PARTS + 1, 5000):
            error = self.assertRaises(TooMuchWork, self.read, form(*[part(NAME)] * count))
            self.assertEqual(error.cause, "its form has more than 150 parts")
        long = form(part(NAME, content="x" * 2_000_000))
        self.assertEqual(len(self.read(long)), 1)
        error = self.assertRaises(TooMuchWork, self.read, form(part(NAME, content="x" * 2 * MAX_WORK)))
        self.assertEqual(error.cause, "its form of 7,000,058 bytes takes long to split")
        # A search for these boundaries takes long in content that nearly matches.
        for boundary in ("x" * 8, "abcabcabcabc", "--b--"):
            self.assertRaises(TooMuchWork, self.read, long.replace(b"--B", b"--" + boundary.encode()), boundary)
        self.assertEqual(len(self.read(long.replace(b"--B", b"-------B"), "-----B")), 1)
        headers = form(*[part(NAME + f'; filename="{"f" * 3900}"')] * 40)
        error = self.assertRaises(TooMuchWork, self.read, headers)
        self.assertEqual(error.cause, "its form has long headers")

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.text(alphabet="xB-\r\n", max_size=9)), max_size=4))
    def test_round_trip(self, fields: list[tuple[str, str]]) -> None:
        """A form that can be read has the fields that were written."""
        body = form(*(part(NAME.replace('"a"', f'"{name}"'), content=value) for name, value in fields))
        try:
            found = self.read(body)
        except AmbiguousForm:
            self.assertTrue(any("--B" in value for _, value in fields), body)
        else:
            self.assertEqual([(one.names, one.values(body)) for one in found], [({n}, {v}) for n, v in fields])
