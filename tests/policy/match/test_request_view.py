"""Tests for L{egress.policy.match.request_view}."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Call, Kind
from egress.policy.match.json_body import NOTHING
from egress.policy.match.request_view import UNCERTAIN, RequestView
from tests.policy.policies import request


class RequestViewTests(SynchronousTestCase):
    """The attributes of a request."""

    def test_content(self) -> None:
        view = RequestView(request("POST", "http://a.test/", headers=[("Content-Type", "application/json")]), None)
        self.assertIs(view.content.json, NOTHING)
        self.assertIs(view.content, view.content)

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
