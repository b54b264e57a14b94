"""Tests for L{egress.proxy.session_refusal}; see also the sessions."""

from __future__ import annotations

from egress.http.events import HTTP_1_1, NO_BODY, RequestHead
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity
from egress.model.errors import BadRequest, Denied, UnsupportedRequest
from egress.proxy.session_refusal import fault_response, recorded_refusal, report_refusal
from egress.proxy.tunnel_binding import TunnelBinding
from tests.proxy.fakes import WALL, ProxyTestCase, deny, status_of

CLIENT = ClientIdentity("198.51.100.7", 40000, None, b"")
HEAD = RequestHead(
    method="GET",
    target=b"/a",
    version=HTTP_1_1,
    headers=(),
    framing=NO_BODY,
    host=b"origin.test",
    keep_alive=True,
    connection_options=frozenset(),
    upgrade=None,
    expects_continue=False,
    proxy_authorization=None,
    accept=None,
)
ORIGIN = Origin("https", Authority("origin.test", 443))


class RefusalTests(ProxyTestCase):
    """Each refusal has one record."""

    def test_input_that_cannot_be_parsed(self) -> None:
        response = fault_response(self.proxy.parts, CLIENT, BadRequest("no"))
        self.assertEqual(status_of(response), 400)
        self.assertIn(b"Connection: close\r\n", response)
        (record,) = self.records
        self.assertEqual((record.outcome, record.method, record.url), ("bad-request", "", ""))
        self.assertIn(record.request_id.encode(), response)

    def test_a_request(self) -> None:
        request_id = recorded_refusal(self.proxy.parts, CLIENT, TunnelBinding(ORIGIN, CLIENT), HEAD, BadRequest("no"))
        (record,) = self.records
        self.assertEqual((record.request_id, record.outcome), (request_id, "bad-request"))
        self.assertEqual((record.method, record.url), ("GET", "https://origin.test/a"))

    def test_the_record(self) -> None:
        error = UnsupportedRequest("gzip")
        name = report_refusal(self.proxy.parts.authz, CLIENT, error, "POST", "http://origin.test/")
        (record,) = self.records
        self.assertEqual((record.request_id, record.time, record.client), (name, WALL, CLIENT))
        self.assertEqual((record.method, record.url), ("POST", "http://origin.test/"))
        self.assertEqual(
            (record.verdict, record.outcome, record.reason, record.status, record.decided_by),
            ("rejected", "unsupported-request", "gzip", 501, "proxy"),
        )

    def test_a_refused_tunnel(self) -> None:
        """The tunnel has a record; requests inside it get the id of that record."""
        binding = TunnelBinding(ORIGIN, CLIENT, Denied(deny()), "id-of-the-tunnel")
        error = binding.refusal
        assert error is not None
        self.assertEqual(recorded_refusal(self.proxy.parts, CLIENT, binding, HEAD, error), "id-of-the-tunnel")
        self.assertEqual(self.records, [])
