"""Tests for L{egress.authz.breaker}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.breaker import FIRST_DELAY, LAST_DELAY, TRANSITIONS, Breaker, State

MOST = 3
LULL = 60.0
CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class BreakerTestCase(SynchronousTestCase):
    """A breaker that opens after three outages, and a time."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.jitter = 1.0
        self.breaker = Breaker(MOST, LULL, lambda: self.jitter)

    def outages(self, number: int = 1, client: str = "a") -> bool:
        """So many questions of a client have no answer.

        @return: whether the last of them opened the breaker.
        """
        opened = False
        for _ in range(number):
            opened = self.breaker.outage(self.now, client, self.breaker.term)
        return opened

    def opened(self, client: str = "a") -> None:
        self.assertTrue(self.outages(MOST, client))

    def half_opened(self, client: str = "a") -> None:
        self.opened(client)
        self.breaker.reached(self.now)

    def answer(self, client: str = "a") -> None:
        self.breaker.answered(self.now, client)

    def admit(self, client: str = "a") -> bool:
        return self.breaker.admit(self.now, client)


class StateTests(BreakerTestCase):
    """What happens in which state."""

    def test_steps(self) -> None:
        breaker = lambda: self.breaker  # noqa: E731
        outage: Callable[[], Any] = self.outages
        events: dict[str, Callable[[], Any]] = {
            "outage": outage,
            "outages": lambda: self.outages(MOST),
            "answer": self.answer,
            "reached": lambda: breaker().reached(self.now),
            "unreached": lambda: breaker().unreached(self.now),
            "probe": self.admit,
        }
        for script, expected in (
            ("", CLOSED),
            ("answer", CLOSED),
            ("outage outage", CLOSED),
            ("outage outage outage", OPEN),
            ("outage outage answer outage outage", CLOSED),
            ("outages answer", CLOSED),
            ("outages unreached", OPEN),
            ("outages unreached reached", HALF_OPEN),
            ("outages probe", OPEN),
            ("outages reached", HALF_OPEN),
            ("outages reached answer", CLOSED),
            ("outages reached probe", HALF_OPEN),
            ("outages reached probe answer", CLOSED),
            ("outages reached probe outage", OPEN),
            ("outages reached probe outage reached probe answer", CLOSED),
            ("outages reached probe answer outage outage", CLOSED),
            ("outages reached probe answer outages", OPEN),
        ):
            with self.subTest(script):
                self.setUp()
                for event in script.split():
                    events[event]()
                self.assertIs(self.breaker.state, expected)
                # So that whoever looks need not look at more when all is well.
                self.assertEqual(self.breaker.outages == 0, script in ("", "answer") or script.endswith("answer"))

    def test_illegal_steps(self) -> None:
        self.assertRaises(AssertionError, self.breaker.reached, self.now)
        self.half_opened()
        self.assertRaises(AssertionError, self.breaker.reached, self.now)

    def test_the_table_has_every_state(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(State))

    def test_it_may_never_open(self) -> None:
        self.breaker = Breaker(None, LULL, lambda: 0.5)
        self.assertFalse(self.outages(10_000))
        self.assertIs(self.breaker.state, CLOSED)

    def test_how_often_it_opened(self) -> None:
        self.half_opened()
        self.admit()
        self.outages()
        self.assertEqual(self.breaker.opened, 1)
        self.answer()
        self.opened()
        self.assertEqual(self.breaker.opened, 2)


class SeriesTests(BreakerTestCase):
    """Which outages are in a row."""

    def test_since_when(self) -> None:
        self.outages()
        self.now += 5
        self.outages()
        self.assertEqual(self.breaker.since, 1000)
        self.answer()
        self.outages()
        self.assertEqual(self.breaker.since, 1005)

    def test_a_lull(self) -> None:
        for lull, expected in ((LULL, OPEN), (LULL + 1, CLOSED)):
            with self.subTest(lull):
                self.setUp()
                self.outages(MOST - 1)
                self.now += lull
                self.outages()
                self.assertIs(self.breaker.state, expected)
        self.assertEqual((self.breaker.outages, self.breaker.since), (1, self.now))

    def test_whoever_asks(self) -> None:
        for now in (0.0, 1000.0):
            with self.subTest(now):
                self.setUp()
                self.now = now
                for client in ("a", "b"):
                    self.outages(1, client)
                self.assertTrue(self.outages(1, "c"))

    def test_questions_of_an_earlier_term(self) -> None:
        before = self.breaker.term
        self.opened()
        late = lambda: self.breaker.outage(self.now, "a", before)  # noqa: E731
        self.assertFalse(late())
        retry_at = self.breaker.retry_at
        self.breaker.reached(self.now)
        self.assertFalse(late())
        self.assertIs(self.breaker.state, HALF_OPEN)
        self.admit()
        self.assertFalse(late())
        self.answer()
        for _ in range(MOST):
            self.assertFalse(late())
        self.assertEqual((self.breaker.state, self.breaker.outages), (CLOSED, 0))
        self.assertEqual(self.breaker.retry_at, retry_at)

    def test_a_late_answer_is_an_answer(self) -> None:
        self.opened()
        self.answer()
        self.assertIs(self.breaker.state, CLOSED)

    def test_a_probe_that_a_late_answer_overtakes(self) -> None:
        self.half_opened()
        self.admit()
        probe = self.breaker.term
        self.answer()
        self.assertFalse(self.breaker.outage(self.now, "a", probe))
        self.assertEqual(self.breaker.outages, 0)


