"""Tests for L{egress.tls.reloadable_trust}."""

from __future__ import annotations

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.model.authority import Authority
from egress.model.errors import OriginCertificateInvalid
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.tls import ServerTls
from tests.certificates import TestCA
from tests.files import make_directory
from tests.tls.sessions import Session

HOST = Authority("api.example.com", 443)


class ReloadableTrustTests(SynchronousTestCase):
    """An existing creator verifies sessions with the current trust settings."""

    def test_replace(self) -> None:
        directory = make_directory(self)
        ca = TestCA("Company CA")
        trusting = OriginTrust(ca.write(directory))
        current = ReloadableTrust(OriginTrust())
        creator = current.connection_creator(HOST)
        verifyObject(IOpenSSLClientConnectionCreator, creator)
        server = ServerTls(ca.issue(HOST.host).server_context())

        before = Session(creator, server).run()
        self.assertFalse(before.client.completed)
        assert before.client.lost is not None
        self.assertIsInstance(creator.explain(before.client.lost), OriginCertificateInvalid)

        current.replace(trusting)
        self.assertTrue(Session(creator, server).run().client.completed)
        current.replace(OriginTrust())
        self.assertFalse(Session(creator, server).run().client.completed)
