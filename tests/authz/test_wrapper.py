"""Tests for L{egress.authz.wrapper}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from tests.authz.fakes import REQUEST
from tests.proxy.fakes import ScriptedAuthorizer


class WrapperTests(SynchronousTestCase):
    """Calls that are not overridden are forwarded."""

    def test_forwarding(self) -> None:
        script = ScriptedAuthorizer()
        wrapper = Wrapper(script)
        verifyObject(IAuthorizer, wrapper)
        self.assertEqual((wrapper.name, wrapper.needs_body), ("script", True))
        self.assertTrue(self.successResultOf(wrapper.decide(REQUEST)).allowed)
        self.assertEqual(script.asked, [REQUEST])
        self.successResultOf(wrapper.check_ready())
        self.successResultOf(wrapper.close())
