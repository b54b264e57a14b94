"""Tests for L{egress.policy.match.request_view}."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Call, Kind
from egress.policy.match.json_body import NOTHING, UNREADABLE, Document
from egress.policy.match.request_view import UNCERTAIN, UNREAD, RequestView
from tests.policy.policies import request


class RequestViewTests(SynchronousTestCase):
    """The attributes of a request."""

    def json(self, *headers: tuple[str, str], kind: str = "application/json", **given: object) -> object:
        found = RequestView(
            request("POST", "http://a.test/", headers=[("Content-Type", kind), *headers], **given), None
        ).json
        return found.value if isinstance(found, Document) else found

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
        self.assertIs(self.json(body_withheld=True, content_length=7, kind="text/plain"), UNREADABLE)

    def test_ambiguous_content(self) -> None:
        body = b'{"a":1}'
        for name in ("content-encoding", "Content_Encoding"):
            self.assertIs(self.json((name, "gzip"), body=body), UNREADABLE)
            self.assertIs(self.json((name, "identity"), (name, "br"), body_withheld=True), UNREADABLE)
        self.assertIs(self.json(body=body, body_truncated=True), UNREADABLE)
        # There is content, but it is neither included nor withheld.
        self.assertIs(self.json(content_length=None), UNREADABLE)
        self.assertIs(self.json(content_length=7), UNREADABLE)

    def test_grpc(self) -> None:
        def grpc(*headers: tuple[str, str]) -> object:
            return RequestView(request("POST", "http://a.test/a.B/C", headers=headers), None).grpc

        kind = ("Content-Type", "application/grpc")
        self.assertEqual(grpc(kind), Call(Kind.GRPC, "proto", "a.B", "C"))
        self.assertIs(grpc(kind, kind), UNCERTAIN)
        self.assertIsNone(grpc())

    def test_client(self) -> None:
        for text, expected in (("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("::1", "::1")):
            self.assertEqual(
                RequestView(request("GET", "http://a.test/", address=text), None).client, ip_address(expected)
            )
        self.assertIsNone(RequestView(request("GET", "http://a.test/", address="/run/socket"), None).client)

    def test_addresses(self) -> None:
        given = (ip_address("192.0.2.1"),)
        self.assertEqual(RequestView(request("GET", "http://a.test/", addresses=given), None).addresses, given)
        self.assertEqual(RequestView(request("GET", "http://a.test/"), None).addresses, ())
        self.assertEqual(
            RequestView(request("GET", "http://[::1]/", addresses=given), None).addresses, (ip_address("::1"),)
        )
