"""Tests of C{embedding.py}, as its authors would write them: with L{egress.testing}, and without a socket.

Run them with C{python -m twisted.trial embedding_test}.
"""

from __future__ import annotations

from embedding import Application
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.testing import MemoryClient, MemoryOrigin, MemoryReactor


class PermitTests(SynchronousTestCase):
    """The application as a whole: its own web service, and the proxy."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.application = Application(self.reactor, ProxyConfig(ca_dir=self.mktemp()))
        self.application.startService()
        self.addCleanup(self.stop)
        self.origin = MemoryOrigin()
        self.reactor.resolver.names["api.example.com"] = ["11.0.0.1"]
        self.reactor.listen("11.0.0.1", 80, self.origin.accept)
        self.page = MemoryClient(self.reactor, 8081)
        self.client = MemoryClient(self.reactor, 8080, self.application.proxy.certificate_authority)

    def stop(self) -> None:
        """Stop the application, and check that it stops."""
        stopped = self.application.stopService()
        self.reactor.settle()
        self.successResultOf(stopped)

    def test_no_permit(self) -> None:
        """The client receives the reason; nothing is resolved or contacted."""
        response = self.client.request("GET", "http://api.example.com/v1")
        self.assertEqual((response.status, response.json()["ruleId"]), (403, "no-permit"))
        self.assertEqual((self.reactor.resolver.queried, self.origin.connections), ([], 0))

    def test_permit(self) -> None:
        """With a permit, the request is forwarded, and counted."""
        self.assertEqual(self.page.request("PUT", "/permits/api.example.com").status, 204)
        self.assertEqual(self.client.request("GET", "http://api.example.com/v1").body, b"hello")
        self.assertEqual([request.target for request in self.origin.requests], ["/v1"])
        self.assertEqual(self.page.request("GET", "/permits").json(), {"api.example.com": 1})

    def test_end_of_a_permit(self) -> None:
        """A deleted permit has no effect on later requests."""
        self.page.request("PUT", "/permits/api.example.com")
        self.page.request("DELETE", "/permits/api.example.com")
        self.assertEqual(self.client.request("GET", "https://api.example.com/v1").status, 403)
