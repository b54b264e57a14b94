"""Tests for L{egress.net.resolve}."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, parse_ip
from egress.model.errors import NameNotResolved, ResolutionTimeout
from egress.net.resolve import KEEP_NAMES, KEEP_SECONDS, Resolver, interleave
from tests.net.reactors import DialingReactor


def ips(*texts: str) -> tuple[Any, ...]:
    """Addresses."""
    return tuple(map(parse_ip, texts))


class InterleaveTests(SynchronousTestCase):
    """Both families get their turn."""

    def test_table(self) -> None:
        for given, wanted in (
            ((), ()),
            (("192.0.2.1",), ("192.0.2.1",)),
            (("2001:db8::1", "2001:db8::2", "192.0.2.1"), ("2001:db8::1", "192.0.2.1", "2001:db8::2")),
            (("192.0.2.1", "192.0.2.2", "2001:db8::1"), ("192.0.2.1", "2001:db8::1", "192.0.2.2")),
        ):
            with self.subTest(given):
                self.assertEqual(interleave(ips(*given)), ips(*wanted))


class ResolverTests(SynchronousTestCase):
    """Names become addresses, in bounded time."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.resolver = Resolver(self.reactor, 10)  # type: ignore[arg-type]

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_literal_address_is_not_looked_up(self) -> None:
        self.assertEqual(self.successResultOf(self.resolver.resolve(Authority("192.0.2.1", 80))), ips("192.0.2.1"))
        self.assertEqual(self.reactor.looked_up, [])

    def test_a_name(self) -> None:
        self.reactor.names["a.test"] = ["192.0.2.1", "192.0.2.1", "2001:db8::1%eth0"]
        found = self.successResultOf(self.resolver.resolve(Authority("a.test", 80)))
        self.assertEqual(found, ips("192.0.2.1", "2001:db8::1"))

    def test_a_name_without_an_address(self) -> None:
        self.reactor.names["a.test"] = []
        error = self.failureResultOf(self.resolver.resolve(Authority("a.test", 80)), NameNotResolved).value
        self.assertIn("a.test", error.reason)

    def test_an_address_that_is_none(self) -> None:
        done = self.resolver.resolve(Authority("a.test", 80))
        receiver = self.reactor.pending[0]
        receiver.addressResolved(UNIXAddress(b"/x"))
        self.reactor.resolve(receiver, ["nonsense"])
        self.failureResultOf(done, NameNotResolved)

    def test_a_slow_resolver(self) -> None:
        done = self.resolver.resolve(Authority("a.test", 80))
        self.reactor.advance(9)
        self.assertNoResult(done)
        self.reactor.advance(1)
        self.failureResultOf(done, ResolutionTimeout)
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])

    def test_an_answer_is_kept_for_a_while(self) -> None:
        self.reactor.names["a.test"] = ["192.0.2.1"]
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.resolver.resolve(Authority("a.test", 80))), ips("192.0.2.1"))
        self.assertEqual(self.reactor.looked_up, ["a.test"])
        self.reactor.names["a.test"] = ["192.0.2.2"]
        self.reactor.advance(KEEP_SECONDS)
        self.assertEqual(self.successResultOf(self.resolver.resolve(Authority("a.test", 443))), ips("192.0.2.2"))

    def test_no_answer_is_not_kept(self) -> None:
        self.reactor.names["a.test"] = []
        for _ in range(2):
            self.failureResultOf(self.resolver.resolve(Authority("a.test", 80)), NameNotResolved)
        self.assertEqual(self.reactor.looked_up, ["a.test", "a.test"])

    def test_only_so_many_are_kept(self) -> None:
        for number in range(KEEP_NAMES + 1):
            self.reactor.names[f"n{number}.test"] = ["192.0.2.1"]
            self.successResultOf(self.resolver.resolve(Authority(f"n{number}.test", 80)))
        self.reactor.looked_up.clear()
        self.successResultOf(self.resolver.resolve(Authority("n1.test", 80)))
        self.assertEqual(self.reactor.looked_up, [])
        self.successResultOf(self.resolver.resolve(Authority("n0.test", 80)))
        self.assertEqual(self.reactor.looked_up, ["n0.test"])

    def test_one_look_up_for_all(self) -> None:
        waiting = [self.resolver.resolve(Authority("a.test", port)) for port in (80, 443, 8080)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.assertEqual(self.reactor.looked_up, ["a.test"])
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])
        for done in (waiting[0], waiting[2]):
            self.assertEqual(self.successResultOf(done), ips("192.0.2.1"))

    def test_a_look_up_that_hangs_is_not_waited_for_by_the_next(self) -> None:
        self.failureResultOf(self._timed_out(), ResolutionTimeout)
        again = self.resolver.resolve(Authority("a.test", 80))
        self.assertEqual(self.reactor.looked_up, ["a.test", "a.test"])
        # The first one comes back after all: that is for nobody, but it is known from now on.
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])
        self.assertNoResult(again)
        self.reactor.resolve(self.reactor.pending[1], ["192.0.2.2"])
        self.assertEqual(self.successResultOf(again), ips("192.0.2.2"))

    def _timed_out(self) -> Any:
        done = self.resolver.resolve(Authority("a.test", 80))
        self.reactor.advance(10)
        return done

    def test_giving_up(self) -> None:
        done = self.resolver.resolve(Authority("a.test", 80))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])
