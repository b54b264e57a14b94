"""Tests for L{egress.proxy.exchange_flow}; L{tests.proxy.test_forwarder} tests all except for waits."""

from __future__ import annotations

from egress.model.message import MessageObligation
from tests.messages.frames import frame
from tests.proxy.fakes import SWITCH, UPGRADE, ProxyTestCase, allow_with, content_of, request, response, status_of
from tests.proxy.test_budget_count import GIVEN, FakeBudgets, FakeCharge

ALL = 1 << 40
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return a chunk of content, whose length is not announced."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class WaitTests(ProxyTestCase):
    """An exchange whose budget waits."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy.parts.authz.budgets = budgets = FakeBudgets()
        budgets.result = self.charge = FakeCharge(ALL)
        self.authorizer.answers = [allow_with(budgets=GIVEN)]
        self.authorizer.needs_body = False

    def crowd(self) -> None:
        """The exchange must wait after the next data."""
        self.charge.crowded_at = ALL

    def go_on(self) -> None:
        self.charge.crowded_at = -1
        self.charge.waiting.pop()()

    def test_response(self) -> None:
        """The origin is paused, whichever of the two reasons ends first."""
        self.client.high_water = 100
        self.client.feed(request())
        self.crowd()
        self.origin.feed(b"HTTP/1.1 200 OK\r\n" + CHUNKED + chunk(b"x" * 200))
        self.assertTrue(self.origin.paused)
        self.client.unchoke()
        self.assertTrue(self.origin.paused)
        self.go_on()
        self.assertFalse(self.origin.paused)
        self.crowd()
        self.origin.feed(chunk(b"x" * 150))
        self.go_on()
        self.assertTrue(self.origin.paused)
        while self.origin.paused:
            self.client.unchoke()
        self.origin.feed(chunk(b"x" * 50) + END)
        self.client.unchoke()
        self.client.unchoke()
        self.assertEqual((content_of(self.client.take()).count(b"x"), self.outcomes()), (400, ["forwarded"]))

    def test_end_of_the_response(self) -> None:
        """What arrived together with the data that must wait is processed afterwards; the connection is reused."""
        self.client.feed(request())
        self.crowd()
        self.origin.feed(b"HTTP/1.1 200 OK\r\n" + CHUNKED + chunk(b"abc") + chunk(b"def") + END)
        self.assertEqual(self.records, [])
        self.go_on()
        self.assertEqual((content_of(self.client.take())[3:9], self.outcomes()), (b"abcdef", ["forwarded"]))
        self.assertFalse(self.origin.paused)
        self.assertEqual(len(self.proxy.pool), 1)

    def test_content(self) -> None:
        """Content waits in the client connection."""
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked"))
        self.origin.take()
        self.crowd()
        self.client.feed(chunk(b"abc"))
        self.assertTrue(self.origin.paused)
        self.client.feed(chunk(b"def") + END)
        self.assertEqual((self.origin.take(), self.client.paused), (chunk(b"abc"), True))
        # The origin is ready, which does not end the wait.
        self.origin.choke()
        self.origin.unchoke()
        self.assertEqual(self.origin.take(), b"")
        self.go_on()
        sent = chunk(b"def") + END
        self.assertEqual((self.origin.take(), self.client.paused, self.origin.paused), (sent, False, False))
        self.origin.feed(response(b"thanks"))
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (200, ["forwarded"]))

    def test_client_is_lost(self) -> None:
        """The charge is closed, and its wait does not continue anything."""
        self.client.feed(request())
        self.crowd()
        self.origin.feed(b"HTTP/1.1 200 OK\r\n" + CHUNKED + chunk(b"x"))
        self.client.lose()
        self.assertEqual((self.charge.closed, self.outcomes()), (1, ["client-disconnected"]))
        self.go_on()
        self.assertTrue(self.origin.aborted)

    def test_origin_is_lost(self) -> None:
        """What was received before is still forwarded."""
        self.client.feed(request())
        self.crowd()
        self.origin.feed(b"HTTP/1.1 200 OK\r\n" + CHUNKED + chunk(b"ab"))
        self.origin.lose()
        self.assertEqual((len(self.records), self.charge.closed), (1, 1))
        self.go_on()

    def test_upgrade(self) -> None:
        """Both directions are paused."""
        self.client.feed(request("GET", "http://origin.test/ws", *UPGRADE))
        self.origin.feed(SWITCH)
        self.origin.take()
        self.client.take()
        self.crowd()
        self.client.feed(b"ping")
        self.assertEqual((self.origin.take(), self.client.paused, self.origin.paused), (b"ping", True, True))
        self.origin.choke()
        self.go_on()
        self.assertEqual((self.client.paused, self.origin.paused), (True, False))
        self.crowd()
        self.origin.feed(b"pong")
        self.origin.unchoke()
        self.assertEqual((self.client.paused, self.origin.paused), (True, True))
        self.go_on()
        self.assertEqual((self.client.paused, self.origin.paused), (False, False))
        self.client.lose()

    def test_messages(self) -> None:
        """Messages are authorized during a wait, and do not end it."""
        self.authorizer.answers = [allow_with(budgets=GIVEN, messages=MessageObligation())]
        self.client.feed(request("GET", "http://origin.test/ws", *UPGRADE))
        self.origin.take()
        self.origin.feed(SWITCH)
        self.client.take()
        decision = self.authorizer.pending()
        self.crowd()
        self.client.feed(frame(b"ping", masked=True))
        self.origin.feed(frame(b"pong"))
        self.assertEqual((self.client.paused, self.origin.paused), (True, True))
        decision.callback(allow_with())
        self.assertEqual((self.client.paused, self.origin.paused), (True, True))
        self.go_on()
        self.assertEqual((self.client.paused, self.origin.paused), (False, False))
        self.client.lose()
        self.clock.advance(5)