class DelayTests(BreakerTestCase):
    """When it is tried again."""

    def delay(self) -> float:
        return self.breaker.retry_at - self.now

    def test_it_grows_up_to_a_bound(self) -> None:
        self.opened()
        delays = [self.delay()]
        for _ in range(2):
            self.breaker.unreached(self.now)
            delays.append(self.delay())
        self.breaker.reached(self.now)
        self.admit()
        self.outages()
        delays.append(self.delay())
        for _ in range(2000):
            self.breaker.unreached(self.now)
        delays.append(self.delay())
        self.assertEqual(delays, [FIRST_DELAY, 2, 4, 8, LAST_DELAY])

    def test_it_begins_anew(self) -> None:
        self.opened()
        self.breaker.unreached(self.now)
        self.answer()
        self.opened()
        self.assertEqual(self.delay(), FIRST_DELAY)

    def test_jitter(self) -> None:
        for jitter, expected in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
            with self.subTest(jitter):
                self.setUp()
                self.jitter = jitter
                self.opened()
                self.assertEqual(self.delay(), expected * FIRST_DELAY)


class ProbeTests(BreakerTestCase):
    """Which question is put while it is half open."""

    def test_one_at_a_time(self) -> None:
        self.half_opened()
        self.assertEqual([self.admit(client) for client in "abc"], [True, False, False])

    def test_one_that_is_abandoned_makes_room(self) -> None:
        self.half_opened()
        self.admit()
        first = self.breaker.term
        self.breaker.abandoned(first - 1)
        self.assertFalse(self.admit())
        self.breaker.abandoned(first)
        self.assertTrue(self.admit())
        # What is known of the first comes too late.
        self.assertFalse(self.breaker.outage(self.now, "a", first))
        self.assertIs(self.breaker.state, HALF_OPEN)

    def test_whoever_opened_it_lets_others_go_first(self) -> None:
        self.opened("bad")
        self.assertFalse(self.admit("good"))
        self.breaker.reached(self.now)
        self.assertFalse(self.admit("bad"))
        self.assertTrue(self.admit("good"))

    def test_but_not_for_ever(self) -> None:
        self.opened("bad")
        self.admit("good")
        self.breaker.reached(self.now)
        self.now += FIRST_DELAY
        self.assertTrue(self.admit("bad"))

    def test_nobody_else_is_there(self) -> None:
        self.opened("only")
        self.admit("only")
        self.breaker.reached(self.now)
        self.assertTrue(self.admit("only"))

    def test_others_of_an_earlier_time(self) -> None:
        self.opened("bad")
        self.admit("good")
        self.answer("bad")
        self.opened("bad")
        self.breaker.reached(self.now)
        self.assertTrue(self.admit("bad"))

    def test_a_probe_makes_a_suspect(self) -> None:
        self.half_opened("a")
        self.assertTrue(self.admit("b"))
        self.outages(1, "b")
        self.admit("a")
        self.breaker.reached(self.now)
        self.assertEqual([self.admit(client) for client in "ba"], [False, True])

    def test_an_authorizer_that_is_not_there_makes_none(self) -> None:
        self.opened("a")
        self.admit("b")
        self.breaker.unreached(self.now)
        self.breaker.reached(self.now)
        self.assertTrue(self.admit("a"))


