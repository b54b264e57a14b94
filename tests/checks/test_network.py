"""Tests for L{egress.checks.network}."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.checks import network as module
from egress.checks.contact import Contact
from egress.checks.finding import Finding, Status
from egress.checks.network import check_authorizer, check_dns, check_other_cas, check_upstream, clock_of_authorizer
from egress.config.model import ProxyConfig
from egress.config.shared import SharedSettings
from egress.model.authority import Authority, UpstreamProxy
from egress.model.decision import Decision, Verdict
from egress.model.dns_server import DnsServer
from egress.model.errors import AuthorizerUnavailable, NameNotResolved, ResolutionTimeout
from egress.model.shared_location import SharedLocation
from egress.runtime.role import DRY_RUN
from egress.service import EgressProxyService
from egress.shared.ca_fingerprints import NAMESPACE, SharedViews
from egress.shared.ca_views import CaView
from egress.shared.keys import SharedKeys
from tests.certificates import TestCA
from tests.files import make_directory
from tests.shared.engine import Engine, EngineClient
from tests.threads import immediately
from tests.transport.reactors import DialingReactor

DENY = Decision(Verdict.DENY, "no", "x")
ONE = UpstreamProxy("http", Authority("one.test", 3128))
TWO = UpstreamProxy("http", Authority("two.test", 3128))


class FakeProxy:
    """A proxy whose authorizer responds as the test says."""

    authorizer_name = "service"

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.asked: list[Any] = []
        self.config: Any = None
        self.stopped = False

    def __call__(self, config: ProxyConfig) -> Any:
        self.config = config
        return self

    @property
    def authorizer(self) -> FakeProxy:
        return self

    def decide(self, request: Any) -> Deferred[Any]:
        self.asked.append(request)
        result = self.results.pop(0)
        if isinstance(result, Deferred):
            return result
        return fail(result) if isinstance(result, Exception) else succeed(result)

    def stopService(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)


class AuthorizerTests(SynchronousTestCase):
    """Authorization requests."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()

    def check(self, *results: Any) -> Finding:
        self.proxy = FakeProxy(*results)
        config = ProxyConfig(authz_url="http://service.test", shadow_authz_url="http://shadow.test")
        checking = check_authorizer(self.reactor, config, self.proxy)
        self.reactor.advance(6.0)
        return self.successResultOf(checking)

    def dry_run(self, config: ProxyConfig) -> EgressProxyService:
        reactor: Any = self.reactor
        return EgressProxyService(reactor, config, role=DRY_RUN)

    def test_decision(self) -> None:
        """Two requests that are never forwarded; no approver and no shadow authorizer sees them."""
        finding = self.check(DENY, DENY)
        self.assertEqual((finding.status, finding.text), (Status.OK, "service decided in 0 ms"))
        self.assertEqual(self.proxy.asked[0].url, "https://egressproxy.invalid/")
        self.assertEqual(len(self.proxy.asked), 2)
        self.assertTrue(self.proxy.stopped)
        self.assertEqual((self.proxy.config.admin, self.proxy.config.shadow_authz_url), (None, None))

    def test_failure(self) -> None:
        finding = self.check(AuthorizerUnavailable("the service is down"))
        self.assertEqual((finding.status, finding.text), (Status.FAULT, "service: the service is down"))
        line = "start the authorization service at http://service.test, or correct --authz-url"
        self.assertEqual(finding.fix and finding.fix.line, line)
        self.assertTrue(self.proxy.stopped)

    def test_no_decision_in_time(self) -> None:
        finding = self.check(DENY, Deferred())
        self.assertEqual((finding.status, finding.text), (Status.FAULT, "service: no decision within 5 s"))

    def test_policy(self) -> None:
        policy = make_directory(self) / "policy.toml"
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        finding = self.successResultOf(check_authorizer(self.reactor, ProxyConfig(policy=policy), self.dry_run))
        self.assertEqual(finding.status, Status.OK, finding)
        policy.write_text("version = 2")
        finding = self.successResultOf(check_authorizer(self.reactor, ProxyConfig(policy=policy), self.dry_run))
        self.assertEqual(finding.status, Status.FAULT)
        self.assertIn("policy.toml", finding.text)
        self.assertEqual(finding.fix and finding.fix.line, "egress check")

    def test_neither(self) -> None:
        finding = self.successResultOf(check_authorizer(self.reactor, ProxyConfig(), self.dry_run))
        self.assertEqual(finding.status, Status.SKIPPED)

    def test_clock(self) -> None:
        self.patch(module, "server_contact", lambda url, seconds: Contact(status=404, ahead=float(len(url))))
        for config, expected in (
            (ProxyConfig(), {}),
            (ProxyConfig(authz_url="http://a.test"), {"the authorization service": len("http://a.test/validate")}),
        ):
            found = self.successResultOf(clock_of_authorizer(config, immediately))
            self.assertEqual(dict.fromkeys(found, True), dict.fromkeys(expected, True))
        via = ProxyConfig(authz_url="http://a.test", authz_via_upstream=True, upstream_http=ONE, upstream_https=ONE)
        self.assertEqual(self.successResultOf(clock_of_authorizer(via, immediately)), {})


