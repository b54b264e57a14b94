"""Replicas with an engine in memory."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.shared_cache import SharedCachingAuthorizer
from egress.authz.shared_decisions import SharedDecisions
from egress.model.decision import Decision
from egress.shared.keys import SharedKeys
from tests.authz.fakes import ManualAuthorizer
from tests.authz.protocols.requests import REQUEST
from tests.shared.engine import Engine, EngineClient

KEYS = SharedKeys(bytes(32), "service")


class Replica:
    """A replica with its own client, authorizer and cache."""

    def __init__(
        self, clock: Clock, engine: Engine, *, max_waiting: int = 3, max_ttl: float = 100.0, ahead: float = 0.0
    ) -> None:
        self.authorizer = ManualAuthorizer()
        self.client = EngineClient(engine)
        client: Any = self.client

        def now() -> float:
            return 1e9 + ahead + clock.seconds()

        decisions = SharedDecisions(clock, client, KEYS, now=now, max_ttl=max_ttl, max_stale=50.0)
        decisions.use_since(0.0)

        self.cache = SharedCachingAuthorizer(
            clock,
            self.authorizer,
            client,
            decisions,
            now=now,
            patience=5.0,
            max_waiting=max_waiting,
        )
        # As in the chain.
        self.chain = FailClosedAuthorizer(clock, self.cache, None)

    def decide(self, **changes: Any) -> Deferred[Decision]:
        return self.chain.decide(attrs.evolve(REQUEST, **changes))

    def answer(self, result: Decision | Exception, number: int = -1) -> None:
        deferred = self.authorizer.asked[number][1]
        if isinstance(result, Decision):
            deferred.callback(result)
        else:
            deferred.errback(result)

    @property
    def asked(self) -> int:
        return len(self.authorizer.asked)


class SharedCacheTestCase(SynchronousTestCase):
    """Base: an engine, and two replicas."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)
        self.one, self.two = Replica(self.clock, self.engine), Replica(self.clock, self.engine)

    def source(self, call: Deferred[Decision]) -> str | None:
        return self.successResultOf(call).source

    def share(self, decision: Decision, **changes: Any) -> None:
        """Let the first replica share a decision."""
        self.one.authorizer.at_once = decision
        self.assertIsNone(self.source(self.one.decide(**changes)))
