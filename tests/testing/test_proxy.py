"""Tests for L{egress.testing.proxy}."""

from __future__ import annotations

import os
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.model.decision import Decision
from egress.testing import MemoryProxy, MemoryReactor, OriginResponse, RecordingAuthorizer
from egress.testing import __all__ as names
from egress.testing.authorizer import allow, deny
from tests.files import make_directory

POLICY = """
version = 1
[[rules]]
id = "reads"
action = "allow"
hosts = ["a.test"]
methods = ["GET"]
"""


class MemoryProxyTests(SynchronousTestCase):
    """A whole proxy, without a socket."""

    def make(self, *arguments: object, **options: object) -> MemoryProxy:
        proxy = MemoryProxy(*arguments, **options)  # type: ignore[arg-type]
        self.addCleanup(proxy.close)
        return proxy

    def test_http_and_https(self) -> None:
        proxy = self.make()
        origin = proxy.origin("a.test", lambda request: OriginResponse(request.body, 201))
        for scheme in ("http", "https"):
            response = proxy.request("POST", f"{scheme}://a.test/x?y=1", {"X-A": "b"}, b"body")
            self.assertEqual((response.status, response.body), (201, b"body"))
        self.assertEqual([request.is_tls for request in origin.requests], [False, True])
        self.assertEqual({(request.target, request.field("x-a")) for request in origin.requests}, {("/x?y=1", "b")})
        assert isinstance(proxy.authorizer, RecordingAuthorizer)
        self.assertEqual(
            [request.url for request in proxy.authorizer.requests], ["http://a.test/x?y=1", "https://a.test/x?y=1"]
        )
        self.assertEqual([record.outcome for record in proxy.records], ["forwarded", "forwarded"])
        self.assertIs(proxy.origins["a.test"], origin)

    def test_no_telemetry(self) -> None:
        """Variables of the environment are not those of the test."""
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRICS_EXPORTER": "none"}
        with mock.patch.dict(os.environ, given):
            proxy = self.make()
        proxy.origin("a.test", lambda request: OriginResponse(b""))
        proxy.request("GET", "http://a.test/")
        self.assertIsNone(proxy.records[0].trace)

    def test_ports_and_addresses(self) -> None:
        proxy = self.make(allow_address=["192.0.2.0/24"])
        proxy.origin("A.test", http_ports=[8000], https_ports=[8443])
        proxy.origin("192.0.2.9")
        for url in ("http://a.test:8000/", "https://a.test:8443/", "https://192.0.2.9/"):
            self.assertEqual(proxy.request("GET", url).status, 200)
        self.assertEqual(proxy.request("GET", "https://a.test/").json()["stage"], "origin")

    def test_denied(self) -> None:
        """Nothing is resolved, and nothing is contacted."""
        proxy = self.make(RecordingAuthorizer(lambda request: deny("not today", "rule-7")))
        origin = proxy.origin("a.test")
        response = proxy.request("GET", "https://a.test/")
        self.assertEqual(
            (response.status, response.json()["reason"], response.json()["ruleId"]), (403, "not today", "rule-7")
        )
        self.assertEqual((origin.connections, proxy.reactor.resolver.queried), (0, []))

    def test_policy(self) -> None:
        path = make_directory(self) / "policy.toml"
        path.write_text(POLICY)
        proxy = self.make(policy=path)
        self.assertIsNone(proxy.authorizer)
        proxy.origin("a.test")
        self.assertEqual(proxy.request("GET", "https://a.test/").status, 200)
        self.assertEqual(proxy.request("DELETE", "https://a.test/").status, 403)
        path.write_text(POLICY.replace("GET", "DELETE"))
        proxy.reactor.wait_for(proxy.service.reload())
        self.assertEqual(proxy.request("DELETE", "https://a.test/").status, 200)

    def test_address_guard(self) -> None:
        proxy = self.make()
        proxy.reactor.resolver.names["a.test"] = ["169.254.169.254"]
        self.assertEqual(proxy.request("GET", "https://a.test/").json()["stage"], "address")

    def test_a_slow_authorizer(self) -> None:
        """The client waits for the decision, and the time limit of the authorizer applies."""
        decision: Deferred[Decision] = Deferred()
        proxy = self.make(RecordingAuthorizer(lambda request: decision), authz_timeout=1)
        proxy.origin("a.test")
        pending = proxy.send("GET", "https://a.test/")
        self.assertFalse(pending.is_over)
        decision.callback(allow())
        proxy.reactor.settle()
        self.assertEqual(pending.result().status, 200)
        proxy.authorizer = None
        silent = self.make(RecordingAuthorizer(lambda request: Deferred()), authz_timeout=1)
        pending = silent.send("GET", "https://a.test/")
        silent.pass_time(1)
        self.assertFalse(pending.is_over)
        silent.pass_time(2)
        self.assertEqual(pending.result().status, 503)

    def test_client_addresses(self) -> None:
        proxy = self.make()
        proxy.origin("a.test")
        proxy.client("192.0.2.77").request("GET", "http://a.test/")
        self.assertEqual(proxy.records[0].client.address, "192.0.2.77")

    def test_two_proxies(self) -> None:
        """A reactor of the application's own."""
        reactor = MemoryReactor()
        first = self.make(reactor=reactor)
        second = self.make(reactor=reactor, listen=["tcp:8081"])
        first.origin("a.test")
        self.assertEqual(second.request("GET", "http://a.test/").status, 200)
        self.assertEqual((len(first.records), len(second.records)), (0, 1))

    def test_close(self) -> None:
        """Exchanges that are in progress end, and the files are deleted."""
        proxy = MemoryProxy(limits=Limits(drain_timeout=5))
        proxy.origin("a.test", lambda request: Deferred())
        pending = proxy.send("GET", "http://a.test/")
        directory = proxy.directory
        self.assertTrue((directory / "ca" / "ca.pem").exists())
        proxy.close()
        self.assertTrue(pending.is_over)
        self.assertFalse(directory.exists())
        self.assertEqual(proxy.reactor.getDelayedCalls(), [])

    def test_names(self) -> None:
        """The package exports its public names."""
        self.assertIn("MemoryProxy", names)
