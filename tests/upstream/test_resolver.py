"""Tests for L{egress.upstream.resolver}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits, ProxyConfig
from egress.model.authority import Authority
from egress.model.errors import NameNotResolved, ResolutionTimeout, ResolverBusy, TooManyLookups
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import CACHE_SIZE, CACHE_TTL, MAX_ADDRESSES, Resolver, interleave, resolver_for
from tests.transport.reactors import DialingReactor
from tests.upstream.names import ips

LIMITS = Limits(resolve_timeout=10, lookups=8, lookup_queue=30, lookup_queue_per_client=20)


class InterleaveTests(SynchronousTestCase):
    """The address families alternate."""

    def test_table(self) -> None:
        for given, wanted in (
            ((), ()),
            (("192.0.2.1",), ("192.0.2.1",)),
            (("2001:db8::1", "2001:db8::2", "192.0.2.1"), ("2001:db8::1", "192.0.2.1", "2001:db8::2")),
            (("192.0.2.1", "192.0.2.2", "2001:db8::1"), ("192.0.2.1", "2001:db8::1", "192.0.2.2")),
        ):
            with self.subTest(given):
                self.assertEqual(interleave(ips(*given)), ips(*wanted))


class ResolverTestCase(SynchronousTestCase):
    """Base: a resolver, and its reactor in memory."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.resolver = Resolver(self.reactor, ReactorLookups(self.reactor), LIMITS)  # type: ignore[arg-type]


class ResolverTests(ResolverTestCase):
    """Names are resolved to addresses, with a timeout."""

    def tearDown(self) -> None:
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_literal_address_is_not_looked_up(self) -> None:
        self.assertEqual(self.successResultOf(self.resolver.resolve(Authority("192.0.2.1", 80))), ips("192.0.2.1"))
        self.assertEqual(self.reactor.looked_up, [])

    def test_name(self) -> None:
        self.reactor.names["a.test"] = ["192.0.2.1", "192.0.2.1", "2001:db8::1%eth0"]
        found = self.successResultOf(self.resolver.resolve(Authority("a.test", 80)))
        self.assertEqual(found, ips("192.0.2.1", "2001:db8::1"))

    def test_name_without_an_address(self) -> None:
        self.reactor.names["a.test"] = []
        error = self.failureResultOf(self.resolver.resolve(Authority("a.test", 80)), NameNotResolved).value
        self.assertIn("a.test", error.reason)

    def test_timeout(self) -> None:
        done = self.resolver.resolve(Authority("a.test", 80))
        self.reactor.advance(9)
        self.assertNoResult(done)
        self.reactor.advance(1)
        self.failureResultOf(done, ResolutionTimeout)
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])

    def test_result_is_cached(self) -> None:
        self.reactor.names["a.test"] = ["192.0.2.1"]
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.resolver.resolve(Authority("a.test", 80))), ips("192.0.2.1"))
        self.assertEqual(self.reactor.looked_up, ["a.test"])
        self.reactor.names["a.test"] = ["192.0.2.2"]
        self.reactor.advance(CACHE_TTL)
        self.assertEqual(self.successResultOf(self.resolver.resolve(Authority("a.test", 443))), ips("192.0.2.2"))

    def test_empty_result_is_not_cached(self) -> None:
        self.reactor.names["a.test"] = []
        for _ in range(2):
            self.failureResultOf(self.resolver.resolve(Authority("a.test", 80)), NameNotResolved)
        self.assertEqual(self.reactor.looked_up, ["a.test", "a.test"])

    def test_cache_is_limited(self) -> None:
        for number in range(CACHE_SIZE + 1):
            self.reactor.names[f"n{number}.test"] = ["192.0.2.1"]
            self.successResultOf(self.resolver.resolve(Authority(f"n{number}.test", 80)))
        self.reactor.looked_up.clear()
        self.successResultOf(self.resolver.resolve(Authority("n1.test", 80)))
        self.assertEqual(self.reactor.looked_up, [])
        self.successResultOf(self.resolver.resolve(Authority("n0.test", 80)))
        self.assertEqual(self.reactor.looked_up, ["n0.test"])

    def test_shared_lookup(self) -> None:
        waiting = [self.resolver.resolve(Authority("a.test", port)) for port in (80, 443, 8080)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.assertEqual(self.reactor.looked_up, ["a.test"])
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])
        for done in (waiting[0], waiting[2]):
            self.assertEqual(self.successResultOf(done), ips("192.0.2.1"))

    def test_next_request_does_not_wait_for_a_hanging_lookup(self) -> None:
        self.failureResultOf(self._timed_out(), ResolutionTimeout)
        again = self.resolver.resolve(Authority("a.test", 80))
        self.assertEqual(self.reactor.looked_up, ["a.test", "a.test"])
        # The first lookup ends after all: no request waits for it, but its result is cached.
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])
        self.assertNoResult(again)
        self.reactor.resolve(self.reactor.pending[1], ["192.0.2.2"])
        self.assertEqual(self.successResultOf(again), ips("192.0.2.2"))

    def _timed_out(self) -> Any:
        done = self.resolver.resolve(Authority("a.test", 80))
        self.reactor.advance(10)
        return done

    def test_cancelled(self) -> None:
        done = self.resolver.resolve(Authority("a.test", 80))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.reactor.resolve(self.reactor.pending[0], ["192.0.2.1"])

    def test_too_many_addresses(self) -> None:
        self.reactor.names["a.test"] = [f"10.0.{number >> 8}.{number & 255}" for number in range(MAX_ADDRESSES + 1)]
        error = self.failureResultOf(self.resolver.resolve(Authority("a.test", 80)), NameNotResolved).value
        self.assertIn("more than 256 addresses", error.reason)

    def test_unexpected_error(self) -> None:
        self.patch(self.reactor, "resolveHostName", lambda *arguments: 1 / 0)
        error = self.failureResultOf(self.resolver.resolve(Authority("a.test", 80)), NameNotResolved).value
        self.assertIn("the lookup of", error.reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.resolver.busy, 0)


