"""Tests for L{egress.authz_service.http_channel}."""

from __future__ import annotations

import json

import attrs
from twisted.internet.defer import Deferred

from egress.authz_service.http_channel import CallerSite
from egress.model.decision import Decision, Verdict
from tests.authz.fakes import FixedAuthorizer, ManualAuthorizer
from tests.authz_service.callers import ALLOWED, CallerTestCase, post
from tests.proxy.fakes import Wire, status_of

QUESTION = post(json.dumps(ALLOWED).encode())


class ConnectionTests(CallerTestCase):
    """The lifetime of a connection."""

    def test_reuse(self) -> None:
        self.serve()
        wire = self.connect()
        for _ in range(3):
            self.assertEqual(status_of(wire.feed(QUESTION).take()), 200)
            self.reactor.advance(74)
        self.reactor.advance(1)
        self.assertTrue(wire.disconnected)
        self.assertEqual(wire.take(), b"")

    def test_pipelined_requests(self) -> None:
        self.serve()
        self.assertEqual(self.connect().feed(QUESTION + QUESTION).take().count(b'"allowed":true'), 2)

    def test_chunked_in_pieces(self) -> None:
        self.serve()
        wire = self.connect()
        content = json.dumps(ALLOWED).encode()
        wire.feed(b"POST /validate HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(content), 7):
            piece = content[at : at + 7]
            wire.feed(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.assertEqual(status_of(wire.feed(b"0\r\n\r\n").take()), 200)

    def test_closed_on_request(self) -> None:
        self.serve()
        wire = self.connect().feed(post(json.dumps(ALLOWED).encode(), "Connection: close"))
        self.assertIn(b"\r\nConnection: close", wire.take())
        self.assertTrue(wire.disconnected)

    def test_idle_timeout(self) -> None:
        self.serve()
        wire = self.connect()
        self.reactor.advance(75)
        self.assertTrue(wire.disconnected)

    def test_slow_request(self) -> None:
        """A byte now and then does not extend the timeout."""
        self.serve()
        for begun in (b"POST /val", QUESTION[:-1]):
            with self.subTest(begun):
                wire = self.connect().feed(begun[:-1])
                for _ in range(14):
                    self.reactor.advance(1)
                    self.assertFalse(wire.disconnecting)
                wire.feed(begun[-1:])
                self.reactor.advance(1)
                self.reactor.advance(0)
                self.assertEqual(wire.take()[:12], b"HTTP/1.1 408")
                self.assertTrue(wire.disconnected)
        self.assertEqual(self.number('egressauthz_rejected_total{kind="request-timeout"}'), 2)

    def test_caller_that_does_not_close(self) -> None:
        """A connection that the caller keeps open is aborted."""
        self.serve()
        wire = self.connect()
        # The caller reads nothing, and the response waits in the buffer.
        wire.high_water = 1 << 20
        wire.feed(QUESTION)
        self.reactor.advance(75)
        self.assertFalse(wire.disconnected)
        self.reactor.advance(15)
        self.reactor.advance(0)
        self.assertTrue(wire.aborted)

    def test_not_http(self) -> None:
        self.serve()
        begun = b"POST /validate HTTP/1.1\r\n"
        for data, status in (
            (b"garbage\r\n\r\n", 400),
            (begun + b"No colon\r\n\r\n", 400),
            (begun + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (begun + b"A: b\r\n" * 3000, 400),
            (b"A: " + b"x" * 20000 + b"\r\n", 431),
            (begun + b"A: " + b"x" * 20000 + b"\r\n", 431),
        ):
            with self.subTest(data[:40]):
                wire = self.connect().feed(data)
                self.assertEqual(int(wire.take()[9:12]), status)
                self.reactor.advance(0)
                self.assertTrue(wire.disconnected)

    def test_whole_server(self) -> None:
        """The resource responds to C{OPTIONS *}, too."""
        self.serve()
        wire = self.connect().feed(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(status_of(wire.take()), 404)

    def test_endless_request(self) -> None:
        """A request that continues long after its limit is aborted."""
        self.serve(body_limit=1)
        wire = self.connect().feed(b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
        piece = b"x" * (1024 * 1024)
        for _ in range(6):
            wire.feed(piece)
        self.assertTrue(wire.aborted)


class RoomTests(CallerTestCase):
    """The limit of connections."""

    def test_limit(self) -> None:
        self.serve(ManualAuthorizer(), connections=2)
        first, second = self.connect().feed(QUESTION), self.connect().feed(QUESTION)
        third = self.connect()
        self.reactor.advance(0)
        self.assertTrue(third.aborted, "the others wait for their answers")
        self.assertEqual(self.number('egressauthz_rejected_total{kind="too-many-connections"}'), 1)
        self.assertEqual(self.number("egressauthz_connections"), 2)
        first.lose()
        fourth = self.connect()
        self.reactor.advance(0)
        self.assertEqual((second.disconnected, fourth.disconnected), (False, False))

    def test_idle_connection_is_replaced(self) -> None:
        self.serve(connections=2)
        first, second = self.connect().feed(QUESTION), self.connect()
        third = self.connect()
        self.reactor.advance(0)
        self.assertEqual((first.aborted, second.aborted), (True, False))
        self.assertEqual(status_of(third.feed(QUESTION).take()), 200)
        self.assertEqual(self.number("egressauthz_connections"), 2)

    def test_unauthenticated_connections_do_not_block_callers_with_the_token(self) -> None:
        self.serve(connections=3, token="hunter2")
        shown = post(json.dumps(ALLOWED).encode(), "Authorization: Bearer hunter2")
        known = self.connect()
        self.assertEqual(status_of(known.feed(shown).take()), 200)
        for _ in range(20):
            stranger = self.connect()
            stranger.feed(b"POST /validate HTTP/1.1\r\n")
        other = self.connect()
        self.assertEqual(status_of(other.feed(shown).take()), 200)
        self.assertEqual(status_of(known.feed(shown).take()), 200)
        self.assertEqual(self.number("egressauthz_connections"), 3)


class MemoryTests(CallerTestCase):
    """The limit of memory for requests."""

    def site(self) -> CallerSite:
        site = self.reactor.tcpServers[0][1]
        assert isinstance(site, CallerSite)
        return site

    def begin(self, content: bytes, *fields: str) -> Wire:
        """Send all but the last byte of a request."""
        return self.connect().feed(post(content, *fields)[:-1])

    def test_release(self) -> None:
        """The memory of a request is released after its response, and after its end."""
        self.serve()
        first, second = self.begin(b"x" * 1000), self.begin(b"x" * 2000)
        self.assertEqual(self.site().buffered, 999 + 1999)
        first.feed(b"x")
        second.lose()
        self.assertEqual(self.site().buffered, 0)
        self.connect().feed(QUESTION + QUESTION).lose()
        self.assertEqual(self.site().buffered, 0)

    def test_unauthenticated(self) -> None:
        """Without the token, no content is buffered."""
        self.serve(token="t")
        stranger, caller = self.begin(b"x" * 1000), self.begin(b"x" * 1000, "Authorization: Bearer t")
        self.assertEqual(self.site().buffered, 999)
        self.assertEqual(status_of(stranger.feed(b"x").take()), 401)
        self.assertEqual(status_of(caller.feed(b"x").take()), 400)

    def test_too_many_large_requests(self) -> None:
        self.serve()
        site = self.site()
        site.limits = attrs.evolve(site.limits, buffered=1500)
        first, second = self.begin(b"x" * 1000), self.begin(b"x" * 1000)
        self.assertEqual(site.buffered, 999)
        self.assertEqual(status_of(second.feed(b"x").take()), 503)
        self.assertEqual(self.number('egressauthz_rejected_total{kind="overloaded"}'), 1)
        self.assertEqual(status_of(second.feed(QUESTION).take()), 200, "there is room for a short one")
        self.assertEqual(status_of(first.feed(b"x").take()), 400)
        self.assertEqual(site.buffered, 0)


class DrainTests(CallerTestCase):
    """A service that stops."""

    def test_idle(self) -> None:
        self.serve()
        kept = self.connect().feed(QUESTION)
        stopped = self.service.stopService()
        self.reactor.advance(0)
        self.assertTrue(kept.disconnected)
        self.assertIsNone(self.successResultOf(stopped))

    def test_request_in_progress(self) -> None:
        """It gets a response, and then the connection closes."""
        answer: Deferred[Decision] = Deferred()
        self.serve(FixedAuthorizer(answer))
        waiting = self.connect().feed(QUESTION)
        begun = self.connect().feed(QUESTION[:30])
        stopped = self.service.stopService()
        self.reactor.advance(0)
        self.assertFalse(waiting.disconnected or begun.disconnected)
        answer.callback(Decision(Verdict.ALLOW, "late", "fake"))
        self.reactor.advance(0)
        self.assertEqual(status_of(waiting.take()), 200)
        self.assertTrue(waiting.disconnected)
        begun.feed(QUESTION[30:])
        self.reactor.advance(0)
        self.assertIn(b"\r\nConnection: close", begun.take())
        self.assertIsNone(self.successResultOf(stopped))

    def test_drain_timeout(self) -> None:
        self.serve()
        begun = self.connect().feed(QUESTION[:30])
        stopped = self.service.stopService()
        for _ in range(16):
            self.reactor.advance(1)
        self.reactor.advance(0)
        self.assertTrue(begun.disconnected, "the time for a question is over before the one for stopping")
        self.assertIsNone(self.successResultOf(stopped))

    def test_abort(self) -> None:
        self.serve(FixedAuthorizer(Deferred()), drain_timeout=2.0)
        waiting = self.connect().feed(QUESTION)
        stopped = self.service.stopService()
        self.reactor.advance(1)
        self.assertFalse(waiting.disconnected)
        self.reactor.advance(1)
        self.reactor.advance(0)
        self.assertTrue(waiting.aborted)
        self.assertIsNone(self.successResultOf(stopped))
