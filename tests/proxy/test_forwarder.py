"""Tests for L{egress.proxy.forwarder}."""

from __future__ import annotations

import re
from typing import Any

from egress.config.model import Limits
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.errors import OriginUnreachable
from egress.model.route import Purpose, Route
from egress.proxy import exchange_flow as module
from egress.proxy.factory import ProxyFactory
from egress.proxy.forwarder import CONTINUE_SECONDS, MAX_INTERIM_RESPONSES
from egress.relay.socket_relay import TAKEOVER_BYTES
from egress.transport.dialed import DialedProtocol
from tests.proxy.fakes import (
    SWITCH,
    UPGRADE,
    FakeDialer,
    ProxyTestCase,
    allow_with,
    connection_of,
    content_of,
    deny,
    request,
    response,
    session_of,
    status_of,
)
from tests.proxy.fakes import Proxy as FakeProxy
from tests.proxy.test_budget_count import GIVEN, FakeBudgets, FakeCharge
from tests.relay.takeover import TakeoverTestCase
from tests.transport.sockets import TurnedReactor, read_all, reset, server

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = "Expect: 100-continue"


class ContinueTests(ProxyTestCase):
    """C{Expect: 100-continue} end to end."""

    def send_head(self) -> None:
        """Send a head with an expectation, and no content yet."""
        self.client.feed(request("POST", "http://origin.test/", EXPECT, "Content-Length: 3"))

    def test_without_inspection_the_origin_decides(self) -> None:
        self.authorizer.needs_body = False
        self.send_head()
        self.assertEqual(self.client.written, b"")
        self.assertIn(b"Expect: 100-continue\r\n", self.origin.take())
        self.origin.feed(CONTINUE)
        self.assertEqual(self.client.take(), CONTINUE)
        self.client.feed(b"abc")
        self.assertEqual(self.origin.take(), b"abc")
        self.origin.feed(response())
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (200, ["forwarded"]))
        self.assertFalse(self.client.disconnecting)

    def test_without_inspection_the_origin_may_decline(self) -> None:
        self.authorizer.needs_body = False
        self.send_head()
        self.origin.feed(response(b"no", status="417 Expectation Failed"))
        self.assertEqual(status_of(self.client.take()), 417)
        self.assertTrue(self.origin.disconnected, "the origin may still wait for the content")
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.client.feed(b"abc")
        self.assertTrue(self.client.disconnected)

    def test_denied_before_the_content_is_sent(self) -> None:
        self.authorizer.needs_body = False
        self.authorizer.answers = [deny()]
        self.send_head()
        self.assertEqual(status_of(self.client.written), 403)

    def test_with_inspection_the_proxy_requests_the_content(self) -> None:
        self.send_head()
        self.assertEqual(self.client.take(), CONTINUE)
        self.assertEqual(self.authorizer.asked, [])
        self.client.feed(b"abc")
        self.assertEqual(self.authorizer.asked[0].body, b"abc")
        self.assertEqual(content_of(self.origin.take()), b"", "the origin gets the expectation, too")
        self.origin.feed(CONTINUE)
        self.assertEqual(self.origin.take(), b"abc")
        self.assertEqual(self.client.written, b"", "the client has already received a 100")
        self.origin.feed(response())
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (200, ["forwarded"]))
        self.assertEqual(len(self.proxy.pool), 1)

    def test_with_inspection_a_silent_origin_gets_the_content_after_a_while(self) -> None:
        self.send_head()
        self.client.feed(b"abc")
        self.origin.take()
        self.clock.advance(CONTINUE_SECONDS)
        self.assertEqual(self.origin.take(), b"abc")
        self.origin.feed(CONTINUE)
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()[len(CONTINUE) :]), 200)

    def test_with_inspection_an_origin_that_declines_never_gets_the_content(self) -> None:
        self.send_head()
        self.client.feed(b"abc")
        self.origin.feed(response(b"no", status="413 Content Too Large"))
        self.assertEqual(content_of(self.origin.take()), b"")
        self.assertEqual(status_of(self.client.take()[len(CONTINUE) :]), 413)
        self.assertTrue(self.origin.disconnected)
        self.assertFalse(self.client.disconnecting, "the client has sent its whole request")
        self.assertEqual(self.records[0].bytes_sent, 0)

    def test_a_broken_origin_connection(self) -> None:
        self.send_head()
        self.client.feed(b"abc")
        self.client.take()
        self.origin.lose()
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-disconnected"]))