class FairnessTests(ResolverTestCase):
    """Clients take turns, and one client cannot use all lookups."""

    def ask(self, host: str, client: str) -> Deferred[Any]:
        return self.resolver.resolve(Authority(host, 80), client)

    def hang(self, client: str, number: int) -> list[Deferred[Any]]:
        """Request names of a client whose lookups hang."""
        return [self.ask(f"{client}{index}.hang.test", client) for index in range(number)]

    def complete(self, host: str) -> None:
        """Complete the latest lookup of a name."""
        index = len(self.reactor.looked_up) - 1 - self.reactor.looked_up[::-1].index(host)
        self.reactor.resolve(self.reactor.pending[index], ["192.0.2.1"])

    def test_hanging_names_of_one_client_do_not_delay_another(self) -> None:
        self.hang("mallory", 20)
        self.assertEqual(len(self.reactor.looked_up), 4)
        found = self.ask("good.test", "alice")
        self.assertEqual(self.reactor.looked_up[-1], "good.test")
        self.complete("good.test")
        self.assertEqual(self.successResultOf(found), ips("192.0.2.1"))

    def test_queue_limit_per_client(self) -> None:
        asked = self.hang("mallory", 4 + 20 + 1)
        error = self.failureResultOf(asked[-1], TooManyLookups).value
        self.assertIn("your address", error.reason)
        self.ask("good.test", "alice")
        self.assertEqual(self.reactor.looked_up[-1], "good.test")

    def test_queue_limit(self) -> None:
        self.hang("a", 24)
        self.hang("b", 12)
        self.failureResultOf(self.ask("other.test", "b"), ResolverBusy)
        self.assertEqual(self.resolver.waiting, 30)
        self.ask("good.test", "c")
        self.assertEqual(self.reactor.looked_up[-1], "good.test", "where there is room, nobody has to queue")

    def test_cancelled_lookup_is_skipped(self) -> None:
        asked = self.hang("mallory", 6)
        asked[4].cancel()
        self.failureResultOf(asked[4], CancelledError)
        self.complete("mallory0.hang.test")
        self.assertEqual(self.reactor.looked_up[4:], ["mallory5.hang.test"])

    def test_lookup_in_a_thread_counts_until_it_ends(self) -> None:
        """It cannot be stopped, so queued lookups wait for its end, not for its timeout."""
        asked = self.hang("mallory", 6)
        self.reactor.advance(10)
        for one in asked:
            self.failureResultOf(one, ResolutionTimeout)
        self.assertEqual((self.resolver.busy, self.resolver.waiting), (4, 0))
        self.ask("later.test", "mallory")
        self.assertEqual(len(self.reactor.looked_up), 4)
        self.complete("mallory0.hang.test")
        self.assertEqual(self.reactor.looked_up[4:], ["later.test"])

    def test_shared_lookup_starts_with_the_first_slot(self) -> None:
        """A client that requests a name which another client has queued does not wait in that client's queue."""
        mallory = self.hang("mallory", 6)
        alice = self.ask("mallory5.hang.test", "alice")
        self.assertEqual(self.reactor.looked_up[4:], ["mallory5.hang.test"])
        self.assertEqual(self.resolver.waiting, 1, "the other place in the queue is given up")
        self.complete("mallory5.hang.test")
        self.assertEqual(self.successResultOf(alice), self.successResultOf(mallory[5]))

    def test_one_of_two_requests_is_cancelled(self) -> None:
        self.hang("mallory", 4)
        for _ in range(2):
            # Each client has its own queue entry before the lookup starts.
            first, second = self.ask("x.test", "mallory"), self.ask("x.test", "mallory")
            first.cancel()
            self.failureResultOf(first, CancelledError)
            self.assertEqual(self.resolver.waiting, 1)
            second.cancel()
            self.failureResultOf(second, CancelledError)
            self.assertEqual(self.resolver.waiting, 0)

    def test_callback_cancels_another_request(self) -> None:
        first, second = self.ask("a.test", "alice"), self.ask("a.test", "bob")
        first.addCallback(lambda _: second.cancel())
        self.complete("a.test")
        self.failureResultOf(second, CancelledError)

    def test_stoppable_lookup_is_cancelled(self) -> None:
        asked: list[Deferred[Any]] = []

        class Stoppable:
            stoppable = True

            def __call__(self, host: str) -> Deferred[Any]:
                asked.append(Deferred())
                return asked[-1]

        self.resolver = Resolver(self.reactor, Stoppable(), LIMITS)
        done = self.hang("mallory", 6)
        done[0].cancel()
        self.failureResultOf(done[0], CancelledError)
        self.assertEqual((len(asked), self.resolver.busy), (5, 4))
        asked[1].errback(ResolutionTimeout("no DNS server answered"))
        self.assertEqual(self.failureResultOf(done[1], ResolutionTimeout).value.reason, "no DNS server answered")


