"""Tests for L{egress.testing.authorizer}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import IAuditSink, IAuthorizer
from egress.testing.authorizer import RecordingAuthorizer, RecordingSink, allow, deny
from tests.authz.fakes import REQUEST
from tests.observability.records import ALLOWED


class RecordingAuthorizerTests(SynchronousTestCase):
    """It records requests, and decides as directed."""

    def test_default(self) -> None:
        authorizer = RecordingAuthorizer()
        verifyObject(IAuthorizer, authorizer)
        self.assertEqual(self.successResultOf(authorizer.decide(REQUEST)), allow())
        self.assertEqual(authorizer.requests, [REQUEST])
        self.successResultOf(authorizer.check_ready())
        self.assertFalse(authorizer.is_closed)
        self.successResultOf(authorizer.close())
        self.assertTrue(authorizer.is_closed)

    def test_directed(self) -> None:
        authorizer = RecordingAuthorizer(lambda request: deny(f"no {request.method}", "rule"), needs_body=True)
        self.assertTrue(authorizer.needs_body)
        self.assertEqual(self.successResultOf(authorizer.decide(REQUEST)), deny("no GET", "rule"))

        def fail(request: object) -> None:
            raise KeyError(request)

        authorizer.decide_with = fail  # type: ignore[assignment]
        self.failureResultOf(authorizer.decide(REQUEST), KeyError)
        self.assertEqual(len(authorizer.requests), 2)


class RecordingSinkTests(SynchronousTestCase):
    """It stores the records."""

    def test_records(self) -> None:
        sink = RecordingSink()
        verifyObject(IAuditSink, sink)
        sink.write(ALLOWED)
        self.assertEqual((sink.records, sink.is_closed), ([ALLOWED], False))
        sink.close()
        self.assertTrue(sink.is_closed)
