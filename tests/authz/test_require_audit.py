"""Tests for L{egress.authz.require_audit}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.require_audit import AuditRequiringAuthorizer
from egress.interfaces import IAuthorizer
from egress.model.errors import AuditUnavailable
from tests.authz.fakes import REQUEST
from tests.proxy.fakes import ScriptedAuthorizer


class RequireAuditTests(SynchronousTestCase):
    """No request is authorized while the audit log is broken."""

    def setUp(self) -> None:
        self.fault: str | None = None
        self.script = ScriptedAuthorizer()
        self.authorizer = AuditRequiringAuthorizer(self.script, lambda: self.fault)

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.authorizer)
        self.assertEqual((self.authorizer.name, self.authorizer.needs_body), ("script", True))
        self.successResultOf(self.authorizer.check_ready())
        self.successResultOf(self.authorizer.close())

    def test_working_log(self) -> None:
        self.assertTrue(self.successResultOf(self.authorizer.decide(REQUEST)).allowed)
        self.successResultOf(self.authorizer.check_audit())

    def test_broken_log(self) -> None:
        self.fault = "No space left on device"
        error = self.failureResultOf(self.authorizer.decide(REQUEST), AuditUnavailable).value
        self.assertNotIn("device", error.reason, "the client learns nothing of the machine")
        self.assertEqual(self.script.asked, [])
        error = self.failureResultOf(self.authorizer.check_audit(), AuditUnavailable).value
        self.assertEqual(error.reason, "the audit log cannot be written: No space left on device")

    def test_repaired_log(self) -> None:
        self.fault = "No space left on device"
        self.failureResultOf(self.authorizer.decide(REQUEST))
        self.fault = None
        self.assertTrue(self.successResultOf(self.authorizer.decide(REQUEST)).allowed)
