"""The comparison of the CAs of replicas.

Clients of one load balancer reach all replicas, so they must trust all of their roots.  All replicas share one sealed
value, with each different view of the CA that is in use (L{egress.shared.ca_views}).  Each process reads it every five
seconds, and repeats its own view before it expires.  Usually there is one view, which any replica repeats.

The result is a warning and nothing else.  Someone who can write to the engine can remove the value, which hides a
mismatch, and put an earlier one back, which can repeat a mismatch of the last minute.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import gethostname
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Gauge
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.shared.ca_views import LIFETIME, CaView, decode, describe, encode, mismatches
from egress.shared.client import SharedClient
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import UNUSABLE, CommandRejected

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from egress.tls.ca_watch import CaWatch

_log = Logger()

NAMESPACE: Final = "ca"
"""The purpose of the keys; see L{egress.shared.keys.SharedKeys}."""

INTERVAL: Final = 5.0
"""Seconds between two comparisons."""

FIRST_AFTER: Final = 1.0
"""Seconds after which a process compares for the first time."""

REPEAT_AFTER: Final = 20.0
"""Seconds after which a process repeats its view, unless another one has done so."""

MAX_VALUE: Final = 32 * 1024
"""The maximum size of the value, in bytes."""


class SharedViews:
    """The value with the views of all replicas."""

    def __init__(self, client: SharedClient, keys: SharedKeys, now: Callable[[], float]) -> None:
        self._client = client
        self._keys = keys
        self._now = now
        self._name = keys.name(keys.group(b"ca"), b"ca")

    def read(self) -> Deferred[list[CaView]]:
        """Return the views in use.  It fails with one of L{UNUSABLE} if the engine does not respond."""
        return self._client.call("GETRANGE", self._name, 0, MAX_VALUE).addCallback(self._decode)

    def _decode(self, value: bytes) -> list[CaView]:
        content = self._keys.unseal(self._name, value) if 0 < len(value) <= MAX_VALUE else None
        return [] if content is None else decode(content, self._now())

    def write(self, views: list[CaView]) -> Deferred[Any]:
        """Replace the views."""
        sealed = self._keys.seal(self._name, encode(views))
        return self._client.call("SET", self._name, sealed, "PX", int(LIFETIME * 1000))


class CaComparison:
    """Compares the CA of this process with the CAs of the other replicas.

    @ivar own: returns the view of this process, or C{None} if its root is not known.
    @ivar found: the views that do not agree.
    """

    def __init__(self, clock: IReactorTime, views: SharedViews) -> None:
        self.own: Callable[[], CaView | None] = lambda: None
        self.found: list[CaView] = []
        self._clock = clock
        self._views = views
        self._timer: IDelayedCall | None = None

    def follow(self, watch: CaWatch, registry: CollectorRegistry, now: Callable[[], float]) -> None:
        """Compare the CA of this process.

        @param watch: knows the CA.
        @param registry: the metrics of this process.
        @param now: returns the time in seconds since the epoch.
        """
        node = gethostname()

        def own() -> CaView | None:
            root = watch.authority.root
            return None if root is None else CaView.of(root, watch.trusted, node, now())

        self.own = own
        count_mismatches(registry, lambda: len(self.found))

    def start(self) -> None:
        """Compare from now on."""
        self._timer = self._clock.callLater(FIRST_AFTER, self._compare)

    def stop(self) -> None:
        """Do not compare any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> Deferred[str | None]:
        """Return a note for the readiness check, if there is a mismatch.

        It is no failure: one replica with another CA must not stop all of them, and neither must someone who can write
        to the engine.
        """
        return succeed(describe(self.found) if self.found else None)

    def _compare(self) -> None:
        self._timer = self._clock.callLater(INTERVAL, self._compare)
        own = self.own()
        if own is None:
            # The CA can change, and its root can become known.
            self._report([])
            return
        self._views.read().addErrback(_unread).addCallback(self._compared, own).addErrback(_not_written)

    def _compared(self, views: list[CaView] | None, own: CaView) -> Deferred[Any] | None:
        if views is None:
            # The engine cannot be used, which the log has already.
            return None
        self._report(mismatches(own, views))
        if any(each == own and own.time - each.time < REPEAT_AFTER for each in views):
            return None
        return self._views.write([own, *(each for each in views if each != own)])

    def _report(self, found: list[CaView]) -> None:
        before, self.found = self.found, found
        if found and found != before:
            _log.warn("shared state: {mismatch}", mismatch=describe(found))
        elif before and not found:
            _log.info("shared state: the CAs of all replicas agree")


def _unread(failure: Failure) -> list[CaView] | None:
    failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]
    # The engine rejects the command if someone has put a value of another type there, which is replaced.
    return [] if failure.check(CommandRejected) else None  # type: ignore[no-untyped-call]


def _not_written(failure: Failure) -> None:
    # The next comparison writes it.
    failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]


def count_mismatches(registry: CollectorRegistry, count: Callable[[], int]) -> None:
    """Add the metric of other CAs.

    @param count: returns their number.
    """
    text = "Other CAs in use that do not agree with the CA of this replica."
    Gauge("egress_shared_ca_mismatches", text, registry=registry).set_function(count)
