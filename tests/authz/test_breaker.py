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
    """Base: a breaker that opens after three failures, and a clock."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.jitter = 1.0
        self.breaker = Breaker(MOST, LULL, lambda: self.jitter)

    def outages(self, number: int = 1, client: str = "a") -> bool:
        """Record consecutive failures of one client.

        @return: whether the last of them opened the breaker.
        """
        opened = False
        for _ in range(number):
            opened = self.breaker.record_failure(self.now, client, self.breaker.term)
        return opened

    def opened(self, client: str = "a") -> None:
        self.assertTrue(self.outages(MOST, client))

    def half_opened(self, client: str = "a") -> None:
        self.opened(client)
        self.breaker.reached(self.now)

    def answer(self, client: str = "a") -> None:
        self.breaker.record_response(self.now, client)

    def admit(self, client: str = "a") -> bool:
        return self.breaker.admit(self.now, client)


class StateTests(BreakerTestCase):
    """The states after sequences of events."""

    def test_transitions(self) -> None:
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
                # In the usual case, it is enough to read this one attribute.
                self.assertEqual(self.breaker.failures == 0, script in ("", "answer") or script.endswith("answer"))

    def test_illegal_transitions(self) -> None:
        self.assertRaises(AssertionError, self.breaker.reached, self.now)
        self.half_opened()
        self.assertRaises(AssertionError, self.breaker.reached, self.now)

    def test_table_has_every_state(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(State))

    def test_breaker_that_never_opens(self) -> None:
        self.breaker = Breaker(None, LULL, lambda: 0.5)
        self.assertFalse(self.outages(10_000))
        self.assertIs(self.breaker.state, CLOSED)

    def test_number_of_openings(self) -> None:
        self.half_opened()
        self.admit()
        self.outages()
        self.assertEqual(self.breaker.opened, 1)
        self.answer()
        self.opened()
        self.assertEqual(self.breaker.opened, 2)


class SeriesTests(BreakerTestCase):
    """Consecutive failures."""

    def test_time_of_first_failure(self) -> None:
        self.outages()
        self.now += 5
        self.outages()
        self.assertEqual(self.breaker.since, 1000)
        self.answer()
        self.outages()
        self.assertEqual(self.breaker.since, 1005)

    def test_interval_between_failures(self) -> None:
        for interval, expected in ((LULL, OPEN), (LULL + 1, CLOSED)):
            with self.subTest(interval):
                self.setUp()
                self.outages(MOST - 1)
                self.now += interval
                self.outages()
                self.assertIs(self.breaker.state, expected)
        self.assertEqual((self.breaker.failures, self.breaker.since), (1, self.now))

    def test_failures_of_several_clients(self) -> None:
        for now in (0.0, 1000.0):
            with self.subTest(now):
                self.setUp()
                self.now = now
                for client in ("a", "b"):
                    self.outages(1, client)
                self.assertTrue(self.outages(1, "c"))

    def test_failures_of_an_earlier_term_are_ignored(self) -> None:
        before = self.breaker.term
        self.opened()
        late = lambda: self.breaker.record_failure(self.now, "a", before)  # noqa: E731
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
        self.assertEqual((self.breaker.state, self.breaker.failures), (CLOSED, 0))
        self.assertEqual(self.breaker.retry_at, retry_at)

    def test_late_response_closes(self) -> None:
        self.opened()
        self.answer()
        self.assertIs(self.breaker.state, CLOSED)

    def test_late_response_during_a_probe(self) -> None:
        self.half_opened()
        self.admit()
        probe = self.breaker.term
        self.answer()
        self.assertFalse(self.breaker.record_failure(self.now, "a", probe))
        self.assertEqual(self.breaker.failures, 0)


class DelayTests(BreakerTestCase):
    """The delays between probes."""

    def delay(self) -> float:
        return self.breaker.retry_at - self.now

    def test_delay_doubles_up_to_a_limit(self) -> None:
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

    def test_delay_starts_again(self) -> None:
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
    """The probe in the half-open state."""

    def test_one_probe_at_a_time(self) -> None:
        self.half_opened()
        self.assertEqual([self.admit(client) for client in "abc"], [True, False, False])

    def test_abandoned_probe_is_replaced(self) -> None:
        self.half_opened()
        self.admit()
        first = self.breaker.term
        self.breaker.abandoned(first - 1)
        self.assertFalse(self.admit())
        self.breaker.abandoned(first)
        self.assertTrue(self.admit())
        # The result of the first probe is too late.
        self.assertFalse(self.breaker.record_failure(self.now, "a", first))
        self.assertIs(self.breaker.state, HALF_OPEN)

    def test_opening_client_waits_for_others(self) -> None:
        self.opened("bad")
        self.assertFalse(self.admit("good"))
        self.breaker.reached(self.now)
        self.assertFalse(self.admit("bad"))
        self.assertTrue(self.admit("good"))

    def test_opening_client_waits_a_limited_time(self) -> None:
        self.opened("bad")
        self.admit("good")
        self.breaker.reached(self.now)
        self.now += FIRST_DELAY
        self.assertTrue(self.admit("bad"))

    def test_opening_client_without_others(self) -> None:
        self.opened("only")
        self.admit("only")
        self.breaker.reached(self.now)
        self.assertTrue(self.admit("only"))

    def test_others_of_an_earlier_opening(self) -> None:
        self.opened("bad")
        self.admit("good")
        self.answer("bad")
        self.opened("bad")
        self.breaker.reached(self.now)
        self.assertTrue(self.admit("bad"))

    def test_failed_probe_changes_the_opening_client(self) -> None:
        self.half_opened("a")
        self.assertTrue(self.admit("b"))
        self.outages(1, "b")
        self.admit("a")
        self.breaker.reached(self.now)
        self.assertEqual([self.admit(client) for client in "ba"], [False, True])

    def test_unreachable_authorizer_has_no_opening_client(self) -> None:
        self.opened("a")
        self.admit("b")
        self.breaker.unreached(self.now)
        self.breaker.reached(self.now)
        self.assertTrue(self.admit("a"))


class HarmTests(BreakerTestCase):
    """The requests of one client fail, and those of another succeed."""

    def exempt(self) -> None:
        """Make one client exempt: its failures do not open the breaker."""
        self.outages(1, "bad")
        self.answer("good")

    def test_failures_of_one_client_open(self) -> None:
        self.outages(1, "bad")
        self.answer("bad")
        self.answer("good")
        self.assertTrue(self.outages(MOST, "bad"))

    def test_failures_of_an_exempt_client_do_not_open(self) -> None:
        self.exempt()
        self.now += LULL
        self.outages(100, "bad")
        self.assertIs(self.breaker.state, CLOSED)
        self.now += 1
        self.outages(1, "bad")
        self.assertIs(self.breaker.state, OPEN)

    def test_exemption_survives_failures_of_several(self) -> None:
        self.exempt()
        self.outages(1, "bad")
        self.outages(1, "other")
        self.answer("good")
        self.assertFalse(self.outages(MOST, "bad"))

    def test_each_response_renews_the_exemption(self) -> None:
        for _ in range(5):
            self.exempt()
            self.now += LULL
        self.outages(MOST, "bad")
        self.assertIs(self.breaker.state, CLOSED)

    def test_failures_of_others_open(self) -> None:
        for clients in ("good good good", "bad bad good", "good bad bad", "bad good bad", "bad bad bad bad good"):
            with self.subTest(clients):
                self.setUp()
                self.exempt()
                for client in clients.split():
                    self.assertIs(self.breaker.state, CLOSED)
                    self.outages(1, client)
                self.assertIs(self.breaker.state, OPEN)

    def test_responses_without_exemption(self) -> None:
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

    def test_response_to_a_probe(self) -> None:
        self.opened("bad")
        self.breaker.reached(self.now)
        self.admit("bad")
        self.outages(1, "bad")
        self.breaker.reached(self.now)
        self.admit("good")
        self.answer("good")
        self.assertFalse(self.outages(MOST, "bad"))


class PropertyTests(SynchronousTestCase):
    """Invariants for every sequence of events."""

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
    def test_invariants(self, events: list[tuple[str, Any]], max_failures: int, jitter: float) -> None:
        """No request is sent while the breaker is open, at most one while it is half-open, and all after a response."""
        breaker = Breaker(max_failures, LULL, lambda: jitter)
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
                # The owner checks the connection only while the breaker is open.
                if before is OPEN and value:
                    breaker.reached(now)
                elif before is OPEN:
                    breaker.unreached(now)
            elif asked:
                client, term = asked.pop(value % len(asked))
                probes.discard(term)
                if what == "answer":
                    breaker.record_response(now, client)
                    self.assertEqual((breaker.state, breaker.failures), (CLOSED, 0))
                elif what == "leave":
                    breaker.abandoned(term)
                    self.assertIs(breaker.state, before)
                else:
                    opened = breaker.record_failure(now, client, term)
                    self.assertEqual(opened, before is not OPEN and breaker.state is OPEN)
                    if opened:
                        self.assertTrue(now < breaker.retry_at <= now + LAST_DELAY)
            if breaker.state is not before:
                self.assertIn(breaker.state, TRANSITIONS[before])
                probes.clear()
            if breaker.state is not CLOSED:
                self.assertGreaterEqual(breaker.failures, max_failures)