class HarmTests(BreakerTestCase):
    """One client's questions have no answers, and another's have."""

    def bad_name(self) -> None:
        """Give one client a bad name."""
        self.outages(1, "bad")
        self.answer("good")

    def test_they_open_it_when_nobody_else_has_answers(self) -> None:
        self.outages(1, "bad")
        self.answer("bad")
        self.answer("good")
        self.assertTrue(self.outages(MOST, "bad"))

    def test_but_not_when_somebody_has_had_some(self) -> None:
        self.bad_name()
        self.now += LULL
        self.outages(100, "bad")
        self.assertIs(self.breaker.state, CLOSED)
        self.now += 1
        self.outages(1, "bad")
        self.assertIs(self.breaker.state, OPEN)

    def test_it_is_not_lost_by_outages_of_several(self) -> None:
        self.bad_name()
        self.outages(1, "bad")
        self.outages(1, "other")
        self.answer("good")
        self.assertFalse(self.outages(MOST, "bad"))

    def test_each_answer_renews_it(self) -> None:
        for _ in range(5):
            self.bad_name()
            self.now += LULL
        self.outages(MOST, "bad")
        self.assertIs(self.breaker.state, CLOSED)

    def test_outages_of_others_open_it(self) -> None:
        for clients in ("good good good", "bad bad good", "good bad bad", "bad good bad", "bad bad bad bad good"):
            with self.subTest(clients):
                self.setUp()
                self.bad_name()
                for client in clients.split():
                    self.assertIs(self.breaker.state, CLOSED)
                    self.outages(1, client)
                self.assertIs(self.breaker.state, OPEN)

    def test_an_answer_that_gives_no_bad_name(self) -> None:
        def to_several() -> None:
            self.outages(1, "bad")
            self.outages(1, "other")

        def unreached() -> None:
            self.opened("bad")
            self.breaker.unreached(self.now)

        def probe_of_another() -> None:
            self.half_opened("bad")
            self.admit("other")
            self.outages(1, "other")

        for before in (lambda: None, to_several, unreached, probe_of_another):
            with self.subTest(before=before):
                self.setUp()
                before()
                self.answer("good")
                self.assertTrue(self.outages(MOST, "bad"))

    def test_the_answer_to_a_probe(self) -> None:
        self.opened("bad")
        self.breaker.reached(self.now)
        self.admit("bad")
        self.outages(1, "bad")
        self.breaker.reached(self.now)
        self.admit("good")
        self.answer("good")
        self.assertFalse(self.outages(MOST, "bad"))


class PropertyTests(SynchronousTestCase):
    """Whatever happens, in whatever order."""

    EVENTS = st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from("abc")),
            st.tuples(st.sampled_from(["answer", "silence", "leave"]), st.integers(0, 7)),
            st.tuples(st.just("check"), st.booleans()),
            st.tuples(st.just("pass"), st.floats(0.0, 40.0)),
        ),
        max_size=80,
    )

    @given(EVENTS, st.integers(1, 4), st.floats(0.0, 1.0))
    def test_invariants(self, events: list[tuple[str, Any]], most: int, jitter: float) -> None:
        """Never a question while it is open, never two while it is half open, and all after an answer."""
        breaker = Breaker(most, LULL, lambda: jitter)
        now = 0.0
        asked: list[tuple[str, int]] = []
        probes: set[int] = set()
        for what, value in events:
            before = breaker.state
            if what == "pass":
                now += value
            elif what == "ask":
                if before is CLOSED:
                    asked.append((value, breaker.term))
                elif breaker.admit(now, value):
                    self.assertIs(before, HALF_OPEN)
                    asked.append((value, breaker.term))
                    probes.add(breaker.term)
                self.assertLessEqual(len(probes), 1)
            elif what == "check":
                # The owner checks only while it is open.
                if before is OPEN and value:
                    breaker.reached(now)
                elif before is OPEN:
                    breaker.unreached(now)
            elif asked:
                client, term = asked.pop(value % len(asked))
                probes.discard(term)
                if what == "answer":
                    breaker.answered(now, client)
                    self.assertEqual((breaker.state, breaker.outages), (CLOSED, 0))
                elif what == "leave":
                    breaker.abandoned(term)
                    self.assertIs(breaker.state, before)
                else:
                    opened = breaker.outage(now, client, term)
                    self.assertEqual(opened, before is not OPEN and breaker.state is OPEN)
                    if opened:
                        self.assertTrue(now < breaker.retry_at <= now + LAST_DELAY)
            if breaker.state is not before:
                self.assertIn(breaker.state, TRANSITIONS[before])
                probes.clear()
            if breaker.state is not CLOSED:
                self.assertGreaterEqual(breaker.outages, most)
