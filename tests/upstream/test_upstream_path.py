"""Tests for L{egress.upstream.upstream_path}."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.http.connect_handshake import ConnectHandshake
from egress.model.authority import Authority, IPAddress, Origin, UpstreamHop, UpstreamProxy
from egress.model.errors import (
    NameNotResolved,
    ResolutionTimeout,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from egress.model.route import Route
from egress.socks.client_handshake import SocksHandshake
from egress.upstream.upstream_path import UpstreamPath, handshake_with

ORIGIN = Authority("origin.test", 443)
FIRST, SECOND = Authority("first.test", 3128), Authority("second.test", 1080)
ADDRESSES = {
    "first.test": ("192.0.2.9",),
    "second.test": ("192.0.2.19", "192.0.2.20"),
    "origin.test": ("2001:db8::1", "192.0.2.1"),
}


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    """Parse addresses."""
    return tuple(ip_address(text) for text in texts)


class FakeResolver:
    """Resolves the names of the test."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.error: Exception | None = None

    def resolve(self, authority: Authority) -> Deferred[Any]:
        self.names.append(authority.host)
        if self.error is not None:
            return fail(self.error)
        literal = authority.ip
        return succeed(addresses(*ADDRESSES[authority.host]) if literal is None else (literal,))


class FakeGuard:
    """Knows one address of the proxy."""

    own: tuple[str, int] | None = None

    def is_the_proxy(self, address: IPAddress, port: int) -> bool:
        return (str(address), port) == self.own


class PathTests(SynchronousTestCase):
    """The addresses of proxies, and the targets of their tunnels."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = FakeResolver()
        self.guard = FakeGuard()
        self.attempts: list[tuple[Any, ...]] = []
        self.results: list[Any] = []
        self.path = UpstreamPath(self.clock, self.resolver, self.guard, Limits())  # type: ignore[arg-type]

    def dial(self, upstream: UpstreamProxy, origin: Authority = ORIGIN, *known: str) -> Deferred[None]:
        """Dial an origin."""
        route = Route(Origin("https", origin), addresses(*known), upstream, True, True)

        def attempt(to: tuple[IPAddress, ...], targets: tuple[Authority, ...]) -> Deferred[None]:
            self.attempts.append((tuple(map(str, to)), tuple(map(str, targets))))
            result = self.results.pop(0) if self.results else None
            if isinstance(result, Deferred):
                return result
            return succeed(None) if result is None else fail(result)

        return self.path.dial(route, attempt)

    def test_targets(self) -> None:
        second = UpstreamHop("http", Authority("192.0.2.9", 3128))
        for upstream, known, first, targets in (
            (UpstreamProxy("http", FIRST), (), "192.0.2.9", ["origin.test:443"]),
            (UpstreamProxy("socks5h", FIRST), (), "192.0.2.9", ["origin.test:443"]),
            (UpstreamProxy("socks5", FIRST), ("192.0.2.2",), "192.0.2.9", ["192.0.2.2:443"]),
            # The calls of the proxy itself.
            (UpstreamProxy("socks5", FIRST), (), "192.0.2.9", ["[2001:db8::1]:443"]),
            (
                UpstreamProxy("socks5h", SECOND, None, UpstreamHop("https", FIRST)),
                (),
                "192.0.2.9",
                ["second.test:1080", "origin.test:443"],
            ),
            (
                UpstreamProxy("http", SECOND, None, UpstreamHop("socks5", FIRST)),
                (),
                "192.0.2.9",
                ["192.0.2.19:1080", "origin.test:443"],
            ),
            (UpstreamProxy("http", SECOND, None, second), (), "192.0.2.9", ["second.test:1080", "origin.test:443"]),
        ):
            with self.subTest(str(upstream)):
                self.assertIsNone(self.successResultOf(self.dial(upstream, ORIGIN, *known)))
                self.assertEqual(self.attempts.pop(), ((first,), tuple(targets)))

    def test_an_address_needs_no_resolution(self) -> None:
        self.successResultOf(self.dial(UpstreamProxy("socks5", FIRST), Authority("192.0.2.7", 443)))
        self.assertEqual((self.attempts[0][1], self.resolver.names), (("192.0.2.7:443",), ["first.test"]))

    def test_the_next_address(self) -> None:
        """It follows only if the upstream proxy could not reach the address."""
        unreachable = UpstreamRefused("x", other_address=True)
        upstream = UpstreamProxy("socks5", FIRST)
        self.results = [unreachable, None]
        self.successResultOf(self.dial(upstream, ORIGIN, "2001:db8::1", "192.0.2.1", "192.0.2.2"))
        self.assertEqual([targets for _, targets in self.attempts], [("[2001:db8::1]:443",), ("192.0.2.1:443",)])
        self.attempts.clear()
        self.results = [UpstreamRefused("not allowed")]
        self.failureResultOf(self.dial(upstream, ORIGIN, "192.0.2.1", "192.0.2.2"), UpstreamRefused)
        self.assertEqual(len(self.attempts), 1)
        self.results = [unreachable] * 30
        self.failureResultOf(self.dial(upstream, ORIGIN, "192.0.2.1", "192.0.2.2"), UpstreamRefused)
        self.assertEqual(len(self.attempts), 3)
        many = [f"192.0.2.{number}" for number in range(1, 40)]
        self.failureResultOf(self.dial(upstream, ORIGIN, *many), UpstreamRefused)
        self.assertEqual(len(self.attempts), 3 + Limits().connect_addresses)

    def test_the_time_for_further_addresses(self) -> None:
        slow: Deferred[None] = Deferred()
        self.results = [slow]
        dialled = self.dial(UpstreamProxy("socks5", FIRST), ORIGIN, "192.0.2.1", "192.0.2.2")
        self.clock.advance(Limits().connect_timeout)
        slow.errback(UpstreamRefused("x", other_address=True))
        self.failureResultOf(dialled, UpstreamRefused)
        self.assertEqual(len(self.attempts), 1)

    def test_cancelled(self) -> None:
        pending: Deferred[None] = Deferred()
        self.results = [pending]
        dialled = self.dial(UpstreamProxy("http", FIRST))
        dialled.cancel()
        self.failureResultOf(dialled, CancelledError)

    def test_loops(self) -> None:
        """Each proxy of a chain can be the proxy itself."""
        self.guard.own = ("192.0.2.9", 3128)
        literal = UpstreamProxy("http", Authority("192.0.2.9", 3128), None, UpstreamHop("http", SECOND))
        by_address = UpstreamProxy("http", FIRST, None, UpstreamHop("socks5", SECOND))
        for upstream in (UpstreamProxy("http", FIRST), literal, by_address):
            error = self.failureResultOf(self.dial(upstream), UpstreamUnreachable).value
            self.assertIn(f"{upstream.authority} is this proxy itself", error.reason)
        self.assertEqual(self.attempts, [])

    def test_resolution_errors(self) -> None:
        for error, kind in (
            (NameNotResolved("no such name"), UpstreamUnreachable),
            (ResolutionTimeout("no response"), UpstreamTimeout),
        ):
            self.resolver.error = error
            found = self.failureResultOf(self.dial(UpstreamProxy("http", FIRST)), kind).value
            self.assertEqual(found.reason, f"the upstream proxy: {error.reason}")

    def test_handshakes(self) -> None:
        self.assertIsInstance(handshake_with(UpstreamHop("http", FIRST), ORIGIN, 9), ConnectHandshake)
        self.assertIsInstance(handshake_with(UpstreamHop("socks5", FIRST), ORIGIN, 9), SocksHandshake)
