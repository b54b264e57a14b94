"""Tests for L{egress.proxy.exchange}."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from egress.config.model import Limits, OversizeBody, Resolve
from egress.model.authority import Authority, Origin, UpstreamProxy, parse_ip
from egress.model.decision import Decision, Verdict
from egress.model.errors import (
    AddressForbidden,
    AuthorizerUnavailable,
    NameNotResolved,
    OriginCertificateInvalid,
    OriginConnectTimeout,
    OriginUnreachable,
    ResolutionTimeout,
)
from egress.model.recorded_headers import AuditHeaders
from egress.model.route import Purpose, Route
from egress.model.trace import ExchangeTrace
from egress.proxy.exchange import IDEMPOTENT, Exchange
from egress.tracing.sampler import Sampler
from egress.tracing.tracer import Tracer
from tests.proxy.fakes import (
    LOCAL,
    SWITCH,
    UPGRADE,
    WALL,
    ProxyTestCase,
    allow,
    allow_with,
    broken,
    content_of,
    deny,
    request,
    response,
    session_of,
    status_of,
)

ORIGIN = Origin("http", Authority("origin.test", 80))
MORE = Decision(Verdict.NEED_BODY, "content, please", "script")


LATE = response(b"", "Connection: close", status="408 Request Timeout")


class DecisionTests(ProxyTestCase):
    """Authorization requests and the effect of decisions."""

    def test_the_authorization_request(self) -> None:
        self.client.feed(
            request(
                "POST", "http://ORIGIN.test:80/a?b=%20c", "X-A: 1", "Connection: X-A", "Accept: x/y", body=b"content"
            )
        )
        (asked,) = self.authorizer.asked
        self.assertEqual((asked.request_id, asked.method, asked.url), ("id-1", "POST", "http://origin.test/a?b=%20c"))
        self.assertEqual(asked.body, b"content")
        self.assertFalse(asked.body_truncated)
        self.assertEqual(asked.headers, ((b"Host", b"origin.test"), (b"Accept", b"x/y"), (b"Content-Length", b"7")))
        self.assertEqual(self.dialer.checked, [(ORIGIN, Purpose.REQUEST)])
        self.assertEqual(self.dialer.checked_for, ["198.51.100.7"])

    def test_the_forwarded_request(self) -> None:
        self.client.feed(request("POST", "http://origin.test/a?b", "Accept: x/y", body=b"content"))
        self.assertEqual(
            self.origin.take(),
            b"POST /a?b HTTP/1.1\r\nHost: origin.test\r\nAccept: x/y\r\nContent-Length: 7\r\n"
            b"Via: 1.1 egressproxy\r\n\r\ncontent",
        )
        self.origin.feed(response(b"answer", "X-B: 2"))
        self.assertEqual(
            self.client.take(),
            b"HTTP/1.1 200 OK\r\nX-B: 2\r\nContent-Length: 6\r\nVia: 1.1 egressproxy\r\n\r\nanswer",
        )
        (record,) = self.records
        self.assertEqual(
            (record.time, record.request_id, record.stage, record.method, record.url),
            (WALL, "id-1", "request", "POST", "http://origin.test/a?b"),
        )
        self.assertEqual(
            (record.verdict, record.outcome, record.reason, record.decided_by, record.rule_id),
            ("allow", "forwarded", "ok", "script", "rule-1"),
        )
        self.assertEqual((record.status, record.bytes_sent, record.bytes_received), (200, 7, 6))
        self.assertEqual((record.client_http, record.origin_http), ("1.1", "1.1"))

    def test_an_old_client(self) -> None:
        """The record has the version of the client."""
        self.client.feed(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.origin.feed(response())
        (record,) = self.records
        self.assertEqual((record.client_http, record.origin_http), ("1.0", "1.1"))

    def test_nothing_is_sent_before_the_decision(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(request("POST", body=b"content"))
        self.clock.advance(1000)
        self.assertEqual(self.dialer.dialled, [])
        self.assertEqual(self.client.written, b"")
        decision.callback(allow())
        self.assertEqual(len(self.dialer.dialled), 1)
        self.origin.feed(response())
        self.assertEqual(self.records[0].decision_seconds, 1000)
        self.assertEqual(self.records[0].duration, 1000)

    def test_a_denied_request_is_never_dialled(self) -> None:
        self.authorizer.answers = [deny("no")]
        self.client.feed(request("POST", body=b"content"))
        self.assertEqual(self.dialer.dialled, [])
        (record,) = self.records
        self.assertEqual(
            (record.verdict, record.outcome, record.reason, record.status, record.rule_id),
            ("deny", "denied", "no", 403, "rule-2"),
        )
        self.assertEqual(record.bytes_sent, 0)
        self.assertEqual((record.client_http, record.origin_http), ("1.1", None))

    def test_names_that_the_guard_refuses_are_not_authorized(self) -> None:
        self.dialer.judgements = [AddressForbidden("loopback")]
        self.client.feed(request())
        self.assertEqual(status_of(self.client.written), 403)
        self.assertEqual((self.authorizer.asked, self.dialer.looked_up), ([], []))
        (record,) = self.records
        self.assertEqual((record.verdict, record.decided_by, record.decision_seconds), ("deny", "proxy", None))

    def test_a_forbidden_address_is_refused_despite_an_allow(self) -> None:
        self.dialer.checks = [AddressForbidden("loopback")]
        self.client.feed(request())
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (403, []))
        (record,) = self.records
        self.assertEqual(
            (record.verdict, record.outcome, record.decided_by, record.rule_id),
            ("deny", "address-forbidden", "proxy", None),
        )
        self.assertIsNotNone(record.decision_seconds)

    def test_a_name_without_an_address_is_authorized(self) -> None:
        for error, status, outcome in (
            (NameNotResolved("no address"), 502, "name-not-resolved"),
            (ResolutionTimeout("silence"), 504, "resolution-timeout"),
        ):
            with self.subTest(outcome):
                self.dialer.checks = [error]
                self.authorizer.answers = [deny(), allow()]
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), 403)
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), status)
                self.assertEqual(self.outcomes()[-2:], ["denied", outcome])
        self.assertEqual(self.dialer.dialled, [])

    def test_a_pooled_connection_saves_the_check_but_not_the_authorization(self) -> None:
        for _ in range(2):
            self.client.feed(request())
            self.origin.feed(response())
        self.assertEqual((len(self.dialer.checked), len(self.authorizer.asked)), (1, 2))

    def test_the_pooled_connection_was_taken_by_another_request(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        other = self.connect()
        decision = self.authorizer.pending()
        self.client.feed(request())
        other.feed(request())
        decision.callback(allow())
        self.assertEqual((len(self.dialer.checked), len(self.dialer.dialled)), (2, 2))
        for wire in self.dialer.origins:
            wire.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded"] * 3)

    def test_a_head_that_was_made_in_advance(self) -> None:
        """With an idle connection, the head is made while the authorizer decides; its obligations still apply."""
        for answer, expected in ((allow(), b"X-A: 1\r\n"), (allow_with(set_headers=((b"X-A", b"2"),)), b"X-A: 2\r\n")):
            self.client.feed(request())
            self.origin.feed(response())
            self.origin.take()
            decision = self.authorizer.pending()
            self.client.feed(request("GET", "http://origin.test/b", "X-A: 1"))
            self.assertEqual((self.origin.take(), self.outcomes()[-1]), (b"", "forwarded"))
            decision.callback(answer)
            head = self.origin.take()
            self.assertTrue(head.startswith(b"GET /b HTTP/1.1\r\nHost: origin.test\r\n"), head)
            self.assertIn(expected, head)
            self.assertEqual(head.count(b"X-A"), 1)
            self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded"] * 4)

    def test_an_address_that_became_forbidden_meanwhile(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.proxy.pool.close()
        self.dialer.checks = [AddressForbidden("loopback")]
        decision.callback(allow())
        self.assertEqual(len(self.dialer.dialled), 1)
        self.assertEqual((self.records[1].verdict, self.records[1].outcome), ("deny", "address-forbidden"))

    def test_options_of_the_server_as_a_whole(self) -> None:
        self.client.feed(request("OPTIONS", "http://origin.test"))
        self.assertTrue(self.origin.take().startswith(b"OPTIONS * HTTP/1.1\r\n"))
        self.origin.feed(response())
        self.assertEqual(self.records[0].url, "http://origin.test")


class DialTests(ProxyTestCase):
    """Errors on the way to the origin."""

    def test_each_error_has_its_response(self) -> None:
        table = [
            (OriginUnreachable("refused"), 502, "origin-unreachable"),
            (OriginConnectTimeout("silent"), 504, "origin-connect-timeout"),
            (OriginCertificateInvalid("expired"), 502, "origin-certificate-invalid"),
        ]
        for error, status, outcome in table:
            with self.subTest(outcome):
                self.dialer.dials = [error]
                self.client.feed(request())
                answer = self.client.take()
                self.assertEqual((status_of(answer), self.outcomes()[-1]), (status, outcome))
                self.assertEqual(json.loads(content_of(answer))["reason"], error.reason)
                self.assertEqual(self.records[-1].verdict, "allow")
        self.assertFalse(self.client.disconnecting)

    def test_the_client_disconnects_during_the_address_check(self) -> None:
        self.dialer.pending(self.dialer.checks)
        self.client.feed(request())
        self.client.lose()
        self.assertEqual((self.dialer.cancelled, self.outcomes()), (1, ["client-disconnected"]))
        self.assertEqual(self.records[0].verdict, "allow")

    def test_the_client_disconnects_during_authorization(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.client.lose(ConnectionLost())
        self.assertEqual((self.authorizer.cancelled, self.outcomes()), (1, ["client-disconnected"]))
        self.assertEqual(self.records[0].status, None)
        self.assertTrue(decision.called)
        self.assertEqual(self.dialer.dialled, [])

    def test_the_client_disconnects_while_dialling(self) -> None:
        self.dialer.pending(self.dialer.dials)
        self.client.feed(request())
        self.client.lose()
        self.assertEqual((self.dialer.cancelled, self.outcomes()), (1, ["client-disconnected"]))
        self.assertEqual(self.records[0].verdict, "allow")

    def test_an_authorizer_that_fails_when_cancelled(self) -> None:
        from twisted.internet.defer import Deferred

        decision: Deferred[object] = Deferred(lambda _: decision.errback(RuntimeError("aborted")))
        self.authorizer.answers = [decision]
        self.client.feed(request())
        self.client.lose()
        self.assertEqual(self.outcomes(), ["client-disconnected"])
        self.assertFalse(self.client.aborted)

    def test_an_authorizer_that_ignores_cancellation(self) -> None:
        from twisted.internet.defer import Deferred

        decision: Deferred[object] = Deferred(lambda _: decision.callback(allow()))
        self.authorizer.answers = [decision]
        self.client.feed(request())
        self.client.lose()
        self.assertEqual(self.dialer.dialled, [])
        self.assertEqual(self.outcomes(), ["client-disconnected"])


class ContentTests(ProxyTestCase):
    """Content is collected for an authorizer that reads it."""

    def setUp(self) -> None:
        self.build(limits=Limits(body=10))

    def test_content_in_pieces(self) -> None:
        data = request("POST", body=b"0123456789")
        for index in range(len(data)):
            self.client.feed(data[index : index + 1])
        self.assertEqual([asked.body for asked in self.authorizer.asked], [b"0123456789"])
        self.assertTrue(self.origin.written.endswith(b"\r\n\r\n0123456789"))
        self.origin.feed(response())
        self.assertEqual(self.records[0].bytes_sent, 10)

    def test_no_content_is_passed_as_none(self) -> None:
        self.client.feed(request("POST", "http://origin.test/", "Content-Length: 0"))
        self.assertIsNone(self.authorizer.asked[0].body)
        self.assertIn(b"Content-Length: 0\r\n", self.origin.written)

    def test_chunked_content_with_trailers(self) -> None:
        self.client.feed(
            request("POST", "http://origin.test/", "Transfer-Encoding: chunked")
            + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n"
        )
        self.assertEqual(self.authorizer.asked[0].body, b"abcde")
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\n5\r\nabcde\r\n0\r\nX-Sum: 7\r\n\r\n"))

    def test_empty_chunked_content(self) -> None:
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
        self.assertIsNone(self.authorizer.asked[0].body)
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\n0\r\n\r\n"))

    def test_announced_over_the_limit(self) -> None:
        self.client.feed(request("POST", body=b"x" * 11))
        self.assertEqual(status_of(self.client.written), 413)
        self.assertEqual((self.outcomes(), self.authorizer.asked), (["content-too-large"], []))

    def test_collected_over_the_limit(self) -> None:
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + b"6\r\nabcdef\r\n")
        self.assertEqual(self.records, [])
        self.client.feed(b"6\r\nabcdef\r\n")
        self.assertEqual(status_of(self.client.written), 413)
        self.assertIn(b"Connection: close", self.client.written)
        self.assertEqual((self.outcomes(), self.authorizer.asked), (["content-too-large"], []))
        self.client.feed(b"0\r\n\r\n")
        self.assertTrue(self.client.disconnected)

    def test_malformed_content(self) -> None:
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + b"zz\r\n")
        self.assertEqual(status_of(self.client.written), 400)
        self.assertEqual((self.outcomes(), self.authorizer.asked), (["bad-request"], []))

    def test_slow_content(self) -> None:
        self.client.feed(request("POST", body=b"abc")[:-2])
        self.clock.advance(30)
        self.assertEqual((status_of(self.client.written), self.outcomes()), (408, ["request-timeout"]))
        self.assertEqual(self.authorizer.asked, [])

    def test_truncated_for_the_authorizer_but_not_for_the_origin(self) -> None:
        self.build(limits=Limits(body=10), oversize_body=OversizeBody.TRUNCATE)
        decision = self.authorizer.pending()
        data = request("POST", body=b"0123456789ABCDEF")
        self.client.feed(data[:-3])
        (asked,) = self.authorizer.asked
        self.assertEqual((asked.body, asked.body_truncated), (b"0123456789", True))
        self.client.feed(data[-3:])
        self.assertTrue(self.client.paused, "no data is buffered meanwhile")
        decision.callback(allow())
        self.clock.advance(0)
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\n0123456789ABCDEF"))
        self.origin.feed(response())
        self.assertEqual((self.outcomes(), self.records[0].bytes_sent), (["forwarded"], 16))
        self.assertFalse(self.client.disconnecting)

    def test_denied_based_on_the_first_part(self) -> None:
        self.build(limits=Limits(body=10), oversize_body=OversizeBody.TRUNCATE)
        self.authorizer.answers = [deny()]
        self.client.feed(request("POST", body=b"0123456789ABCDEF"))
        self.assertEqual(status_of(self.client.take()), 403)
        self.assertEqual(self.dialer.dialled, [])

    def test_an_authorizer_that_reads_no_content_gets_none(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", body=b"x" * 100))
        self.assertIsNone(self.authorizer.asked[0].body)
        self.assertTrue(self.origin.take().endswith(b"x" * 100))
        self.origin.feed(response())
        self.assertEqual(self.records[0].bytes_sent, 100)


class TwoPhaseTests(ProxyTestCase):
    """The authorizer first sees the head, and gets the content if it needs it."""

    def setUp(self) -> None:
        self.build(limits=Limits(body=10))
        self.authorizer.needs_body = False

    def test_facts_about_withheld_content(self) -> None:
        for fields, body, withheld, length in (
            ((), b"", False, 0),
            (("Content-Length: 0",), b"", False, 0),
            ((), b"12345", True, 5),
            (("Transfer-Encoding: chunked",), b"", True, None),
        ):
            with self.subTest(length=length):
                client = self.connect()
                client.feed(request("POST", "http://origin.test/", *fields, body=body))
                asked = self.authorizer.asked[-1]
                self.assertEqual(
                    (asked.body, asked.body_withheld, asked.content_length, asked.addresses, asked.addresses_withheld),
                    (None, withheld, length, None, True),
                )

    def test_content_is_collected_when_needed(self) -> None:
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.client.feed(request("POST", body=b"content"))
        self.clock.advance(2)
        first.callback(MORE)
        self.clock.advance(0)
        asked = self.authorizer.asked
        self.assertEqual((len(asked), asked[1].body, asked[1].body_withheld), (2, b"content", False))
        self.assertEqual((asked[1].content_length, asked[1].addresses), (7, None))
        self.assertEqual((asked[0].request_id, self.dialer.dialled), (asked[1].request_id, []))
        self.clock.advance(3)
        second.callback(allow())
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\ncontent"))
        self.origin.feed(response())
        self.assertEqual((self.outcomes(), self.records[0].decision_seconds), (["forwarded"], 5))

    def test_denied_based_on_the_content(self) -> None:
        self.authorizer.answers = [MORE, deny("no")]
        self.client.feed(request("POST", body=b"content"))
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (403, []))
        self.assertEqual((self.outcomes(), self.records[0].reason), (["denied"], "no"))

    def test_content_is_needed_once_at_most(self) -> None:
        self.authorizer.answers = [MORE, MORE]
        self.client.feed(request("POST", body=b"content"))
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (503, []))
        self.assertEqual((self.outcomes(), len(self.authorizer.asked)), (["authorizer-unavailable"], 2))

    def test_content_is_needed_without_content(self) -> None:
        for data in (request(), request("POST", "http://origin.test/", "Content-Length: 0")):
            self.authorizer.answers = [MORE]
            client = self.connect()
            client.feed(data)
            self.assertEqual((status_of(client.written), self.dialer.dialled), (503, []))

    def test_limits_apply(self) -> None:
        self.authorizer.answers = [MORE]
        self.client.feed(request("POST", body=b"x" * 11))
        self.assertEqual((status_of(self.client.written), self.outcomes()), (413, ["content-too-large"]))
        self.assertEqual((self.records[0].verdict, self.records[0].decided_by), ("rejected", "script"))
        client = self.connect()
        self.authorizer.answers = [MORE]
        client.feed(request("POST", body=b"abc")[:-2])
        self.clock.advance(30)
        self.assertEqual((status_of(client.written), self.outcomes()[1:]), (408, ["request-timeout"]))

    def test_truncated(self) -> None:
        self.build(limits=Limits(body=10), oversize_body=OversizeBody.TRUNCATE)
        self.authorizer.needs_body = False
        self.authorizer.answers = [MORE, allow()]
        self.client.feed(request("POST", body=b"0123456789ABCDEF"))
        asked = self.authorizer.asked[1]
        self.assertEqual((asked.body, asked.body_truncated, asked.body_withheld), (b"0123456789", True, False))
        self.assertTrue(self.origin.take().endswith(b"0123456789ABCDEF"))

    def test_the_client_gets_a_100_only_when_content_is_needed(self) -> None:
        data = request("POST", "http://origin.test/a", "Expect: 100-continue", body=b"content")
        head, content = data[:-7], data[-7:]
        self.client.feed(head)
        self.assertEqual(self.client.written, b"", "the origin gets the expectation")
        self.assertIn(b"Expect: 100-continue", self.origin.take())
        self.origin.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertIn(b" 100 ", self.client.take())
        self.client.feed(content)
        self.assertEqual(self.origin.take(), content)
        self.origin.feed(response())
        self.client.take()
        self.authorizer.answers = [MORE]
        self.client.feed(head)
        self.assertEqual(self.client.take(), b"HTTP/1.1 100 Continue\r\n\r\n", "the client gets the 100")
        self.client.feed(content)
        self.assertEqual(self.authorizer.asked[-1].body, b"content")

    def test_the_client_disconnects_while_content_is_collected(self) -> None:
        self.authorizer.answers = [MORE]
        self.client.feed(request("POST", body=b"abc")[:-2])
        self.clock.advance(1)
        self.client.lose()
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome), ("rejected", "client-disconnected"))
        self.assertEqual(record.decision_seconds, 0)

    def test_an_internal_error_while_content_is_collected(self) -> None:
        self.authorizer.answers = [MORE]
        self.patch(self.proxy.parts.contents, "claim", broken)
        self.client.feed(request("POST", body=b"abc"))
        self.assertEqual(self.outcomes(), ["internal-error"])
        self.flushLoggedErrors(RuntimeError)


class AddressTests(ProxyTestCase):
    """The authorized destination is the contacted one, including the addresses if they are known before."""

    OTHER = parse_ip("192.0.2.2")

    def setUp(self) -> None:
        self.build(resolve=Resolve.BEFORE)

    def test_a_pooled_connection_provides_addresses(self) -> None:
        self.use_once()
        self.client.feed(request())
        self.assertEqual([asked.addresses for asked in self.authorizer.asked], [(LOCAL,)] * 2)
        self.assertEqual(len(self.dialer.checked), 1)

    def test_an_upstream_proxy_resolves(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        self.dialer.judgements = [Route(ORIGIN, (), upstream, False, False)]
        self.use_once()
        self.client.feed(request())
        self.assertEqual([asked.addresses for asked in self.authorizer.asked], [None, None])
        self.assertEqual(len(self.dialer.dialled), 1)

    def test_a_name_without_addresses(self) -> None:
        self.dialer.checks = [NameNotResolved("none")]
        self.client.feed(request())
        self.assertIsNone(self.authorizer.asked[0].addresses)

    def test_other_addresses_are_authorized_again(self) -> None:
        self.use_once()
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.proxy.pool.clear()
        assert self.OTHER is not None
        self.dialer.checks = [Route(ORIGIN, (self.OTHER,), None, False, False)]
        self.authorizer.answers = [deny()]
        self.clock.advance(1)
        decision.callback(allow())
        self.assertEqual([asked.addresses for asked in self.authorizer.asked[1:]], [(LOCAL,), (self.OTHER,)])
        self.assertEqual((status_of(self.client.written), len(self.dialer.dialled)), (403, 1))
        self.assertEqual((self.outcomes(), self.records[1].verdict), (["forwarded", "denied"], "deny"))

    def test_the_first_lease_ends(self) -> None:
        self.use_once()
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.proxy.pool.clear()
        assert self.OTHER is not None
        self.dialer.checks = [Route(ORIGIN, (self.OTHER,), None, False, False)]
        second = self.authorizer.pending()
        decision.callback(allow_with(expires_in=5, set_headers=((b"X", b"y"),)))
        self.clock.advance(10)
        self.assertEqual(len(self.authorizer.asked), 3, "the lease was not renewed")
        second.callback(allow())
        self.assertNotIn(b"X: y", self.origin.take())

    def test_a_connection_to_another_address_is_not_used(self) -> None:
        decision = self.authorizer.pending()
        assert self.OTHER is not None
        self.dialer.checks = [Route(ORIGIN, (self.OTHER,), None, False, False)]
        self.client.feed(request())
        other = self.connect()
        other.feed(request())
        self.origin.feed(response())
        decision.callback(allow())
        self.assertEqual([route.addresses for route in self.dialer.dialled], [(LOCAL,), (self.OTHER,)])


class PhaseTests(ProxyTestCase):
    """A record contains the phases of its exchange."""

    def test_a_new_connection(self) -> None:
        decision = self.authorizer.pending()
        resolved: Deferred[Any] = Deferred()
        connected: Deferred[None] = Deferred()
        self.dialer.checks, self.dialer.dials = [resolved], [connected]
        self.client.feed(request())
        self.clock.advance(1)
        decision.callback(allow())
        self.clock.advance(2)
        resolved.callback(self.dialer.route(ORIGIN, Purpose.REQUEST))
        self.clock.advance(4)
        self.dialer.connect(self.dialer.protocols[-1])
        connected.callback(None)
        self.clock.advance(8)
        answer = response(b"answer")
        self.origin.feed(answer[:-1])
        self.clock.advance(16)
        self.origin.feed(answer[-1:])
        self.assertEqual(
            self.phases(), [("request", 0), ("decision", 1), ("dns", 2), ("connect", 4), ("wait", 8), ("receive", 16)]
        )

    def test_a_pooled_connection(self) -> None:
        self.use_once()
        self.client.feed(request())
        self.clock.advance(1)
        self.origin.feed(response())
        self.assertEqual(self.phases(), [("request", 0), ("decision", 0), ("reused", 0), ("wait", 1), ("receive", 0)])

    def test_content_for_the_decision(self) -> None:
        self.client.feed(request("POST", body=b"content")[:-1])
        self.clock.advance(1)
        self.client.feed(b"t")
        self.origin.feed(response())
        self.assertEqual(
            self.phases(),
            [("request", 1), ("decision", 0), ("dns", 0), ("connect", 0), ("wait", 0), ("receive", 0)],
        )

    def test_content_that_the_authorizer_requests(self) -> None:
        self.authorizer.needs_body = False
        self.authorizer.answers = [MORE, deny()]
        self.client.feed(request("POST", body=b"content")[:-1])
        self.clock.advance(1)
        self.client.feed(b"t")
        self.assertEqual(self.phases(), [("request", 0), ("decision", 0), ("request", 1), ("decision", 0)])

    def test_streamed_content(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", body=b"content")[:-1])
        self.clock.advance(1)
        self.client.feed(b"t")
        self.clock.advance(2)
        self.origin.feed(response())
        self.assertEqual(self.phases()[-3:], [("send", 1), ("wait", 2), ("receive", 0)])

    def test_a_response_before_the_end_of_the_content(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", body=b"content")[:-1])
        self.clock.advance(1)
        self.origin.feed(response(b"answer")[:-1])
        self.client.feed(b"t")
        self.origin.feed(b"r")
        self.assertEqual(self.phases()[-2:], [("send", 1), ("receive", 0)])

    def test_addresses_that_the_authorizer_needs(self) -> None:
        self.authorizer.answers = [Decision(Verdict.NEED_ADDRESSES, "addresses, please", "script")]
        resolved: Deferred[Any] = Deferred()
        self.dialer.checks = [resolved]
        self.client.feed(request())
        self.clock.advance(1)
        resolved.callback(self.dialer.route(ORIGIN, Purpose.REQUEST))
        self.origin.feed(response())
        self.assertEqual(
            self.phases(),
            [
                ("request", 0),
                ("decision", 0),
                ("dns", 1),
                ("decision", 0),
                ("connect", 0),
                ("wait", 0),
                ("receive", 0),
            ],
        )

    def test_addresses_before_the_decision(self) -> None:
        self.build(resolve=Resolve.BEFORE)
        self.authorizer.answers = [deny()]
        self.client.feed(request("POST", body=b"content"))
        self.assertEqual(self.phases(), [("request", 0), ("dns", 0), ("request", 0), ("decision", 0)])

    def test_a_stale_connection(self) -> None:
        self.use_once()
        self.client.feed(request())
        self.origin.lose()
        self.origin.feed(response())
        self.assertEqual(
            [name for name, _ in self.phases()],
            ["request", "decision", "reused", "wait", "dns", "connect", "wait", "receive"],
        )

    def test_the_last_phase_is_the_one_that_failed(self) -> None:
        connected: Deferred[None] = Deferred()
        self.dialer.dials = [connected]
        self.client.feed(request())
        self.clock.advance(3)
        connected.errback(OriginUnreachable("refused"))
        self.assertEqual(self.phases()[-1], ("connect", 3))

    def test_an_upgrade(self) -> None:
        self.client.feed(request("GET", "http://origin.test/", *UPGRADE))
        self.clock.advance(1)
        self.origin.feed(SWITCH)
        self.clock.advance(5)
        self.client.lose()
        self.assertEqual(self.phases()[-2:], [("wait", 1), ("relay", 5)])


class HeaderTests(ProxyTestCase):
    """A record contains header fields, as the configuration says."""

    SENT = ("Authorization: Bearer abc", "X-A: 1")
    RECORDED = (("Host", "origin.test"), ("Authorization", "Bearer REDACTED"), ("X-A", "1"))

    def headers(self, which: AuditHeaders, decision: Decision) -> tuple[object, object]:
        """Send a request, and return the recorded fields."""
        self.build(headers=which)
        self.authorizer.answers = [decision]
        self.client.feed(request("GET", "http://origin.test/", *self.SENT))
        if decision.allowed:
            self.assertIn(b"Authorization: Bearer abc\r\n", self.origin.take())
            self.origin.feed(response(b"", "Set-Cookie: a=b", "X-B: 2"))
        (record,) = self.records
        return record.request_headers, record.response_headers

    def test_none(self) -> None:
        for decision in (allow(), deny()):
            self.assertEqual(self.headers(AuditHeaders.NONE, decision), (None, None))

    def test_denied(self) -> None:
        self.assertEqual(self.headers(AuditHeaders.DENIED, allow()), (None, None))
        self.assertEqual(self.headers(AuditHeaders.DENIED, deny()), (self.RECORDED, None))

    def test_observed(self) -> None:
        decision = attrs.evolve(allow(), observed="deny")
        self.assertEqual(self.headers(AuditHeaders.DENIED, decision)[0], self.RECORDED)

    def test_all(self) -> None:
        answer = (("Set-Cookie", "REDACTED"), ("X-B", "2"), ("Content-Length", "0"))
        self.assertEqual(self.headers(AuditHeaders.ALL, allow()), (self.RECORDED, answer))

    def test_set_headers_are_not_recorded(self) -> None:
        """A decision can contain secrets of the proxy."""
        decision = allow_with(set_headers=((b"X-A", b"secret"),))
        self.assertEqual(self.headers(AuditHeaders.ALL, decision)[0], self.RECORDED)

    def test_refused_by_the_guard(self) -> None:
        self.build(headers=AuditHeaders.DENIED)
        self.dialer.judgements = [AddressForbidden("loopback")]
        self.client.feed(request("GET", "http://origin.test/", *self.SENT))
        self.assertEqual(self.records[0].request_headers, self.RECORDED)

    def test_refused_before_an_exchange(self) -> None:
        self.build(headers=AuditHeaders.DENIED)
        self.client.feed(request("GET", "ftp://origin.test/", *self.SENT))
        self.assertEqual(self.records[-1].request_headers, self.RECORDED)


class TraceTests(ProxyTestCase):
    """An exchange continues the trace of its client."""

    SENT = f"00-{'a' * 32}-{'b' * 16}-01"

    def trace(self, *, propagates: bool) -> ExchangeTrace:
        """Send a request, and return its trace."""
        self.build(tracer=Tracer(Sampler(), propagates=propagates))
        self.client.feed(request("GET", "http://origin.test/", f"traceparent: {self.SENT}"))
        self.sent = self.origin.take()
        self.origin.feed(response())
        trace = self.records[-1].trace
        assert trace is not None
        return trace

    def test_no_traces(self) -> None:
        self.use_once()
        self.assertIsNone(self.records[0].trace)
        self.assertEqual(self.authorizer.asked[0].trace, ())

    def test_the_authorizer_receives_the_context(self) -> None:
        trace = self.trace(propagates=False)
        (span,) = trace.decisions
        (field,) = self.authorizer.asked[0].trace
        self.assertEqual(field, (b"traceparent", f"00-{'a' * 32}-{span}-01".encode()))
        self.assertIn((b"traceparent", self.SENT.encode()), self.authorizer.asked[0].headers)
        self.assertIn(f"traceparent: {self.SENT}\r\n".encode(), self.sent)

    def test_the_origin_receives_the_context(self) -> None:
        trace = self.trace(propagates=True)
        (span,) = trace.attempts
        self.assertIn(f"traceparent: 00-{'a' * 32}-{span}-01\r\n".encode(), self.sent)
        self.assertEqual(self.sent.count(b"traceparent"), 1)

    def test_each_attempt_has_its_own_span(self) -> None:
        self.trace(propagates=True)
        self.client.feed(request("GET", "http://origin.test/"))
        first = self.origin.take()
        self.origin.lose()
        second = self.origin.take()
        self.origin.feed(response())
        trace = self.records[-1].trace
        assert trace is not None
        self.assertEqual(len(set(trace.attempts)), 2)
        for span, sent in zip(trace.attempts, (first, second), strict=True):
            self.assertIn(span.encode(), sent)

    def test_a_tunnel(self) -> None:
        """A tunnel that is relayed continues the trace of its CONNECT."""
        authority = "origin.test:22"
        for sent, trace_id in ((f"traceparent: {self.SENT}", "a" * 32), ("X: y", None)):
            self.build(tracer=Tracer(Sampler(), propagates=False), opaque_ports=(range(22, 23),))
            self.client.feed(request("CONNECT", authority, sent, host=authority))
            (field,) = self.authorizer.asked[0].trace
            self.client.lose()
            trace = self.records[0].trace
            assert trace is not None
            self.assertEqual((field[0], trace.parent is None), (b"traceparent", trace_id is None))
            self.assertEqual(trace.trace_id, trace_id or trace.trace_id)
            self.assertIn(trace.trace_id.encode(), field[1])

    def test_a_rejected_request(self) -> None:
        self.build(tracer=Tracer(Sampler(), propagates=False))
        self.client.feed(request("GET", "ftp://origin.test/", f"traceparent: {self.SENT}"))
        trace = self.records[0].trace
        assert trace is not None
        self.assertEqual(trace.trace_id, "a" * 32)


class ObligationTests(ProxyTestCase):
    """Obligations on fields, bytes and time."""

    def test_fields(self) -> None:
        self.allow_with(set_headers=((b"Authorization", b"ours"),), remove_headers=(b"cookie",))
        self.client.feed(
            request("POST", "http://origin.test/a", "Cookie: a", "authorization: theirs", "X: y", body=b"abc")
        )
        self.assertEqual(
            self.origin.take(),
            b"POST /a HTTP/1.1\r\nHost: origin.test\r\nX: y\r\nContent-Length: 3\r\nAuthorization: ours\r\n"
            b"Via: 1.1 egressproxy\r\n\r\nabc",
        )
        self.assertIn((b"authorization", b"theirs"), self.authorizer.asked[0].headers)

    def test_connections_are_shared_by_equal_set_headers(self) -> None:
        for value, dialled in ((b"one", 1), (b"one", 1), (b"two", 2), (None, 3), (None, 3), (b"two", 3)):
            if value is not None:
                self.allow_with(set_headers=((b"Authorization", value),))
            self.client.feed(request())
            self.dialer.origins[{b"one": 0, b"two": 1, None: 2}[value]].feed(response())
            self.assertEqual(len(self.dialer.dialled), dialled)
        self.assertEqual(self.outcomes(), ["forwarded"] * 6)
        self.assertEqual({asked.addresses for asked in self.authorizer.asked}, {None})

    def test_trailers_do_not_override_obligations(self) -> None:
        self.allow_with(set_headers=((b"X-Key", b"ours"),))
        self.client.feed(
            request("POST", "http://origin.test/", "Transfer-Encoding: chunked")
            + b"1\r\na\r\n0\r\nx_key: theirs\r\nX-Sum: 1\r\n\r\n"
        )
        self.assertTrue(self.origin.take().endswith(b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"))

    def test_obligations_that_cannot_be_fulfilled(self) -> None:
        self.allow_with(set_headers=((b"Host", b"elsewhere.test"),))
        self.client.feed(request())
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (503, []))
        self.assertEqual((self.records[0].verdict, self.records[0].outcome), ("unavailable", "authorizer-unavailable"))
        self.assertIn("the field host", self.records[0].reason)

    def test_announced_content_over_the_limit(self) -> None:
        self.authorizer.needs_body = False
        self.allow_with(max_bytes=4)
        self.client.feed(request("POST", body=b"12345"))
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (403, []))
        self.assertEqual((self.outcomes(), self.records[0].verdict), (["limit-reached"], "allow"))

    def test_collected_content_counts(self) -> None:
        self.allow_with(max_bytes=4)
        self.client.feed(
            request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n0\r\n\r\n"
        )
        self.assertEqual((status_of(self.client.written), self.dialer.dialled), (403, []))

    def test_streamed_content_over_the_limit(self) -> None:
        self.authorizer.needs_body = False
        self.allow_with(max_bytes=4)
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + b"4\r\n1234\r\n")
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\n4\r\n1234\r\n"))
        self.client.feed(b"1\r\n5\r\n0\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.origin.take()), (403, b""))
        self.assertTrue(self.origin.aborted)
        self.assertEqual((self.outcomes(), self.records[0].bytes_sent), (["limit-reached"], 4))

    def test_an_announced_response_over_the_limit(self) -> None:
        self.allow_with(max_bytes=8)
        self.client.feed(request("POST", body=b"abc"))
        self.origin.feed(response(b"123456"))
        self.assertEqual(status_of(self.client.take()), 403)
        self.assertEqual((self.outcomes(), self.records[0].status), (["limit-reached"], 403))
        self.assertTrue(self.origin.aborted)
        self.assertFalse(self.client.disconnected)
        self.allow_with(max_bytes=0)
        self.client.feed(request("HEAD"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.outcomes()[1:]), (200, ["forwarded"]))

    def test_a_response_that_grows_over_the_limit(self) -> None:
        self.allow_with(max_bytes=8)
        self.client.feed(request("POST", body=b"abc"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
        self.assertTrue(self.client.take().endswith(b"12345\r\n"))
        self.origin.feed(b"1\r\n6\r\n0\r\n\r\n")
        self.assertEqual((self.client.take(), self.client.aborted, self.origin.aborted), (b"", True, True))
        (record,) = self.records
        self.assertEqual((record.outcome, record.status, record.bytes_received), ("limit-reached", 200, 5))
        self.assertEqual(len(self.proxy.pool), 0)

    def test_trailers_of_a_request(self) -> None:
        """They count, whether they were collected with the content or are streamed after it."""
        content = b"3\r\nabc\r\n0\r\nX: 123456\r\n\r\n"
        for needs_body in (True, False):
            for most, outcome in ((14, "forwarded"), (13, "limit-reached")):
                with self.subTest(needs_body=needs_body, most=most):
                    self.build()
                    self.authorizer.needs_body = needs_body
                    self.allow_with(max_bytes=most)
                    self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + content)
                    sent = b"".join(wire.take() for wire in self.dialer.origins)
                    self.assertEqual(b"X: 123456\r\n" in sent, outcome == "forwarded")
                    if outcome == "forwarded":
                        self.origin.feed(response(b""))
                    self.assertEqual(self.outcomes(), [outcome])

    def test_trailers_of_a_response(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 123456\r\n\r\n"
        for most, outcome in ((14, "forwarded"), (13, "limit-reached")):
            with self.subTest(most):
                self.build()
                self.allow_with(max_bytes=most)
                self.client.feed(request())
                self.origin.feed(answer)
                self.assertEqual(b"X: 123456\r\n" in self.client.take(), outcome == "forwarded")
                self.assertEqual((self.outcomes(), self.client.aborted), ([outcome], outcome != "forwarded"))

    def test_interim_responses(self) -> None:
        """They count if they are sent to the client; others do not."""
        interim = b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
        for version, most, outcome in (
            ("1.1", 2 * len(interim) + 5, "forwarded"),
            ("1.1", 2 * len(interim) + 4, "limit-reached"),
            ("1.0", 5, "forwarded"),
        ):
            with self.subTest(version=version, most=most):
                self.build()
                self.allow_with(max_bytes=most)
                self.client.feed(request(version=version))
                self.origin.feed(2 * interim + response(b"hello"))
                self.assertEqual(self.outcomes(), [outcome])
        self.build()
        self.allow_with(max_bytes=1000)
        self.client.feed(request())
        self.origin.feed(interim * 90)
        received = self.client.take()
        self.assertLessEqual(received.rfind(interim), 1000)
        self.assertTrue(received.rpartition(interim)[2].startswith(b"HTTP/1.1 403 "))

    def test_exactly_the_limit(self) -> None:
        self.allow_with(max_bytes=8)
        self.client.feed(request("POST", body=b"abc"))
        self.origin.feed(response(b"12345"))
        self.assertEqual((self.outcomes(), len(self.proxy.pool)), (["forwarded"], 1))

    def switched(self, **terms: Any) -> None:
        """Open a WebSocket with obligations."""
        self.allow_with(**terms)
        self.client.feed(request("GET", "http://origin.test/", *UPGRADE))
        self.origin.feed(SWITCH)
        self.client.take()
        self.origin.take()

    def test_a_websocket_over_the_limit(self) -> None:
        for from_client in (True, False):
            with self.subTest(from_client=from_client):
                self.client = self.connect()
                self.switched(max_bytes=4)
                self.client.feed(b"ab")
                self.origin.feed(b"cd")
                self.assertEqual((self.origin.take(), self.client.take()), (b"ab", b"cd"))
                (self.client if from_client else self.origin).feed(b"e")
                self.assertEqual((self.origin.take(), self.client.take()), (b"", b""))
                self.assertTrue(self.client.aborted and self.origin.aborted)
                record = self.records[-1]
                self.assertEqual((record.outcome, record.bytes_sent, record.bytes_received), ("limit-reached", 2, 2))

    def test_a_websocket_that_is_revoked(self) -> None:
        self.switched(expires_in=60)
        self.allow_with(expires_in=60)
        self.authorizer.answers.append(deny("enough"))
        self.clock.advance(60)
        self.origin.feed(b"still there")
        self.assertEqual(self.client.take(), b"still there")
        self.clock.advance(60)
        self.assertTrue(self.client.aborted and self.origin.aborted)
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome), ("allow", "lease-revoked"))
        self.assertEqual((record.reason, record.decision_seconds), ("enough", 0))

    def test_a_websocket_that_would_be_revoked(self) -> None:
        """Observe mode lets it continue; the record contains the decision."""
        self.switched(expires_in=60)
        self.authorizer.answers.append(attrs.evolve(allow(), reason="enough", rule_id="r", observed="deny"))
        self.clock.advance(60)
        self.origin.feed(b"still there")
        self.assertEqual(self.client.take(), b"still there")
        self.client.lose()
        (record,) = self.records
        self.assertEqual((record.verdict, record.outcome, record.observed), ("allow", "forwarded", "deny"))
        self.assertEqual((record.reason, record.rule_id), ("enough", "r"))

    def test_a_lease_renewal_fails(self) -> None:
        self.allow_with(expires_in=60)
        self.authorizer.answers.append(AuthorizerUnavailable("down"))
        self.client.feed(request("POST", body=b"abc"))
        self.clock.advance(60)
        self.assertEqual([asked.body for asked in self.authorizer.asked], [b"abc", b"abc"])
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (503, ["lease-expired"]))
        self.assertTrue(self.origin.aborted)
        self.assertFalse(self.client.disconnected)

    def test_a_lease_is_revoked_while_dialling(self) -> None:
        self.dialer.pending(self.dialer.dials)
        self.allow_with(expires_in=5)
        self.authorizer.answers.append(deny())
        self.client.feed(request())
        self.clock.advance(5)
        self.assertEqual((status_of(self.client.take()), self.dialer.cancelled), (403, 1))
        self.assertEqual(self.outcomes(), ["lease-revoked"])

    def test_an_exchange_that_ends_before_expiry(self) -> None:
        self.allow_with(expires_in=60)
        self.client.feed(request())
        self.origin.feed(response())
        self.clock.advance(61)
        self.assertEqual((len(self.authorizer.asked), self.outcomes()), (1, ["forwarded"]))


class PoolTests(ProxyTestCase):
    """Connections are reused by the same client, and requests are retried if that is safe."""

    def use_stale_connection(self, method: str, seconds: float = 1, body: bytes = b"") -> None:
        """Let a connection become idle and stale, and use it."""
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()
        self.clock.advance(seconds)
        self.client.feed(request(method, body=body))
        self.dialer.origins[0].lose()
        self.clock.advance(0)

    def test_separated_by_client(self) -> None:
        other = self.connect("198.51.100.8")
        for client in (self.client, other):
            client.feed(request())
            self.origin.feed(response())
        self.assertEqual(len(self.dialer.origins), 2)
        self.assertEqual(len(self.proxy.pool), 2)

    def test_separated_by_origin(self) -> None:
        for host in ("origin.test", "origin.test:81", "other.test"):
            self.client.feed(request(url=f"http://{host}/"))
            self.origin.feed(response())
        self.assertEqual(len(self.dialer.origins), 3)

    def test_a_stale_connection_is_replaced_for_a_repeatable_request(self) -> None:
        for method, body in (("GET", b""), ("PUT", b"content"), ("DELETE", b"")):
            with self.subTest(method):
                self.build()
                self.use_stale_connection(method, body=body)
                self.assertEqual(len(self.dialer.origins), 2)
                self.assertTrue(self.origin.take().endswith(b"\r\n\r\n" + body))
                self.origin.feed(response(b"second"))
                self.assertTrue(self.client.take().endswith(b"second"))
                self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])
                self.assertEqual(len(self.authorizer.asked), 2, "the decision is reused")
                self.assertEqual(self.records[1].bytes_sent, len(body))

    def test_a_stale_connection_fails_a_request_that_is_not_repeatable(self) -> None:
        self.assertNotIn("POST", IDEMPOTENT)
        self.use_stale_connection("POST", body=b"content")
        self.assertEqual(len(self.dialer.origins), 1)
        self.assertEqual((status_of(self.client.written), self.outcomes()[1]), (502, "origin-disconnected"))

    def test_a_request_that_is_not_repeatable_gets_no_long_idle_connection(self) -> None:
        self.use_stale_connection("POST", seconds=10, body=b"content")
        self.assertEqual(len(self.dialer.origins), 2)
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_no_retry_after_the_response_has_started(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 20")
        self.origin.lose()
        self.clock.advance(0)
        self.assertEqual(status_of(self.client.take()), 502)
        self.assertEqual(len(self.dialer.origins), 1)

    def test_a_new_connection_is_not_replaced(self) -> None:
        self.client.feed(request())
        self.origin.lose()
        self.clock.advance(0)
        self.assertEqual((status_of(self.client.written), len(self.dialer.origins)), (502, 1))

    def test_several_stale_ones_in_a_row(self) -> None:
        others = [self.connect() for _ in range(3)]
        for client in others:
            client.feed(request())
        for wire in self.dialer.origins:
            wire.feed(response())
        self.assertEqual(len(self.proxy.pool), 3)
        self.client.feed(request())
        for wire in reversed(list(self.dialer.origins)):
            wire.lose()
        self.clock.advance(0)
        self.assertEqual(len(self.dialer.origins), 4)
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded"] * 4)

    def test_the_replacement_may_fail_too(self) -> None:
        self.dialer.dials = []
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()
        self.client.feed(request())
        self.dialer.dials = [OriginUnreachable("refused")]
        self.dialer.origins[0].lose()
        self.assertEqual((status_of(self.client.written), self.outcomes()[1]), (502, "origin-unreachable"))

    def test_a_late_408(self) -> None:
        """An origin that closed its idle connection has not read the request, so any request is retried."""
        for method, body in (("GET", b""), ("POST", b"content")):
            with self.subTest(method):
                self.build()
                self.client.feed(request())
                self.origin.feed(response())
                self.client.take()
                self.client.feed(request(method, body=body))
                self.origin.feed(LATE)
                self.assertEqual(self.client.take(), b"")
                self.assertEqual(len(self.dialer.origins), 2)
                self.assertTrue(self.origin.take().endswith(b"\r\n\r\n" + body))
                self.origin.feed(response(b"second"))
                self.assertTrue(self.client.take().endswith(b"second"))
                self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])
                self.assertEqual(self.records[1].bytes_sent, len(body))

    def test_after_a_late_408_a_new_connection_is_opened(self) -> None:
        other = self.connect()
        for client in (self.client, other):
            client.feed(request())
        for wire in self.dialer.origins:
            wire.feed(response())
        self.assertEqual(len(self.proxy.pool), 2)
        self.client.feed(request("POST", body=b"content"))
        self.dialer.origins[1].feed(LATE)
        self.assertEqual(len(self.dialer.origins), 3)
        self.origin.feed(response())

    def test_a_late_408_to_content_that_cannot_be_resent(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()
        self.client.feed(request("POST", body=b"content"))
        self.origin.feed(LATE)
        self.assertEqual((status_of(self.client.take()), self.outcomes()[1]), (502, "origin-disconnected"))
        self.assertEqual(len(self.dialer.origins), 1)

    def test_a_408_that_is_a_response(self) -> None:
        """On a new connection, without a close, or while the origin waits for content."""
        self.authorizer.needs_body = False
        self.client.feed(request())
        self.origin.feed(LATE)
        self.assertEqual(status_of(self.client.take()), 408)
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()
        self.client.feed(request())
        self.origin.feed(response(b"", status="408 Request Timeout"))
        self.assertEqual(status_of(self.client.take()), 408)
        self.client.feed(request("POST", "http://origin.test/", "Content-Length: 5"))
        self.origin.feed(LATE)
        self.assertEqual(status_of(self.client.take()), 408)

    def test_an_idle_connection_that_the_origin_closes_leaves_the_pool(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        self.origin.lose()
        self.assertEqual(len(self.proxy.pool), 0)
        self.client.feed(request())
        self.origin.feed(response())
        self.assertEqual(len(self.dialer.origins), 2)

    def test_a_connection_that_the_origin_will_close_is_not_pooled(self) -> None:
        self.client.feed(request())
        self.origin.feed(response(b"x", "Connection: close"))
        self.assertTrue(self.origin.disconnected)
        self.assertEqual(len(self.proxy.pool), 0)
        self.assertFalse(self.client.disconnecting)


class TimeoutTests(ProxyTestCase):
    """The watchdog, in each state."""

    def test_a_response_timeout(self) -> None:
        self.client.feed(request())
        self.clock.advance(300)
        self.clock.advance(0)
        self.assertEqual((status_of(self.client.written), self.outcomes()), (504, ["origin-timeout"]))
        self.assertTrue(self.origin.disconnected)

    def test_interim_responses_do_not_extend_the_timeout(self) -> None:
        self.client.feed(request())
        for _ in range(3):
            self.clock.advance(100)
            self.origin.feed(b"HTTP/1.1 102 Processing\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["origin-timeout"])
        self.assertTrue(self.origin.disconnected)

    def test_a_response_that_stops(self) -> None:
        self.client.feed(request())
        self.clock.advance(200)
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
        self.clock.advance(299)
        self.assertEqual(self.records, [])
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertEqual((self.outcomes(), self.records[0].status), (["origin-timeout"], 200))

    def test_content_that_stops(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", body=b"abc")[:-1])
        self.clock.advance(300)
        self.assertEqual((status_of(self.client.written), self.outcomes()), (408, ["request-timeout"]))

    def test_slow_content(self) -> None:
        """Content for the authorizer has one timeout as a whole, however regularly it arrives."""
        self.client.feed(request("POST", body=b"x" * 100)[:-100])
        for _ in range(14):
            self.clock.advance(20)
            self.client.feed(b"x")
        self.assertEqual(self.records, [])
        self.clock.advance(19.9)
        self.client.feed(b"x")
        self.assertEqual(self.records, [])
        self.clock.advance(0.1)
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (408, ["request-timeout"]))
        self.assertEqual((self.authorizer.asked, self.dialer.dialled), ([], []))

    def test_content_that_pauses(self) -> None:
        """The timeout between two reads is shorter."""
        self.client.feed(request("POST", body=b"x" * 100)[:-50])
        self.clock.advance(30)
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (408, ["request-timeout"]))

    def test_a_client_that_does_not_read_its_response(self) -> None:
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
        self.client.choke()
        self.clock.advance(300)
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["client-disconnected"])

    def test_a_client_that_has_stopped_reading_before_its_response(self) -> None:
        self.client.feed(request())
        self.client.choke()
        self.clock.advance(300)
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertEqual((self.outcomes(), self.records[0].status), (["client-disconnected"], None))


class EndTests(ProxyTestCase):
    """An exchange ends once."""

    def exchange(self) -> Exchange:
        """Begin an exchange whose request is forwarded."""
        self.client.feed(request())
        exchange = session_of(self.client)._exchange  # noqa: SLF001
        assert exchange is not None
        return exchange

    def test_an_invalid_transition_is_an_error(self) -> None:
        exchange = self.exchange()
        self.assertRaises(AssertionError, exchange.start)

    def test_nothing_after_the_end(self) -> None:
        exchange = self.exchange()
        self.client.lose()
        exchange.fail(OriginUnreachable("late"))
        exchange.client_lost()
        exchange.pause_response()
        exchange.resume_response()
        exchange.body_data(b"x")
        exchange.upgraded_data(b"x")
        self.assertEqual(self.outcomes(), ["client-disconnected"])
        self.assertNotIn(b"x", self.origin.written[-1:])
