"""Tests for L{egress.proxy.body_collector}."""

from __future__ import annotations

from egress.config.model import Limits
from egress.proxy.body_collector import FIRST
from tests.proxy.fakes import ProxyTestCase, Wire, request, response, status_of

CHUNKED = request("POST", "http://origin.test/", "Transfer-Encoding: chunked")


class CollectingTests(ProxyTestCase):
    """Content that is collected for decisions shares memory."""

    def setUp(self) -> None:
        self.build(limits=Limits(body=50, body_memory=100))
        self.authorizer.needs_body = True
        self.contents = self.proxy.parts.contents

    def tearDown(self) -> None:
        super().tearDown()
        self.assertEqual((self.contents.held, self.contents.waiting), (0, 0))

    def begin(self, client: Wire, size: int) -> bytes:
        """Send a request without the last byte of its content.

        @return: that byte.
        """
        data = request("POST", body=b"x" * size)
        client.feed(data[:-1])
        return data[-1:]

    def test_held_until_the_end_of_the_exchange(self) -> None:
        rest = self.begin(self.client, 50)
        self.assertEqual(self.contents.held, 50)
        self.client.feed(rest)
        self.assertEqual((len(self.authorizer.asked), self.contents.held), (1, 50))
        self.origin.feed(response())
        self.assertEqual((status_of(self.client.take()), self.contents.held), (200, 0))

    def test_nothing_without_content(self) -> None:
        self.client.feed(request())
        self.assertEqual(self.contents.held, 0)
        self.origin.feed(response())

    def test_only_one_of_two_clients_waits(self) -> None:
        rest = self.begin(self.client, 50)
        second, other = self.connect(), self.connect("198.51.100.8")
        last = self.begin(second, 50)
        self.assertEqual((self.contents.held, self.contents.waiting), (50, 1))
        self.assertTrue(second.paused)
        other.feed(self.begin(other, 50))
        self.assertEqual(len(self.authorizer.asked), 1)
        self.origin.feed(response())
        self.assertEqual(status_of(other.take()), 200)
        self.assertEqual(self.contents.waiting, 1)
        self.client.feed(rest)
        self.origin.feed(response())
        self.clock.advance(0)
        self.assertFalse(second.paused)
        second.feed(last)
        self.origin.feed(response())
        self.assertEqual(status_of(second.take()), 200)

    def test_memory_never_available(self) -> None:
        claims = [self.contents.claim(client, 50, lambda: None) for client in "ab"]
        self.begin(self.client, 50)
        self.clock.advance(299)
        self.assertEqual(self.outcomes(), [])
        self.clock.advance(1)
        data = self.client.take()
        self.assertEqual((status_of(data), self.outcomes()), (503, ["content-memory-exhausted"]))
        self.assertIn(b"Retry-After: 1\r\n", data)
        for claim in claims:
            claim.end()

    def test_a_waiting_client_gets_a_100_when_memory_is_available(self) -> None:
        claims = [self.contents.claim(client, 50, lambda: None) for client in "ab"]
        self.client.feed(request("POST", "http://origin.test/", "Expect: 100-continue", body=b"x" * 50)[:-50])
        self.assertEqual(self.client.take(), b"")
        claims[0].end()
        self.clock.advance(0)
        self.assertEqual(self.client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.feed(b"x" * 50)
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        claims[1].end()

    def test_a_client_that_leaves(self) -> None:
        self.begin(self.client, 50)
        second = self.connect()
        self.begin(second, 50)
        second.lose()
        self.assertEqual(self.contents.waiting, 0)
        self.client.lose()
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-disconnected", "client-disconnected"])

    def test_short_content_of_unknown_length_releases_the_rest(self) -> None:
        self.client.feed(CHUNKED + b"3\r\nabc\r\n")
        self.assertEqual(self.contents.held, 50)
        self.client.feed(b"0\r\n\r\n")
        self.assertEqual((len(self.authorizer.asked), self.contents.held), (1, 3))
        self.origin.feed(response())


class LongTests(ProxyTestCase):
    """Content of unknown length requests more memory when it is long."""

    def setUp(self) -> None:
        self.build(limits=Limits(body=4 * FIRST, body_memory=8 * FIRST))
        self.authorizer.needs_body = True
        self.contents = self.proxy.parts.contents

    def chunk(self) -> bytes:
        return b"%x\r\n%b\r\n" % (FIRST // 4, b"x" * (FIRST // 4))

    def test_growing(self) -> None:
        self.client.feed(CHUNKED)
        self.assertEqual(self.contents.held, FIRST)
        for _ in range(4):
            self.client.feed(self.chunk())
            self.clock.advance(0)
        self.assertEqual(self.contents.held, 4 * FIRST)
        self.client.feed(b"0\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual((len(self.authorizer.asked), self.contents.held), (1, FIRST))
        self.origin.feed(response())

    def test_waiting_after_the_first_part(self) -> None:
        claim = self.contents.claim("other", 6 * FIRST, lambda: None)
        self.client.feed(CHUNKED)
        for _ in range(4):
            self.client.feed(self.chunk())
            self.clock.advance(0)
        self.assertEqual((self.contents.held, self.contents.waiting), (7 * FIRST, 1))
        self.client.feed(self.chunk())
        self.assertTrue(self.client.paused)
        claim.end()
        self.clock.advance(0)
        self.client.feed(b"0\r\n\r\n")
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual(len(self.authorizer.asked[0].body or b""), 5 * FIRST // 4)
        self.origin.feed(response())
