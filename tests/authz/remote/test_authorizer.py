"""Tests for the time limit and the faults of L{egress.authz.remote.authorizer}; L{tests.authz.remote.test_client} tests
its calls.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.protocols.base import AuthzRequest, AuthzResponse
from egress.authz.protocols.validate import ValidateCodec
from egress.authz.remote.agent import MAX_CONNECTIONS, MAX_WAITING, KeepAliveAgent
from egress.authz.remote.authorizer import RemoteAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.transport.reactor import IEgressReactor
from tests.authz.fakes import REQUEST
from tests.authz.remote.test_client import service
from tests.authz.servers import Endpoint, http

ALLOWED = http(b'{"allowed": true}')


class _Codec:
    """A codec with a fault, around another one."""

    fields = ValidateCodec.fields

    def __init__(self) -> None:
        self._codec = ValidateCodec("http://authz.test/validate", "test")

    def encode(self, request: DecisionRequest) -> AuthzRequest:
        return self._codec.encode(request)

    def decode(self, response: AuthzResponse, request: DecisionRequest) -> Decision:
        raise RuntimeError("oops")


class DeadlineTests(SynchronousTestCase):
    """One timer for the time limit of all calls."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.authorizer = self.make()

    def make(self, **options: Any) -> RemoteAuthorizer:
        agent = KeepAliveAgent(self.clock, self.endpoint)
        return RemoteAuthorizer(cast(IEgressReactor, self.clock), service(**options), agent)

    def timers(self) -> list[float]:
        return [each.getTime() for each in self.clock.getDelayedCalls()]

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.authorizer)

    def test_each_call_has_its_own_deadline(self) -> None:
        calls = []
        for _ in range(3):
            calls.append(self.authorizer.decide(REQUEST))
            self.clock.advance(1)
        self.assertEqual(self.timers(), [5.0])
        self.endpoint.connections[1].answer(ALLOWED)
        self.assertTrue(self.successResultOf(calls[1]).allowed)
        self.clock.advance(2)
        self.assertIs(self.failureResultOf(calls[0], AuthorizerUnavailable).value.kind, AuthzFailure.TIMEOUT)
        self.assertTrue(self.endpoint.connections[0].aborted)
        self.assertEqual(self.timers(), [7.0])
        self.clock.advance(1.75)
        self.assertNoResult(calls[2])
        self.clock.advance(0.25)
        self.assertIs(self.failureResultOf(calls[2], AuthorizerUnavailable).value.kind, AuthzFailure.TIMEOUT)
        self.assertEqual(self.timers(), [])

    def test_the_timer_serves_later_calls(self) -> None:
        for at in range(4):
            self.authorizer.decide(REQUEST)
            self.endpoint.last.answer(ALLOWED)
            self.assertEqual(self.timers(), [5.0])
            self.clock.advance(at and 1)
        late = self.authorizer.decide(REQUEST)
        self.clock.advance(2)
        self.assertEqual(self.timers(), [8.0])
        self.clock.advance(3)
        self.failureResultOf(late, AuthorizerUnavailable)
        self.assertEqual(self.timers(), [])

    def test_close(self) -> None:
        """No timer remains without a call."""
        self.authorizer.close()
        self.authorizer.decide(REQUEST)
        call = self.authorizer.decide(REQUEST)
        self.endpoint.connections[0].answer(ALLOWED)
        self.assertEqual(self.timers(), [5.0])
        call.cancel()
        self.assertEqual(self.timers(), [])
        self.failureResultOf(call)
        other = self.make()
        other.decide(REQUEST)
        self.endpoint.last.answer(ALLOWED)
        other.close()
        self.assertEqual(self.timers(), [])

    def test_calls_in_the_queue(self) -> None:
        calls = [self.authorizer.decide(REQUEST) for _ in range(MAX_CONNECTIONS + MAX_WAITING + 1)]
        self.assertIs(self.failureResultOf(calls.pop(), AuthorizerUnavailable).value.kind, AuthzFailure.OVERLOAD)
        self.clock.advance(5)
        for call in calls:
            self.assertIs(self.failureResultOf(call, AuthorizerUnavailable).value.kind, AuthzFailure.TIMEOUT)
        self.assertEqual(self.timers(), [])

    def test_codec_that_fails(self) -> None:
        authorizer = self.make(codec=_Codec())
        call = authorizer.decide(REQUEST)
        self.endpoint.last.answer(ALLOWED)
        self.assertIn("RuntimeError", self.failureResultOf(call, AuthorizerUnavailable).value.reason)