class InterimResponseTests(ProxyTestCase):
    """Interim responses are limited, independent of the decision."""

    def test_the_number_is_limited(self) -> None:
        for version in ("1.1", "1.0"):
            with self.subTest(version):
                self.build()
                self.client.feed(request(version=version))
                self.origin.feed(b"HTTP/1.1 103 Hints\r\n\r\n" * MAX_INTERIM_RESPONSES)
                self.assertEqual(
                    self.client.take().count(b"103 Hints"), MAX_INTERIM_RESPONSES if version == "1.1" else 0
                )
                self.origin.feed(b"HTTP/1.1 102 Processing\r\n\r\n" + response())
                self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))
                self.assertTrue(self.origin.aborted)

    def test_the_size_is_limited(self) -> None:
        half = b"HTTP/1.1 103 Hints\r\nLink: %b\r\n\r\n" % (b"x" * (Limits().head // 2 - 30))
        self.client.feed(request())
        self.origin.feed(half + half)
        self.assertEqual(self.client.take(), half + half)
        self.origin.feed(half)
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))


class ResponseTests(ProxyTestCase):
    """Responses and their framing on each side."""

    def test_head(self) -> None:
        self.client.feed(request("HEAD"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        answer = self.client.take()
        self.assertIn(b"Content-Length: 500\r\n", answer)
        self.assertEqual(content_of(answer), b"")
        self.client.feed(request())
        self.origin.feed(response(b"next"))
        self.assertEqual(content_of(self.client.take()), b"next")

    def test_without_content(self) -> None:
        for status in ("204 No Content", "304 Not Modified"):
            self.client.feed(request())
            self.origin.feed(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())
            self.assertTrue(self.client.take().endswith(b"\r\n\r\n"))
        self.assertEqual(len(self.dialer.origins), 1)
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_empty(self) -> None:
        self.client.feed(request())
        self.origin.feed(response(b""))
        self.assertIn(b"Content-Length: 0\r\n", self.client.take())
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_interim_responses_are_forwarded(self) -> None:
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nConnection: close\r\n\r\n")
        self.assertEqual(self.client.take(), b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        self.origin.feed(CONTINUE + response())
        self.assertEqual(status_of(self.client.take()), 200, "an unrequested 100 is not forwarded")

    def test_interim_responses_are_not_sent_to_http10_clients(self) -> None:
        self.client.feed(request(version="1.0"))
        self.origin.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n" + response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_chunked_with_trailers(self) -> None:
        self.client.feed(request("GET", "http://origin.test/", "TE: trailers", "Connection: TE"))
        self.assertIn(b"TE: trailers\r\n", self.origin.take())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.assertTrue(self.client.take().endswith(b"\r\n\r\n3\r\nabc\r\n"))
        self.origin.feed(b"2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual(self.client.take(), b"2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual(self.records[0].bytes_received, 5)

    def test_until_close_becomes_chunked(self) -> None:
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.origin.end()
        self.assertTrue(self.client.take().endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
        self.assertFalse(self.client.disconnecting)
        self.assertEqual((self.outcomes(), len(self.proxy.pool)), (["forwarded"], 0))

    def test_until_close_stays_for_http10(self) -> None:
        self.client.feed(request("GET", "http://origin.test/", "Connection: keep-alive", version="1.0"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n")
        answer = self.client.take()
        self.assertTrue(answer.endswith(b"Connection: close\r\n\r\nabc"))
        self.assertNotIn(b"chunked", answer)
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.client.aborted)

    def test_a_truncated_response_is_truncated_for_the_client(self) -> None:
        for data in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        ):
            with self.subTest(data):
                self.build()
                self.client.feed(request())
                self.origin.feed(data)
                self.origin.end()
                self.assertTrue(self.client.aborted)
                self.assertEqual((self.outcomes(), self.records[0].status), (["origin-disconnected"], 200))
                self.assertEqual(self.records[0].bytes_received, 3)
                self.assertEqual(self.records[0].verdict, "allow")

    def test_a_broken_connection_is_not_an_end(self) -> None:
        from twisted.internet.error import ConnectionLost

        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.origin.lose(ConnectionLost())
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertNotIn(b"0\r\n\r\n", self.client.written)

    def test_a_response_that_is_not_http(self) -> None:
        self.client.feed(request())
        self.origin.feed(b"SSH-2.0-OpenSSH\r\n")
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))
        self.assertTrue(self.origin.disconnected)
        self.assertFalse(self.client.disconnecting)

    def test_content_that_becomes_malformed(self) -> None:
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["origin-protocol-error"])

    def test_data_after_the_response(self) -> None:
        self.client.feed(request())
        self.origin.feed(response(b"one") + response(b"two"))
        self.assertEqual(content_of(self.client.take()), b"one")
        self.assertTrue(self.origin.disconnected)
        self.assertEqual(len(self.proxy.pool), 0)

    def test_an_unsolicited_response(self) -> None:
        self.client.feed(request())
        self.origin.feed(response(b"one"))
        self.origin.feed(response(b"two"))
        self.assertTrue(self.origin.disconnected)
        self.assertEqual(len(self.proxy.pool), 0)
        self.client.feed(request())
        self.assertEqual(len(self.dialer.origins), 2)

    def test_a_response_before_the_end_of_the_content(self) -> None:
        self.authorizer.needs_body = False
        self.client.polite = False
        self.client.feed(request("POST", body=b"x" * 100)[:-50])
        self.origin.feed(response(b"enough"))
        self.assertEqual(content_of(self.client.take()), b"enough")
        self.assertTrue(self.origin.disconnected, "the origin would read the rest as the next request")
        self.assertEqual((self.outcomes(), len(self.proxy.pool)), (["forwarded"], 0))
        self.client.feed(b"x" * 50)
        self.assertFalse(self.client.disconnecting)
        self.client.end()
        self.assertTrue(self.client.disconnected)

    def test_a_response_that_starts_before_the_end_of_the_content(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", body=b"x" * 100)[:-50])
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.client.feed(b"x" * 50)
        self.origin.feed(b"cd")
        answer = self.client.take()
        self.assertEqual(content_of(answer), b"abcd")
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertEqual(len(self.proxy.pool), 1)
        self.assertTrue(self.client.disconnected)

    def test_an_origin_that_responds_without_reading_the_content(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", body=b"x" * 100)[:-50])
        self.origin.choke()
        self.origin.feed(response(b"enough"))
        self.assertFalse(self.origin.disconnected)
        self.clock.advance(5)
        self.clock.advance(0)
        self.assertTrue(self.origin.aborted)

    def test_streamed_content_with_trailers(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked"))
        self.origin.take()
        self.client.feed(b"3\r\nabc\r\n")
        self.assertEqual(self.origin.take(), b"3\r\nabc\r\n")
        self.client.feed(b"0\r\nX-Sum: 7\r\n\r\n")
        self.assertEqual(self.origin.take(), b"0\r\nX-Sum: 7\r\n\r\n")
        self.origin.feed(response())
        self.assertEqual(self.records[0].bytes_sent, 3)

    def test_malformed_content_while_it_streams(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
        self.client.feed(b"zz\r\n")
        self.assertEqual((status_of(self.client.written), self.outcomes()), (400, ["bad-request"]))
        self.assertTrue(self.origin.aborted, "the origin must not treat the content as complete")


class BackpressureTests(ProxyTestCase):
    """Backpressure in both directions."""

    def test_a_slow_client_pauses_the_origin(self) -> None:
        self.client.high_water = 100
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 200)
        self.assertTrue(self.origin.paused)
        self.origin.feed(b"y" * 200)
        self.assertNotIn(b"yy", self.client.written)
        self.client.unchoke()
        self.assertIn(b"yy", self.client.written)
        while not self.records:
            self.client.unchoke()
            self.origin.feed(b"z" * 100)
        self.client.unchoke()
        self.assertEqual(len(content_of(self.client.take())), 1000)
        self.assertFalse(self.origin.paused, "an idle connection is read, to detect its close")
        self.assertEqual(self.records[0].bytes_received, 1000)

    def test_data_read_before_the_origin_closed_is_delivered(self) -> None:
        self.client.feed(request())
        self.client.choke()
        self.origin.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.assertEqual(self.client.written, b"")
        self.origin.lose()
        self.assertTrue(self.client.written.endswith(b"3\r\nabc\r\n0\r\n\r\n"))
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.client.unchoke()

    def test_data_with_a_length_read_before_the_origin_closed_is_delivered(self) -> None:
        self.client.feed(request())
        self.client.choke()
        self.origin.protocol.dataReceived(response(b"abc"))
        self.assertEqual(self.client.written, b"")
        self.origin.lose()
        self.assertTrue(self.client.written.endswith(b"abc"))
        self.assertEqual((self.outcomes(), len(self.proxy.pool)), (["forwarded"], 0))

    def test_a_slow_origin_pauses_the_client(self) -> None:
        self.authorizer.needs_body = False
        self.dialer.high_water = 500
        self.client.feed(request("POST", body=b"x" * 1000)[:-1000])
        self.client.feed(b"x" * 600)
        self.assertTrue(self.origin.producer_paused)
        self.client.feed(b"y" * 100)
        self.assertTrue(self.client.paused)
        self.client.feed(b"z" * 300)
        self.assertEqual(self.client.undelivered, 300)
        self.origin.unchoke()
        self.clock.advance(0)
        self.assertTrue(self.origin.take().endswith(b"x" + b"y" * 100 + b"z" * 300))
        self.origin.unchoke()
        self.origin.feed(response())
        self.assertEqual((self.outcomes(), self.records[0].bytes_sent), (["forwarded"], 1000))

    def test_a_first_write_can_cause_backpressure(self) -> None:
        self.authorizer.needs_body = False
        self.dialer.high_water = 50
        dialled = self.dialer.pending(self.dialer.dials)
        self.client.feed(request("POST", body=b"x" * 1000)[:-900])
        (protocol,) = self.dialer.protocols
        protocol.prepare(False, lambda: dialled.callback(None), dialled.errback)
        self.dialer.connect(protocol)
        self.assertTrue(self.origin.producer_paused)
        self.client.feed(b"y")
        self.assertTrue(self.client.paused)
        self.client.lose()

    def test_a_slow_client_before_the_next_request(self) -> None:
        self.client.high_water = 10
        self.client.feed(request())
        self.origin.feed(response(b"x" * 100))
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.client.feed(request())
        self.assertEqual(len(self.authorizer.asked), 1)
        self.client.unchoke()
        self.assertEqual(len(self.authorizer.asked), 2)
        self.origin.feed(response())

    def test_the_connection_of_a_slow_client_stays_open_until_it_has_read(self) -> None:
        self.client.high_water = 10
        self.client.feed(request("GET", "http://origin.test/", "Connection: close"))
        self.origin.feed(response(b"x" * 100))
        self.clock.advance(60)
        self.assertFalse(self.client.aborted)
        self.client.unchoke()
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.client.aborted)


TCP = ("Connection: Upgrade", "Upgrade: tcp")
HIJACKED = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n%b\r\n\r\n" % (
    b"Connection: Upgrade\r\nUpgrade: tcp"
)


class OtherProtocolTests(ProxyTestCase):
    """Upgrades that an operator allows are authorized with the protocol name, then relayed."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy.parts.upgrade_protocols = frozenset({"tcp", "spdy/3.1"})

    def switched(self) -> None:
        """Upgrade a connection."""
        self.client.feed(request("POST", "http://origin.test/exec/1/start", *TCP, body=b"{}"))
        self.origin.take()
        self.origin.feed(HIJACKED)
        self.client.take()

    def test_is_authorized_and_switched(self) -> None:
        self.client.feed(request("POST", "http://origin.test/exec/1/start", *TCP, body=b"{}"))
        self.assertEqual(self.dialer.checked[0][1], Purpose.UPGRADE)
        (question,) = self.authorizer.asked
        self.assertIn((b"Upgrade", b"tcp"), question.headers)
        self.assertEqual(question.body, b"{}")
        sent = self.origin.take()
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: tcp\r\n", sent)
        self.assertTrue(sent.endswith(b"\r\n\r\n{}"))
        self.origin.feed(HIJACKED + b"out")
        answer = self.client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 UPGRADED\r\n"))
        self.assertIn(b"Content-Type: application/vnd.docker.raw-stream\r\n", answer)
        self.assertTrue(answer.endswith(b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nout"))
        self.client.feed(b"in")
        self.assertEqual(self.origin.take(), b"in")

    def test_the_clients_spelling_is_used(self) -> None:
        self.client.feed(request("POST", "http://origin.test/exec", "Connection: upgrade", "Upgrade: SPDY/3.1"))
        self.assertIn(b"\r\nUpgrade: SPDY/3.1\r\n", self.origin.take())
        self.origin.feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n")
        self.assertIn(b"\r\nUpgrade: SPDY/3.1\r\n", self.client.take())

    def test_not_allowed(self) -> None:
        self.proxy.parts.upgrade_protocols = frozenset({"tcp"})
        self.client.feed(request("POST", "http://origin.test/exec", "Connection: upgrade", "Upgrade: SPDY/3.1"))
        answer = self.client.take()
        self.assertEqual((status_of(answer), self.outcomes()), (501, ["unsupported-request"]))
        self.assertIn("SPDY/3.1", self.records[0].reason)
        self.assertIn("--upgrade-protocols", self.records[0].reason)
        self.assertEqual(self.authorizer.asked, [])

    def test_denied(self) -> None:
        self.authorizer.answers = [deny()]
        self.client.feed(request("POST", "http://origin.test/exec", *TCP) + b"bytes")
        self.assertEqual((status_of(self.client.take()), self.dialer.dialled), (403, []))

    def test_an_origin_that_does_not_switch(self) -> None:
        self.client.feed(request("POST", "http://origin.test/exec", *TCP))
        self.origin.feed(response(b"no"))
        self.assertEqual(content_of(self.client.take()), b"no")
        self.assertFalse(self.client.disconnecting)

    def test_an_origin_that_switches_to_another(self) -> None:
        self.client.feed(request("POST", "http://origin.test/exec", *TCP))
        self.origin.feed(HIJACKED.replace(b"Upgrade: tcp", b"Upgrade: spdy/3.1") + b"bytes")
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))

    def test_an_origin_that_switches_too_early(self) -> None:
        """The rest of the request would be treated as data of the new protocol."""
        self.authorizer.needs_body = False
        head = request("POST", "http://origin.test/exec", *TCP, "Content-Length: 5")
        self.client.feed(head + b"he")
        self.origin.feed(HIJACKED)
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))
        self.build()
        self.proxy.parts.upgrade_protocols = frozenset({"tcp"})
        self.client.feed(request("POST", "http://origin.test/exec", *TCP, EXPECT, body=b"hello"))
        self.assertTrue(self.client.take().startswith(CONTINUE))
        self.origin.feed(HIJACKED)
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))

    def test_a_client_that_ends_its_input(self) -> None:
        """As docker does when its standard input ends: the output is still to be received."""
        self.switched()
        self.client.feed(b"in")
        self.client.end()
        self.assertTrue(self.origin.write_closed)
        self.assertFalse(self.client.disconnected)
        self.origin.feed(b"x" * TAKEOVER_BYTES)
        self.assertEqual(self.client.take(), b"x" * TAKEOVER_BYTES)
        self.origin.lose()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual((self.records[0].bytes_sent, self.records[0].bytes_received), (4, TAKEOVER_BYTES))

    def test_a_client_that_ends_its_input_over_tls(self) -> None:
        self.switched()
        self.patch(type(connection_of(self.origin)), "end_writing", lambda _: False)
        self.client.end()
        self.assertTrue(self.client.disconnected and self.origin.disconnected)


class UpgradeTests(ProxyTestCase):
    """WebSockets are authorized, then relayed."""

    def upgrade(self, early: bytes = b"") -> None:
        """Send an upgrade request."""
        self.client.feed(request("GET", "http://origin.test/ws", *UPGRADE) + early)

    def switch(self) -> None:
        """Complete the upgrade."""
        self.upgrade()
        self.origin.take()
        self.origin.feed(SWITCH)
        self.client.take()

    def test_is_authorized_and_switched(self) -> None:
        self.upgrade()
        self.assertEqual(self.dialer.checked[0][1], Purpose.UPGRADE)
        self.assertEqual(self.authorizer.asked[0].url, "http://origin.test/ws")
        sent = self.origin.take()
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", sent)
        self.origin.feed(SWITCH)
        answer = self.client.take()
        self.assertEqual(status_of(answer), 101)
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", answer)
        self.client.feed(b"\x81\x01a")
        self.assertEqual(self.origin.take(), b"\x81\x01a")
        self.origin.feed(b"\x81\x02bc")
        self.assertEqual(self.client.take(), b"\x81\x02bc")
        self.assertEqual(self.records, [], "it is recorded at its end")
        self.client.lose()
        (record,) = self.records
        self.assertEqual(
            (record.outcome, record.status, record.bytes_sent, record.bytes_received), ("forwarded", 101, 3, 4)
        )

    def test_early_bytes_of_both_sides(self) -> None:
        self.upgrade(b"client")
        self.assertTrue(self.origin.take().endswith(b"\r\n\r\n"))
        self.origin.feed(SWITCH + b"origin")
        self.assertEqual(self.origin.take(), b"client")
        self.assertTrue(self.client.take().endswith(b"\r\n\r\norigin"))
        self.client.feed(b"more")
        self.assertEqual(self.origin.take(), b"more")

    def test_denied(self) -> None:
        self.authorizer.answers = [deny()]
        self.upgrade()
        self.assertEqual((status_of(self.client.take()), self.dialer.dialled), (403, []))

    def test_an_origin_that_does_not_switch(self) -> None:
        self.upgrade()
        self.origin.feed(response(b"no", status="400 Bad Request"))
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (400, ["forwarded"]))

    def test_never_over_a_pooled_connection(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        self.upgrade()
        self.assertEqual(len(self.dialer.origins), 2)

    def test_a_handshake_that_is_not_valid(self) -> None:
        """The request is not forwarded."""
        for fields in (UPGRADE[:3], (*UPGRADE[:3], "Sec-WebSocket-Key: eA=="), (*UPGRADE[:2], UPGRADE[3])):
            with self.subTest(fields):
                self.build()
                self.client.feed(request("GET", "http://origin.test/ws", *fields))
                self.assertEqual((status_of(self.client.take()), self.outcomes()), (400, ["bad-request"]))
                self.assertEqual((self.dialer.checked, self.authorizer.asked), ([], []))

    def test_a_wrong_accept(self) -> None:
        for accept in (b"", b"Sec-WebSocket-Accept: x\r\n", b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n"):
            with self.subTest(accept):
                self.build()
                self.upgrade()
                self.origin.feed(re.sub(rb"Sec-WebSocket-Accept: .*\r\n", accept, SWITCH) + b"bytes")
                answer = self.client.take()
                self.assertEqual((status_of(answer), self.outcomes()), (502, ["origin-protocol-error"]))
                self.assertNotIn(b"bytes", answer)
                self.assertTrue(self.origin.disconnected)

    def test_an_unsolicited_switch(self) -> None:
        self.client.feed(request())
        self.origin.feed(SWITCH + b"bytes")
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))
        self.assertTrue(self.origin.disconnected)

    def test_a_switch_to_a_protocol_that_was_not_forwarded(self) -> None:
        # The proxy supports only WebSockets here, and did not forward this upgrade.
        self.client.feed(request("GET", "http://origin.test/", "Connection: Upgrade", "Upgrade: h2c"))
        self.assertNotIn(b"h2c", self.origin.take())
        self.origin.feed(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
        self.assertEqual(self.outcomes(), ["origin-protocol-error"])

    def test_an_origin_that_switches_to_another_protocol(self) -> None:
        for fields in (
            b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
            b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
            b"Connection: Upgrade\r\n",
            b"Upgrade: websocket\r\n",
        ):
            with self.subTest(fields):
                self.build()
                self.upgrade()
                self.origin.feed(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\nbytes")
                self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["origin-protocol-error"]))
                self.assertTrue(self.origin.disconnected)

    def test_the_origin_closes(self) -> None:
        self.switch()
        self.origin.feed(b"bye")
        self.origin.lose()
        self.clock.advance(0)
        self.assertEqual(self.client.take(), b"bye")
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_the_client_closes_its_direction(self) -> None:
        self.switch()
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.clock.advance(0)
        self.assertTrue(self.origin.disconnected)

    def test_idle(self) -> None:
        self.switch()
        self.clock.advance(3599)
        self.client.feed(b"x")
        self.clock.advance(3599)
        self.origin.feed(b"y")
        self.clock.advance(3599)
        self.assertEqual(self.records, [])
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_backpressure(self) -> None:
        self.switch()
        self.assert_backpressure(self.client, self.origin)
        self.assert_backpressure(self.origin, self.client)

    def test_a_shutdown_aborts_it(self) -> None:
        self.switch()
        session_of(self.client).abort()
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.assertTrue(self.origin.disconnected)


class _SocketDialer(FakeDialer):
    """Connects to sockets whose other ends belong to the test."""

    far: Any = None
    sock: Any = None

    def connect(self, protocol: DialedProtocol, *, http2: bool = False) -> Any:
        self.far = server(self._clock, self.sock, protocol)
        return self.far


class SocketRelayUpgradeTests(TakeoverTestCase):
    """Upgraded connections that carry much data."""

    module = module
    charge: FakeCharge | None = None

    def setUp(self) -> None:
        self.connect(False)

    def connect(self, inside: bool) -> None:
        """Upgrade a connection.

        @param inside: inside a tunnel, as browsers do.
        """
        self.reactor = TurnedReactor()
        self.client, near = self.tcp_pair()
        self.origin, far = self.tcp_pair()
        dialer = _SocketDialer(self.reactor)
        dialer.sock = far
        self.proxy = FakeProxy(clock=self.reactor, dialer=dialer)
        if self.charge is not None:
            self.proxy.parts.authz.budgets = budgets = FakeBudgets()
            budgets.result = self.charge
            self.proxy.authorizer.answers = [allow_with(budgets=GIVEN)]
        self.near = server(self.reactor, near, ProxyFactory(self.proxy.parts).buildProtocol(None))
        asked = request("GET", "http://origin.test/ws", *UPGRADE)
        if inside:
            self.client.send(b"CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\n\r\n")
            self.reactor.settle()
            asked = request("GET", "/ws", *UPGRADE, host="origin.test:80")
        self.client.send(asked)
        self.reactor.settle()
        self.origin.send(SWITCH)
        self.reactor.settle()
        self.far = dialer.far
        self.assertIn(b" 101 ", read_all(self.client))
        read_all(self.origin)

    def record(self) -> tuple[str, int, int]:
        """Check that nothing is left, and return the single record."""
        self.assertEqual((self.reactor.reading, self.reactor.writing), (set(), set()))
        (record,) = self.proxy.records
        return record.outcome, record.bytes_sent, record.bytes_received

    def test_a_small_transfer(self) -> None:
        self.exchange(TAKEOVER_BYTES // 2 - 1)
        self.assertFalse(self.uses_socket_relay)

    def test_a_large_transfer(self) -> None:
        for inside in (False, True):
            with self.subTest(inside=inside):
                self.connect(inside)
                self.exchange()
                self.assertTrue(self.uses_socket_relay)
                self.exchange()
                self.client.close()
                self.reactor.settle()
                self.assertEqual(self.origin.recv(10), b"")
                self.origin.close()
                self.reactor.settle()
                self.assertEqual(self.record(), ("forwarded", 2 * TAKEOVER_BYTES, 2 * TAKEOVER_BYTES))

    def test_a_wait(self) -> None:
        """A budget holds both ways of relaying, and no takeover takes place meanwhile."""
        for size in (TAKEOVER_BYTES // 2 - 1, TAKEOVER_BYTES):
            with self.subTest(size=size):
                self.charge = FakeCharge(1 << 40)
                self.connect(False)
                self.exchange(size)
                self.charge.crowded_at = self.charge.most - 1
                self.client.send(b"one")
                self.reactor.settle()
                self.origin.send(b"two")
                self.client.send(b"three")
                self.reactor.settle()
                self.assertEqual((read_all(self.origin), read_all(self.client)), (b"one", b""))
                self.charge.crowded_at = -1
                self.charge.waiting.pop()()
                self.reactor.settle()
                self.assertEqual((read_all(self.origin), read_all(self.client)), (b"three", b"two"))
                self.assertTrue(self.uses_socket_relay)

    def test_data_with_the_switch_does_not_start_the_socket_relay(self) -> None:
        # The caller may still be about to resume a transport.
        self.reactor = TurnedReactor()
        client, near = self.tcp_pair()
        origin, far = self.tcp_pair()
        dialer = _SocketDialer(self.reactor)
        dialer.sock = far
        self.proxy = FakeProxy(clock=self.reactor, dialer=dialer)
        session: Any = ProxyFactory(self.proxy.parts).buildProtocol(None)
        server(self.reactor, near, session)
        session.dataReceived(request("GET", "http://origin.test/ws", *UPGRADE) + bytes(TAKEOVER_BYTES))
        dialer.far.protocol.dataReceived(SWITCH + bytes(TAKEOVER_BYTES))
        self.assertIn(dialer.far, self.reactor.reading)
        received = 0
        while received < 2 * TAKEOVER_BYTES:
            self.reactor.turn()
            received += len(read_all(client)) + len(read_all(origin))
        self.near, self.far = session.transport, dialer.far
        client.send(b"more")
        self.reactor.settle()
        self.assertTrue(self.uses_socket_relay)
        session.abort()
        self.reactor.settle()

    def test_a_slow_receiver(self) -> None:
        for client_is_slow in (False, True):
            with self.subTest(client_is_slow=client_is_slow):
                self.connect(False)
                sender, receiver = (self.origin, self.client) if client_is_slow else (self.client, self.origin)
                self.drain(receiver, self.fill(sender))
                self.assertTrue(self.uses_socket_relay)

    def test_the_origin_breaks(self) -> None:
        self.exchange()
        reset(self.origin)
        self.reactor.settle()
        self.assertEqual(self.client.recv(10), b"")
        self.assertEqual(self.record(), ("forwarded", TAKEOVER_BYTES, TAKEOVER_BYTES))

    def test_the_client_breaks(self) -> None:
        self.exchange()
        reset(self.client)
        self.reactor.settle()
        self.assertRaises(ConnectionResetError, self.origin.recv, 10)
        self.assertEqual(self.record(), ("forwarded", TAKEOVER_BYTES, TAKEOVER_BYTES))

    def test_idle(self) -> None:
        self.exchange()
        self.reactor.advance(3599)
        self.client.send(b"x")
        self.reactor.settle()
        self.reactor.advance(3599)
        self.assertEqual(self.proxy.records, [])
        self.reactor.advance(1)
        self.reactor.settle()
        self.assertEqual(self.record(), ("forwarded", TAKEOVER_BYTES + 1, TAKEOVER_BYTES))

    def test_a_shutdown(self) -> None:
        self.exchange()
        self.proxy.parts.sessions.abort()
        self.reactor.settle()
        self.assertEqual(self.record(), ("forwarded", TAKEOVER_BYTES, TAKEOVER_BYTES))


class UpstreamTests(ProxyTestCase):
    """Requests in absolute-form to an upstream proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
        origin = Origin("http", Authority("origin.test", 80))
        self.dialer.checks = [Route(origin, (), self.upstream, False, False)]

    def test_absolute_form_and_credentials(self) -> None:
        self.client.feed(request(url="http://origin.test/a?b"))
        sent = self.origin.take()
        self.assertTrue(sent.startswith(b"GET http://origin.test/a?b HTTP/1.1\r\nHost: origin.test\r\n"))
        self.assertIn(b"\r\nProxy-Authorization: Basic c2VjcmV0\r\n", sent)
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_a_challenge_to_the_proxy_is_not_forwarded(self) -> None:
        self.client.feed(request())
        self.origin.feed(response(b"who", "Proxy-Authenticate: Basic", status="407 Proxy Authentication Required"))
        answer = self.client.take()
        self.assertEqual((status_of(answer), self.outcomes()), (502, ["upstream-refused"]))
        self.assertIn(b"received-status=407", answer)
        self.assertNotIn(b"Basic", answer)
        self.assertTrue(self.origin.disconnected)
        self.assertEqual(self.records[0].status, 502)

    def test_a_challenge_of_an_origin_is_not_forwarded(self) -> None:
        """Without an upstream proxy, or in a tunnel through it, only the origin can send it."""
        origin = Origin("http", Authority("origin.test", 80))
        for upstream, connect in ((None, False), (self.upstream, True)):
            with self.subTest(upstream=upstream):
                self.dialer.checks = [Route(origin, (), upstream, False, connect)]
                client = self.connect()
                client.feed(request())
                self.origin.feed(response(b"who", "Proxy-Authenticate: Basic", status="407 Log In"))
                answer = client.take()
                self.assertEqual((status_of(answer), self.outcomes()[-1]), (502, "origin-protocol-error"))
                self.assertIn("responded with 407", self.records[-1].reason)
                self.assertNotIn(b"Basic", answer)
                self.assertNotIn(b"Log In", answer)
                self.assertTrue(self.origin.disconnected)

    def test_other_responses_are_forwarded(self) -> None:
        self.client.feed(request())
        self.origin.feed(response(b"no", status="502 Bad Gateway"))
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (502, ["forwarded"]))

    def test_unreachable(self) -> None:
        self.dialer.dials = [OriginUnreachable("x")]
        self.client.feed(request())
        self.assertEqual(status_of(self.client.take()), 502)
