"""Tests for L{egress.authz.current_policy}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.current_policy import CurrentPolicyAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.errors import AuthorizerUnavailable
from tests.authz.fakes import REQUEST
from tests.proxy.fakes import ScriptedAuthorizer


class CurrentPolicyTests(SynchronousTestCase):
    """No request is authorized by a policy that may not be used."""

    def test_fails_closed(self) -> None:
        fault: list[str | None] = [None]
        script = ScriptedAuthorizer()
        authorizer = CurrentPolicyAuthorizer(script, lambda: fault[0])
        verifyObject(IAuthorizer, authorizer)
        self.assertTrue(self.successResultOf(authorizer.decide(REQUEST)).allowed)
        fault[0] = "the policy is not loaded yet"
        error = self.failureResultOf(authorizer.decide(REQUEST), AuthorizerUnavailable).value
        self.assertEqual(error.reason, "the policy is not loaded yet")
        self.assertEqual(len(script.asked), 1)
        fault[0] = None
        self.assertTrue(self.successResultOf(authorizer.decide(REQUEST)).allowed)
