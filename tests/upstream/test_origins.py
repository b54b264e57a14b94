"""Tests for L{egress.upstream.origins}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.http.heads import HeadLimits
from egress.model.authority import Authority, Origin
from egress.model.errors import OriginUnreachable
from egress.model.route import Purpose
from egress.transport.fair_turns import RoundRobin
from egress.upstream.interfaces import IOriginStream
from egress.upstream.origins import Origins
from tests.proxy.fakes import FakeDialer


class OriginsTests(SynchronousTestCase):
    """A stream is available once its connection is established."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.dialer = FakeDialer(self.clock)
        self.origins = Origins(self.dialer, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        self.route = self.dialer.route(Origin("http", Authority("origin.test", 80)), Purpose.REQUEST)

    def test_open(self) -> None:
        stream = self.successResultOf(self.origins.open(self.route, "client"))
        verifyObject(IOriginStream, stream)
        self.assertEqual((stream.route, self.dialer.dialled), (self.route, [self.route]))
        stream.abort()
        self.assertTrue(self.dialer.origins[0].aborted)

    def test_failure(self) -> None:
        self.dialer.dials.append(OriginUnreachable("no route"))
        self.failureResultOf(self.origins.open(self.route), OriginUnreachable)

    def test_cancelling_drops_the_connection(self) -> None:
        pending: Deferred[object] = self.dialer.pending(self.dialer.dials)
        opening = self.origins.open(self.route)
        opening.addErrback(lambda _: None)
        opening.cancel()
        self.assertEqual(self.dialer.cancelled, 1)
        self.assertTrue(pending.called)
