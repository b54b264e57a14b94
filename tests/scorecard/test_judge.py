"""Tests for L{tests.scorecard.judge}: the errors that the judge detects."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.scorecard.cases import FRESH, OK, UNASKED, Case, close, cut, forward, refuse
from tests.scorecard.judge import Arrival, Kind, Outcome, Question, Seen, judge, seen_by
from tests.scorecard.socks_wire import reply

CASE = Case("case", "a group", "a request", refuse())
REPLY = Case("reply", "a group", "a response", refuse(), (b"GET /", b"GET /"), reply=True)
GET = b"GET /a HTTP/1.1\r\nHost: localhost:80\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 2\r\n\r\nab"
ASKED = Question("GET", "http://localhost:80/a", b"", True)
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


class RequestTests(SynchronousTestCase):
    """The requests at the origin, and the decisions about them."""

    def judged(
        self,
        *arrived: bytes,
        asked: tuple[Question, ...] = (ASKED,),
        received: bytes = OK,
        closed: bool = False,
        tls: bool = False,
    ) -> Outcome:
        arrivals = tuple(Arrival(80, tls, data) for data in arrived)
        return judge(CASE, Seen(received, closed, arrivals, asked))

    def test_good(self) -> None:
        self.assertEqual(self.judged(GET), Outcome(Kind.NORMALIZED, 1))
        self.assertEqual(self.judged(GET + GET, asked=(ASKED, ASKED)), Outcome(Kind.NORMALIZED, 2))
        self.assertEqual(self.judged(GET, received=OK + REFUSAL), Outcome(Kind.NORMALIZED, 1, 400))
        self.assertEqual(self.judged(POST, asked=(Question("POST", ASKED.url, b"ab", True),)).kind, Kind.NORMALIZED)
        self.assertEqual(self.judged(POST, asked=(Question("POST", ASKED.url, None, True),)).kind, Kind.NORMALIZED)

    def test_clients_that_are_to_be_kept_apart(self) -> None:
        asked, apart = (ASKED, ASKED), attrs.evolve(CASE, apart=True)
        together = Seen(OK, False, (Arrival(80, False, GET + GET),), asked)
        self.assertEqual(judge(apart, together).kind, Kind.UNAUTHORIZED)
        two = Seen(OK, False, (Arrival(80, False, GET), Arrival(80, False, GET)), asked)
        self.assertEqual(judge(apart, two), Outcome(Kind.NORMALIZED, 2))

    def test_the_client_of_a_decision(self) -> None:
        case = attrs.evolve(CASE, client="192.0.2.7")
        for client, kind in ((None, Kind.NORMALIZED), ("192.0.2.7", Kind.NORMALIZED), ("::1", Kind.UNAUTHORIZED)):
            asked = (attrs.evolve(ASKED, client=client),)
            outcome = judge(case, Seen(OK, False, (Arrival(80, False, GET),), asked))
            self.assertEqual(outcome.kind, kind)

    def test_denied_content(self) -> None:
        """The decision of another proxy about content is not known, so only the result counts."""
        seen = Seen(OK, False, (Arrival(80, False, GET),), (attrs.evolve(ASKED, content=None),))
        case = attrs.evolve(CASE, by_content=True)
        self.assertEqual(judge(case, seen).kind, Kind.UNAUTHORIZED)
        self.assertEqual(judge(attrs.evolve(case, one_reading=True), seen).kind, Kind.NORMALIZED)
        self.assertEqual(judge(attrs.evolve(case, must=forward()), seen).kind, Kind.NORMALIZED)

    def test_socks(self) -> None:
        case = attrs.evolve(CASE, socks=(b"\5\1\0",), must=refuse(reply(7), 403))
        for received, expected in (
            (b"\5\0\5\7\0\1" + bytes(6), Outcome(Kind.REFUSED, status=reply(7))),
            (b"\5\0\5\0\0\1" + bytes(6) + REFUSAL.replace(b"400", b"403"), Outcome(Kind.REFUSED, status=403)),
            (b"\5\0\5\0\0\1" + bytes(6), Outcome(Kind.CLOSED)),
        ):
            outcome = judge(case, seen_by(case, received, True, (), ()))
            self.assertEqual(outcome, expected)
            self.assertEqual(outcome.meets(case.must), outcome.kind is Kind.REFUSED)
        arrived = seen_by(case, b"\5\xff", True, (Arrival(80, False, GET),), ())
        self.assertEqual(judge(case, arrived).kind, Kind.UNAUTHORIZED)

    def test_other_spellings(self) -> None:
        for arrived, url in (
            (b"GET /a HTTP/1.1\r\nHost: LOCALHOST.:80\r\n\r\n", "http://localhost:80/a"),
            (b"GET /a HTTP/1.1\r\nHost: localhost:80\r\n\r\n", "http://LocalHost.:80/a"),
            (b"GET http://localhost:80/a HTTP/1.1\r\nHost: localhost:80\r\n\r\n", "http://localhost:80/a"),
            (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", "http://localhost:80/%C3%A4"),
            (b"GET /\xe4\\ HTTP/1.1\r\nHost: localhost:80\r\n\r\n", "http://localhost:80/%E4%5C"),
            (b'GET /"<>^`{|} HTTP/1.1\r\nHost: localhost:80\r\n\r\n', "http://localhost:80/%22%3C%3E%5E%60%7B%7C%7D"),
            (b"OPTIONS * HTTP/1.1\r\nHost: localhost:80\r\n\r\n", "http://localhost:80"),
        ):
            with self.subTest(arrived):
                question = Question(arrived.split(b" ")[0].decode(), url, b"", True)
                self.assertEqual(self.judged(arrived, asked=(question,)).kind, Kind.NORMALIZED)

    def test_nothing_arrived(self) -> None:
        self.assertEqual(self.judged(received=REFUSAL), Outcome(Kind.REFUSED, status=400))
        self.assertEqual(self.judged(received=b"", closed=True).kind, Kind.CLOSED)
        self.assertEqual(self.judged(received=b"").kind, Kind.HANG)

    def test_not_authorized(self) -> None:
        other = Question("GET", "http://other.test:80/a", b"", True)
        for name, arrived, asked in (
            ("no decision", GET, ()),
            ("denied", GET, (Question("GET", ASKED.url, b"", False),)),
            ("one decision for two requests", GET + GET, (ASKED,)),
            ("another method", GET.replace(b"GET", b"PUT"), (ASKED,)),
            ("another target", GET.replace(b"/a", b"/b"), (ASKED,)),
            ("another host", GET.replace(b"localhost", b"other.test"), (ASKED,)),
            ("a decision about another host", GET, (other,)),
            ("a URL of another host", GET.replace(b"/a", b"http://other.test:80/a"), (other,)),
            ("capitals in the path", GET.replace(b"/a", b"/A"), (ASKED,)),
            ("sent to another host", GET.replace(b"localhost:80", b"other.test:81"), (other,)),
            ("other content", POST, (Question("POST", ASKED.url, b"xy", True),)),
            ("ambiguous", GET[:-2] + b"A: b\nC: d\r\n\r\n", (ASKED,)),
            ("half a head behind it", GET + b"GET /smug", (ASKED,)),
        ):
            with self.subTest(name):
                self.assertEqual(self.judged(arrived, asked=asked).kind, Kind.UNAUTHORIZED)
        self.assertEqual(self.judged(GET, tls=True).kind, Kind.UNAUTHORIZED)
        self.assertEqual(self.judged(GET, received=OK + UNASKED).kind, Kind.UNAUTHORIZED)

    def test_must(self) -> None:
        self.assertTrue(Outcome(Kind.REFUSED, status=400).meets(refuse()))
        self.assertFalse(Outcome(Kind.REFUSED, status=502).meets(refuse()))
        self.assertFalse(Outcome(Kind.CLOSED).meets(refuse()))
        self.assertTrue(Outcome(Kind.NORMALIZED, 1, 403).meets(forward(1, 403)))
        for outcome in (
            Outcome(Kind.NORMALIZED, 2),
            Outcome(Kind.NORMALIZED, 1, 400),
            Outcome(Kind.NORMALIZED, 1),
            Outcome(Kind.REFUSED, status=403),
            Outcome(Kind.HANG),
            Outcome(Kind.UNAUTHORIZED, why="x"),
        ):
            self.assertFalse(outcome.meets(forward(1, 403)), outcome)
        self.assertTrue(Outcome(Kind.CUT).meets(cut()))
        self.assertFalse(Outcome(Kind.NORMALIZED, 1, 403).meets(forward()))
        for must, text in (
            (refuse(400, 501), "400 or 501"),
            (close(), "closed"),
            (forward(2), "well framed ×2"),
            (forward(1, 403), "well framed, then 403"),
            (cut(), "502 or truncated"),
        ):
            self.assertEqual(str(must), text)

    def test_text(self) -> None:
        for outcome, text in (
            (Outcome(Kind.REFUSED, status=400), "rejected 400"),
            (Outcome(Kind.NORMALIZED, 1), "well framed"),
            (Outcome(Kind.NORMALIZED, 2, 403), "well framed ×2, then 403"),
            (Outcome(Kind.UNAUTHORIZED, why="x"), "**not authorized**: x"),
            (Outcome(Kind.HANG), "hang"),
        ):
            self.assertEqual(str(outcome), text)


class ReplyTests(SynchronousTestCase):
    """The responses at the client."""

    def judged(self, received: bytes, *, closed: bool = False) -> Outcome:
        return judge(REPLY, Seen(received, closed, (Arrival(80, False, GET + GET),), (ASKED, ASKED)))

    def test_good(self) -> None:
        self.assertEqual(self.judged(OK + FRESH), Outcome(Kind.NORMALIZED, 1))
        self.assertEqual(self.judged(REFUSAL + FRESH), Outcome(Kind.REFUSED, status=400))
        self.assertEqual(self.judged(OK[:-1], closed=True), Outcome(Kind.CUT))
        self.assertEqual(self.judged(b"", closed=True), Outcome(Kind.CUT))
        self.assertEqual(self.judged(OK[:-1]), Outcome(Kind.HANG))

    def test_not_authorized(self) -> None:
        smuggled = FRESH.replace(b"fresh", b"other")
        for received in (OK + smuggled, OK + FRESH + FRESH, OK + b"\x00\r\n\r\n", OK[:-4].replace(b"\r\n", b"\n")):
            with self.subTest(received):
                self.assertEqual(self.judged(received, closed=True).kind, Kind.UNAUTHORIZED)
