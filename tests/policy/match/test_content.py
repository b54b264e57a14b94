"""Tests for L{egress.policy.match.content}."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import brotli
from twisted.trial.unittest import SynchronousTestCase

from egress.model.message import Direction, Message, MessageKind
from egress.policy.match.content import UNREAD, RequestContent
from egress.policy.match.form import NO_FORM, Form
from egress.policy.match.header_fields import read_fields
from egress.policy.match.json_body import NOTHING, UNREADABLE, Document
from egress.policy.match.work_budget import TooMuchWork, WorkBudget
from tests.policy.match.test_form import matches
from tests.policy.match.test_multipart import form, part
from tests.policy.policies import request

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
GZIP = ("Content-Encoding", "gzip")


def content(*headers: tuple[str, str], kind: str = JSON, **given: Any) -> RequestContent:
    """Return the content of a request."""
    found = request("POST", "http://a.test/", headers=[("Content-Type", kind), *headers], **given)
    return RequestContent(found, read_fields(found.headers), WorkBudget())


class JsonTests(SynchronousTestCase):
    """Content as JSON."""

    def json(self, *headers: tuple[str, str], **given: Any) -> object:
        found = content(*headers, **given).json
        return found.value if isinstance(found, Document) else found

    def fault(self, *headers: tuple[str, str], **given: Any) -> str | None:
        found = content(*headers, **given)
        self.assertIs(found.json, UNREADABLE)
        self.assertIs(found.json, UNREADABLE)
        return found.fault("json")

    def test_json(self) -> None:
        body = b'{"a":1}'
        self.assertEqual(self.json(body=body), {"a": 1})
        self.assertIs(self.json(body=body, kind="text/vnd.x"), UNREADABLE)
        self.assertEqual(self.json(("Content-Encoding", "Identity"), body=body), {"a": 1})
        self.assertIs(self.json(), NOTHING)
        self.assertIs(self.json(body=b""), NOTHING)
        self.assertIs(self.json(body_withheld=True, content_length=7), UNREAD)
        # Empty content is empty regardless of its type.
        self.assertIs(self.json(body=b"", kind="text/plain"), NOTHING)
        self.assertIs(self.json(("Content-Encoding", "xz"), body=b""), NOTHING)
        self.assertIs(self.json(body_withheld=True, content_length=7, kind="text/plain"), UNREADABLE)
        self.assertIsNone(content(body=body).fault("json"))

    def test_unreadable(self) -> None:
        body = b'{"a":1}'
        for expected, headers, given in (
            ("its content is not JSON that all servers read in the same way", (), {"body": b"{"}),
            ("only the beginning of its content is known", (), {"body": body, "body_truncated": True}),
            # There is content, but it is neither included nor withheld.
            ("its content is unknown", (), {"content_length": None}),
            ("its content is unknown", (), {"content_length": 7}),
            (
                "its Content-Type is not a JSON type, and servers may interpret it in any way",
                (),
                {"body": body, "kind": FORM},
            ),
        ):
            self.assertEqual(self.fault(*headers, **given), expected)

    def test_codings(self) -> None:
        body = b'{"a": "%s"}' % (b"b" * 99)
        for codings, encoded in (
            ("gzip", gzip.compress(body)),
            ("deflate", zlib.compress(body)),
            ("br", brotli.compress(body)),
            ("gzip, br", brotli.compress(gzip.compress(body))),
            # A server that reads only one member gets an incomplete object.
            ("gzip", gzip.compress(body[:9]) + gzip.compress(body[9:])),
        ):
            self.assertEqual(self.json(("Content-Encoding", codings), body=encoded), {"a": "b" * 99}, codings)
        self.assertIs(self.json(GZIP, body_withheld=True), UNREAD)

    def test_message(self) -> None:
        """The fields of a request do not describe the messages of its exchange."""
        event = Message(MessageKind.SSE, Direction.ORIGIN, "message", 1)
        self.assertEqual(self.json(GZIP, body=b'{"a":1}', message=event), {"a": 1})

    def test_undecodable(self) -> None:
        encoded = gzip.compress(b'{"a":1}')
        fix = "(send it without Content-Encoding)"
        for expected, headers, given in (
            (f"its content is not complete, valid gzip {fix}", (GZIP,), {"body": encoded[:-1]}),
            (f"its content is not complete, valid gzip {fix}", (GZIP,), {"body": b'{"a":1}'}),
            ("only the beginning of its content is known", (GZIP,), {"body": encoded, "body_truncated": True}),
            (
                f"its Content-Encoding is repeated, or has an unusual spelling {fix}",
                (GZIP, ("content_encoding", "identity")),
                # It is not read first.
                {"body_withheld": True},
            ),
            ("its content is not JSON that all servers read in the same way", (GZIP,), {"body": gzip.compress(b"")}),
            (
                "its content has several compressed members, and no object or array",
                (GZIP,),
                {"body": gzip.compress(b"1") + gzip.compress(b"2")},
            ),
        ):
            self.assertEqual(self.fault(*headers, **given), expected)

    def test_json_before_decoding(self) -> None:
        """Servers that ignore content codings read other JSON."""
        compressor = zlib.compressobj(0, wbits=31)
        gzipped = compressor.compress(b'{"a":1}') + compressor.flush()
        found = content(("Content-Encoding", "br"), body=brotli.compress(gzipped))
        self.assertIs(found.json, UNREADABLE)
        for data, expected in (
            (gzipped, False),
            (zlib.compress(b"x"), False),
            (b"\x0b\x02\x80hello\x03", False),
            (b"", False),
            (b"[\x1b\x90", False),
            (b'{"a":1}\x90', True),
            (b'\xef\xbb\xbf [1,"\x01"]\0', True),
            (b"7\x90", True),
            (b"[" * 100_000, True),
            (b"{\0}\0", True),
        ):
            self.assertIs(found.may_be_json(data), expected, data[:9])
        # Without a zlib header, the compressed number 0 begins with the number 3.
        compressor = zlib.compressobj(wbits=-15)
        deflated = compressor.compress(b"0") + compressor.flush()
        self.assertEqual(deflated[:1], b"3")
        fault = self.fault(("Content-Encoding", "deflate"), body=deflated)
        self.assertEqual(fault, "its content is JSON before it is decoded, too")

    def test_work(self) -> None:
        body = gzip.compress(b'{"a": "%s"}' % b"0123456789".join(b"%d" % n for n in range(60_000)))
        error = self.assertRaises(TooMuchWork, self.json, GZIP, body=body)
        self.assertEqual(error.cause, "its compressed content takes long to decode")
        found = content()
        error = self.assertRaises(TooMuchWork, found.may_be_json, b"[" + b"x" * 900_000)
        self.assertEqual(error.cause, "its compressed content takes long to check")


class FormTests(SynchronousTestCase):
    """Content as a form."""

    def test_forms(self) -> None:
        for kind, body in (
            (FORM, b"a=1&b=2"),
            ("multipart/form-data; boundary=B", form(part('Content-Disposition: form-data; name="a"', content="1"))),
        ):
            for headers, sent in (((), body), ((GZIP,), gzip.compress(body))):
                found = content(*headers, kind=kind, body=sent).form
                assert isinstance(found, Form)
                self.assertEqual(matches(found, "a", "1").value, "yes")
            self.assertIs(content(kind=kind, body_withheld=True, content_length=9).form, UNREAD)
            self.assertIs(content(kind=kind).form, NO_FORM)

    def test_unreadable(self) -> None:
        other = (
            "its Content-Type is not that of a form, or has unusual parameters, and servers may interpret it in any way"
        )
        for expected, headers, given in (
            (other, (), {"kind": JSON, "body_withheld": True}),
            ("its form is not UTF-8", (), {"kind": FORM, "body": b"\xff"}),
            (
                "its form has several compressed members, and some servers read only one",
                (GZIP,),
                {"kind": FORM, "body": gzip.compress(b"a=1") + gzip.compress(b"&b=2")},
            ),
        ):
            found = content(*headers, **given)
            self.assertIs(found.form, UNREADABLE)
            self.assertEqual(found.fault("form"), expected)
