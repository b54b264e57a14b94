"""Tests for L{egress.model.request_preview}."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.request_preview import preview_of, redact_content, redact_field
from tests.policy.policies import request

TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ"


def preview(body: bytes | None, headers: tuple[tuple[str, str], ...] = (), **given: Any) -> dict[str, Any]:
    return preview_of(request("POST", "http://a.test/", body=body, headers=headers, **given))


class FieldTests(SynchronousTestCase):
    """Header fields."""

    def test_redacted(self) -> None:
        for name, value, expected in (
            ("Authorization", "Bearer abc", "Bearer REDACTED"),
            ("Authorization", "abc", "REDACTED"),
            ("authorization", "Basic dXNlcjpwdw==", "Basic REDACTED"),
            ("Cookie", "a=b; c=d", "REDACTED"),
            ("X-Api-Key", "k", "REDACTED"),
            ("X-Amz-Security-Token", "k", "REDACTED"),
            ("Accept", "text/html, */*", "text/html, */*"),
            ("X-Anything", TOKEN, "REDACTED"),
            ("X-Anything", f"token {TOKEN}", "token REDACTED"),
            ("Referer", "https://ann:pw@b.test/?q=1&access_token=x", "https://REDACTED@b.test/?q=1&REDACTED"),
        ):
            with self.subTest(name, value=value):
                self.assertEqual(redact_field(name, value), expected)

    def test_bounds(self) -> None:
        """Many and long fields are cut; characters that control a terminal or reorder text are replaced."""
        fields = (
            ("n" * 200, "v" * 1000),
            ("X-A", "a\x1b[31m\u202eb\n"),
            *(("x", str(number)) for number in range(100)),
        )
        found = preview(None, fields)
        self.assertEqual((len(found["headers"]), found["moreHeaders"], found["content"]), (64, 38, None))
        self.assertEqual([len(text) for text in found["headers"][0]], [103, 503])
        self.assertEqual(found["headers"][1], ["X-A", "a\ufffd[31m\ufffdb\ufffd"])


class ContentTests(SynchronousTestCase):
    """The content."""

    def test_json(self) -> None:
        """The text stays as it is, apart from the values of secret keys."""
        for text, expected in (
            ('{"a": 1, "password": "x\\"y", "b": [true]}', '{"a": 1, "password": "REDACTED", "b": [true]}'),
            ('{"api_key" : {"id": [1, {"x": 2}]}, "c": 3}', '{"api_key" : "REDACTED", "c": 3}'),
            ('{"tokens": ["a", "b"], "c": "tokens"}', '{"tokens": "REDACTED", "c": "tokens"}'),
            ('{"secret": 12}', '{"secret": "REDACTED"}'),
            ('{"secret": "a", "secret": "b"}', '{"secret": "REDACTED", "secret": "REDACTED"}'),
            # Truncated and invalid content.
            ('{"a": "b", "password": "unfini', '{"a": "b", "password": "REDACTED"'),
            ('{"password"', '{"password"'),
            ('{"password":', '{"password":'),
            ('{"password": }', '{"password": }'),
            ('["password", "a"]', '["password", "a"]'),
            (f'{{"note": "use {TOKEN}, ok"}}', '{"note": "use REDACTED, ok"}'),
        ):
            with self.subTest(text):
                self.assertEqual(redact_content(text, "application/json"), expected)
                self.assertEqual(redact_content(text), expected, "without a type")

    def test_other_formats(self) -> None:
        form = "name=ann&password=hunter2&next=https%3A%2F%2Fb.test%2F%3Ftoken%3Dx"
        self.assertEqual(
            redact_content(form, "application/x-www-form-urlencoded; charset=utf-8"),
            "name=ann&password=REDACTED&next=REDACTED",
        )
        part = '--b\r\nContent-Disposition: form-data; name="{}"\r\nX: y\r\n\r\n{}\r\n'
        multipart = part.format("password", "hunter2") + part.format("file", "data") + "--b--\r\n"
        self.assertEqual(
            redact_content(multipart, "multipart/form-data; boundary=b"), multipart.replace("hunter2", "REDACTED")
        )
        self.assertEqual(redact_content(f"<a>{TOKEN}</a> <b>1</b>", "text/xml"), "<a>REDACTED</a> <b>1</b>")
        self.assertEqual(redact_content("Bearer abcdefghijk, or not"), "REDACTED, or not")

    def test_shown(self) -> None:
        found = preview(b'{\r\n\t"a": "\xc3\xa9\x1b"}', (("Content-Type", "application/json"),))["content"]
        self.assertEqual(
            found,
            {"type": "application/json", "text": '{\n\t"a": "\u00e9\N{REPLACEMENT CHARACTER}"}', "truncated": False},
        )

    def test_not_text(self) -> None:
        compressed = (("Content-Encoding", "gzip"),)
        for body, headers in ((b"\xff\xfe", ()), (b"a\0b", ()), (b"text", compressed), (b"a\xc3", ())):
            with self.subTest(body=body):
                self.assertIsNone(preview(body, headers)["content"]["text"])
        self.assertEqual(preview(b"text", (("Content-Encoding", "identity"),))["content"]["text"], "text")
        sent = request("POST", "http://a.test/", body=b"\x1f\x8b", headers=compressed)
        found = preview_of(sent, b'{"password": "x", "a": 1}')["content"]
        self.assertEqual((found["text"], found["truncated"]), ('{"password": "REDACTED", "a": 1}', False))
        # The shown part ends in bytes that no character begins with.
        self.assertIsNone(preview(b"\xff" * 40000)["content"]["text"])

    def test_long(self) -> None:
        """A part of the content is shown, up to a whole character."""
        for body in (b"a" * 8193, "\U0001f600".encode() * 9000, b"a" + "\u00e9".encode() * 20000):
            found = preview(body)["content"]
            self.assertEqual((len(found["text"]), found["truncated"]), (8192, True))
        self.assertEqual(preview(b"a" * 8192)["content"]["truncated"], False)
        self.assertEqual(preview(b"a", body_truncated=True)["content"], {"type": "", "text": "a", "truncated": True})
        # What follows the shown part does not matter.
        self.assertEqual(len(preview(b"a" * 40000 + b"\xff")["content"]["text"]), 8192)

    def test_hostile(self) -> None:
        """Content that is made to take time takes little: 0.1 s for twice the length that is shown is a lot."""
        types = ("application/json", "multipart/form-data", "application/x-www-form-urlencoded")
        for text in (
            *('{"', "[", '"\\', '{"password":', "a=", "%41=", "a@", "https://", "x "),
            "content-disposition: form-data; name=a\r\n",
        ):
            for media in types:
                began = time.process_time()
                found = preview((text * (32768 // len(text))).encode(), (("Content-Type", media),))
                self.assertLess(time.process_time() - began, 1, f"{text!r} as {media}")
                self.assertLess(len(json.dumps(found)), 100_000)
