"""Tests for L{egress.upstream.happy_eyeballs}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import NoRouteError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import parse_ip
from egress.upstream.happy_eyeballs import ATTEMPT_DELAY, connect_first
from tests.transport.reactors import DialingReactor

ADDRESSES = ("192.0.2.1", "2001:db8::1", "192.0.2.2")


class ConnectFirstTests(SynchronousTestCase):
    """The first address that accepts wins."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.protocol = Protocol()

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def connect(self, *texts: str) -> Deferred[None]:
        addresses: list[Any] = [parse_ip(text) for text in texts or ADDRESSES]
        return connect_first(self.reactor, addresses, 80, self.protocol, timeout=15, max_concurrent=4)  # type: ignore[arg-type]

    def tried(self) -> list[str]:
        return [attempt.host for attempt in self.reactor.attempts]

    def test_first_address_accepts(self) -> None:
        done = self.connect()
        self.assertEqual(self.tried(), ["192.0.2.1"])
        self.assertEqual((self.reactor.attempts[0].port, self.reactor.attempts[0].timeout), (80, 15))
        wire = self.reactor.attempts[0].accept()
        self.successResultOf(done)
        self.assertIs(wire.protocol, self.protocol)

    def test_next_address_after_a_delay(self) -> None:
        done = self.connect()
        self.reactor.advance(ATTEMPT_DELAY)
        self.assertEqual(self.tried(), ["192.0.2.1", "2001:db8::1"])
        self.reactor.attempts[1].accept()
        self.successResultOf(done)
        self.assertTrue(self.reactor.attempts[0].given_up)
        self.assertEqual(len(self.reactor.attempts), 2)

    def test_first_address_may_still_win(self) -> None:
        done = self.connect()
        self.reactor.pump([ATTEMPT_DELAY] * 3)
        self.assertEqual(self.tried(), list(ADDRESSES))
        self.reactor.attempts[0].accept()
        self.successResultOf(done)
        self.assertEqual([attempt.given_up for attempt in self.reactor.attempts], [False, True, True])

    def test_next_address_immediately_after_a_failure(self) -> None:
        done = self.connect()
        self.reactor.attempts[0].fail(Refused())
        self.assertEqual(len(self.tried()), 2)
        self.reactor.advance(ATTEMPT_DELAY)
        self.assertEqual(len(self.tried()), 3)
        self.reactor.attempts[1].fail(Refused())
        self.assertNoResult(done)
        self.reactor.attempts[2].fail(NoRouteError())
        self.failureResultOf(done, NoRouteError)

    def test_synchronous_failures(self) -> None:
        self.reactor.refused.update(ADDRESSES)
        self.failureResultOf(self.connect(), Refused)
        self.assertEqual(self.tried(), list(ADDRESSES))

    def test_one_synchronous_failure(self) -> None:
        self.reactor.refused.add(ADDRESSES[0])
        done = self.connect()
        self.reactor.attempts[1].accept()
        self.successResultOf(done)

    def test_single_address_needs_no_timer(self) -> None:
        done = self.connect("192.0.2.1")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.attempts[0].fail(ConnectTimeout())
        self.failureResultOf(done, ConnectTimeout)

    def test_cancelled(self) -> None:
        done = self.connect()
        self.reactor.advance(ATTEMPT_DELAY)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual([attempt.given_up for attempt in self.reactor.attempts], [True, True])

    def test_late_loser_gets_no_protocol(self) -> None:
        done = self.connect()
        self.reactor.advance(ATTEMPT_DELAY)
        self.reactor.attempts[1].accept()
        self.successResultOf(done)
        self.assertIs(self.reactor.attempts[0].accept().protocol, None)


class BoundsTests(SynchronousTestCase):
    """A name with many addresses uses a few descriptors at a time."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.protocol = Protocol()
        self.addresses: list[Any] = [parse_ip(f"192.0.2.{number}") for number in range(10)]

    def connect(self, timeout: float = 15) -> Deferred[None]:
        return connect_first(
            self.reactor,  # type: ignore[arg-type]
            self.addresses,
            80,
            self.protocol,
            timeout=timeout,
            max_concurrent=4,
        )

    def under_way(self) -> list[int]:
        return [number for number, attempt in enumerate(self.reactor.attempts) if not attempt.given_up]

    def test_unresponsive_addresses(self) -> None:
        """The next attempt replaces the oldest one, and each address is tried within the timeout."""
        done = self.connect()
        self.reactor.pump([ATTEMPT_DELAY] * 3)
        self.assertEqual(self.under_way(), [0, 1, 2, 3])
        self.reactor.advance(ATTEMPT_DELAY)
        self.assertEqual(self.under_way(), [0, 1, 2, 3])
        self.reactor.advance(1.5 - ATTEMPT_DELAY)
        self.assertEqual(self.under_way(), [1, 2, 3, 4])
        self.reactor.pump([1.5] * 5)
        self.assertEqual(self.under_way(), [6, 7, 8, 9])
        self.assertLess(self.reactor.seconds(), 15)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.attempts[9].accept()
        self.successResultOf(done)
        self.assertEqual(self.under_way(), [9])

    def test_failure_frees_a_slot(self) -> None:
        self.connect()
        self.reactor.pump([ATTEMPT_DELAY] * 3)
        self.reactor.attempts[2].fail(Refused())
        self.assertEqual(len(self.reactor.attempts), 5)
        self.assertEqual([attempt.given_up for attempt in self.reactor.attempts], [False] * 5)

    def test_short_timeout(self) -> None:
        self.connect(timeout=1)
        self.reactor.pump([ATTEMPT_DELAY] * 9)
        self.assertEqual(self.under_way(), [6, 7, 8, 9])

    def test_last_attempt_fails(self) -> None:
        """A replaced attempt does not matter."""
        done = self.connect()
        self.reactor.pump([ATTEMPT_DELAY] * 3 + [1.5] * 6)
        for attempt in self.reactor.attempts[6:]:
            self.assertNoResult(done)
            attempt.fail(NoRouteError())
        self.failureResultOf(done, NoRouteError)