class _Client(EngineClient):
    """The client of an engine in memory, which connects at once."""

    stopped = 0

    def start(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> None:
        self.stopped += 1


class OtherCasTests(SynchronousTestCase):
    """The CAs of the replicas that share state."""

    def setUp(self) -> None:
        clock = Clock()
        clock.advance(time.time())
        client: Any = _Client(Engine(clock))
        self.client = client
        self.patch(module, "SharedClient", lambda *_, **__: client)
        self.roots = [TestCA("One").certificate, TestCA("Two").certificate]

    def check(self, own: CaView | None, **settings: Any) -> Finding:
        config = ProxyConfig(
            shared=SharedSettings(location=SharedLocation.parse("unix:/run/r"), key=bytes(32)), **settings
        )
        return self.successResultOf(check_other_cas(DialingReactor(), config, own))

    def view(self, index: int) -> CaView:
        return CaView.of(self.roots[index], [], f"node-{index}", time.time())

    def test_compared(self) -> None:
        found = self.check(self.view(0))
        self.assertEqual((found.status, found.text), (Status.OK, "no other replica is running"))
        SharedViews(self.client, SharedKeys(bytes(32), NAMESPACE), time.time).write([self.view(0), self.view(1)])
        found = self.check(self.view(0))
        self.assertEqual(found.status, Status.WARNING)
        self.assertIn("the root of the CA on node-1 ", found.text)
        self.assertEqual(self.check(None).status, Status.SKIPPED)
        self.assertEqual(self.client.stopped, 3)

    def test_not_known(self) -> None:
        """The engine, or the trust in it, cannot be used."""
        self.client.fault = "it is away"
        found = self.check(self.view(0))
        self.assertEqual(found.status, Status.SKIPPED)
        self.assertIn("unix:/run/r cannot be used: it is away", found.text)
        garbage = make_directory(self) / "cas.pem"
        garbage.write_text("garbage")
        found = self.check(self.view(0), extra_ca_certs=garbage)
        self.assertIn("contains no PEM certificate", found.text)


class DnsTests(SynchronousTestCase):
    """The lookup of a name that cannot exist."""

    def check(self, **config: Any) -> Finding:
        checking = check_dns(DialingReactor(), ProxyConfig(**config), immediately)
        return self.successResultOf(checking)

    def by_system(self, result: Any) -> Finding:
        def look_up(*_: object, **__: object) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        self.patch(socket, "getaddrinfo", look_up)
        return self.check()

    def test_system(self) -> None:
        self.assertEqual(self.by_system(socket.gaierror(socket.EAI_NONAME, "Name not known")).status, Status.OK)
        finding = self.by_system(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
        self.assertEqual(finding.status, Status.FAULT)
        self.assertIn("temporary failure", finding.text)
        finding = self.by_system([(2, 1, 6, "", ("192.0.2.1", 0)), (2, 2, 6, "", ("192.0.2.1", 0))])
        self.assertEqual(finding.status, Status.WARNING)
        self.assertIn("return 192.0.2.1 for egressproxy.invalid", finding.text)

    def test_slow_system(self) -> None:
        reactor = DialingReactor()
        checking = check_dns(reactor, ProxyConfig(), lambda call: Deferred())
        reactor.advance(10.0)
        self.assertIn("no response in time", self.successResultOf(checking).text)

    def test_servers(self) -> None:
        for result, status, text in (
            (succeed(()), Status.OK, "respond"),
            (fail(NameNotResolved("x")), Status.OK, "respond"),
            (fail(ResolutionTimeout("no server responded")), Status.FAULT, "no server responded"),
            (succeed(("192.0.2.1",)), Status.WARNING, "192.0.2.1"),
        ):
            self.patch(module, "DnsLookups", lambda *_, result=result: lambda host: result)
            finding = self.check(dns_servers=(DnsServer.parse("192.0.2.53"),))
            self.assertEqual(finding.status, status)
            self.assertIn(text, finding.text)

    def test_slow_servers(self) -> None:
        self.patch(module, "DnsLookups", lambda *_: lambda host: Deferred())
        reactor = DialingReactor()
        config = ProxyConfig(dns_servers=(DnsServer.parse("192.0.2.53"),))
        checking = check_dns(reactor, config, immediately)
        reactor.advance(6.0)
        self.assertIn("no response in time", self.successResultOf(checking).text)

    def test_upstream_resolves(self) -> None:
        self.assertEqual(self.check(upstream_https=ONE, upstream_http=ONE).status, Status.SKIPPED)
        socks = UpstreamProxy("socks5", ONE.authority)
        self.assertNotEqual(self.check(upstream_https=socks, upstream_http=socks).status, Status.SKIPPED)


class UpstreamTests(SynchronousTestCase):
    """Upstream proxies."""

    def test_each_once(self) -> None:
        contacted: list[UpstreamProxy] = []

        def contact(upstream: UpstreamProxy, seconds: float) -> Contact:
            contacted.append(upstream)
            return Contact(status=502, ahead=2.0)

        self.patch(module, "upstream_contact", contact)
        for config, expected in (
            (ProxyConfig(), []),
            (ProxyConfig(upstream_http=ONE, upstream_https=ONE), [ONE]),
            (ProxyConfig(upstream_http=ONE, upstream_https=TWO), [TWO, ONE]),
        ):
            contacted.clear()
            finding, ahead = self.successResultOf(check_upstream(config, immediately))
            self.assertEqual(contacted, expected)
            self.assertEqual(finding.status, Status.OK if expected else Status.SKIPPED)
            self.assertEqual(ahead, {f"the upstream proxy {each}": 2.0 for each in expected})