class ChoiceTests(SynchronousTestCase):
    """The selection of the lookup implementation."""

    def used(self, reactor: Any, **config: Any) -> set[str]:
        """Resolve a name.

        @return: how it is looked up.
        """
        used: set[str] = set()

        def in_threads(_: object) -> Deferred[Any]:
            used.add("system")
            return Deferred()

        def listen(*_: object, **__: object) -> None:
            used.add("DNS servers")
            raise CannotListenError("", 0, OSError())

        reactor.listenUDP = listen
        resolver = resolver_for(reactor, ProxyConfig(**config), in_threads)
        resolver.resolve(Authority("origin.test", 80)).addErrback(lambda _: None)
        return used | ({"reactor"} if reactor.looked_up else set())

    def test_choice(self) -> None:
        from twisted.internet import reactor as real

        class _Reactor(DialingReactor):
            # As in every reactor, unless an application installs another resolver.
            nameResolver: Any = real.nameResolver  # type: ignore[attr-defined]

        for make, config, expected in (
            (_Reactor, {}, "system"),
            (DialingReactor, {}, "reactor"),
            (_Reactor, {"dns_servers": ["192.0.2.53"]}, "DNS servers"),
            (DialingReactor, {"dns_servers": ["192.0.2.53"]}, "DNS servers"),
        ):
            with self.subTest(make, **config):
                self.assertEqual(self.used(make(), **config), {expected})
