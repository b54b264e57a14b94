"""Tests for L{egress.service}."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from unittest import mock

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.authz.cache import CachingAuthorizer
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.authz.policy_watch import LOOK_EVERY as POLICY_LOOK_EVERY
from egress.config.model import AuditFailure, ConfigError, Limits, Mode, OversizeBody, ProxyConfig
from egress.interfaces import IAuditSink, IAuthorizer
from egress.model.authority import Authority, UpstreamProxy
from egress.model.client_tls import LeafKey
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.errors import AuditUnavailable, AuthorizerUnavailable
from egress.model.no_proxy import Bypass
from egress.model.record import ExchangeRecord
from egress.observability.health import NotReady
from egress.proxy.factory import ProxyFactory
from egress.runtime.role import DRY_RUN, Role
from egress.service import EgressProxyService
from egress.tls.ca_rotation import Rotation
from egress.tls.ca_store import CaDirectory
from egress.tls.ca_watch import LOOK_EVERY
from egress.tls.issuer import CA_LIFETIME
from egress.upstream.proxy_endpoint import UpstreamEndpoint
from tests.authz.test_fail_closed import REQUEST
from tests.certificates import TestCA, key_pem_of
from tests.observability.records import ALLOWED
from tests.observability.test_health import Browser
from tests.threads import WithoutThreads, at_once
from tests.tls.sessions import shake_hands
from tests.transport.tls import rsa_key


@implementer(IAuthorizer)
class _Never:
    """An authorizer that denies everything, and records that it was closed."""

    name = "never"
    needs_body = False

    def __init__(self) -> None:
        self.closed = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        return succeed(Decision(Verdict.DENY, "never", self.name))

    def check_ready(self) -> Deferred[None]:
        return succeed(None)

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class _Silent(_Never):
    """An authorizer that never decides."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        self.asked += 1
        return Deferred()


@implementer(IAuditSink)
class _Sink:
    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[ExchangeRecord] = []
        self.closed = False
        self._error = error

    def write(self, record: ExchangeRecord) -> None:
        if self._error is not None:
            raise self._error
        if self.closed:
            raise AssertionError("a record after the end")
        self.records.append(record)

    def close(self) -> None:
        self.closed = True


@implementer(IReactorPluggableNameResolver)
class _Reactor(WithoutThreads, MemoryReactorClock):
    """A reactor in memory, which resolves no names."""

    nameResolver: Any = None

    def installNameResolver(self, resolver: Any) -> Any:
        raise NotImplementedError


class _Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class ServiceTestCase(SynchronousTestCase):
    """Base: makes services whose CA is in the directory of the test."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = _Reactor()
        self.ca_dir = Path(self.mktemp())

    def make(
        self, authorizer: IAuthorizer | None = None, audit: IAuditSink | None = None, **options: Any
    ) -> EgressProxyService:
        config = ProxyConfig(ca_dir=self.ca_dir, **options)
        return EgressProxyService(self.reactor, config, authorizer=authorizer, audit=audit)  # type: ignore[arg-type]


class ConstructionTests(ServiceTestCase):
    """The constructor loads the files that the configuration names."""

    def test_starter_policy_decides_by_default(self) -> None:
        service = self.make()
        self.assertEqual(service.authorizer.name, "policy starter")
        self.assertFalse(service.authorizer.needs_body)

    def test_a_policy_file_decides(self) -> None:
        policy = Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        self.assertIn(str(policy), self.make(policy=policy).authorizer.name)

    def test_an_authorization_service_decides(self) -> None:
        service = self.make(authz_url="https://authz.test/base")
        self.assertIn("https://authz.test/base/validate", service.authorizer.name)
        self.assertTrue(service.authorizer.needs_body)

    def test_an_authorizer_of_the_application(self) -> None:
        """Only that authorizer decides; the configuration cannot select another one."""
        self.assertEqual(self.make(_Never()).authorizer.name, "never")
        for field, value in (("authz_url", "http://authz.test"), ("policy", Path("policy.toml"))):
            with self.subTest(field):
                error = self.assertRaises(ConfigError, self.make, _Never(), **{field: value})
                self.assertEqual((error.option, error.value), (field, str(value)))
                self.assertIn("leave this out", error.remedy)

    def test_options_without_an_authorization_service(self) -> None:
        """The embedded policy does not use them; a service or an authorizer of the application does."""
        for field, value in (
            ("authz_max_concurrency", 1),
            ("authz_queue", 0),
            ("authz_breaker_failures", None),
            ("authz_cache", None),
            ("authz_max_ttl", 1.0),
            ("authz_max_stale", 0.0),
        ):
            with self.subTest(field):
                self.assertEqual(self.assertRaises(ConfigError, self.make, **{field: value}).option, field)
                given: dict[str, Any] = {field: value}
                self.make(_Never(), **given)
                self.make(authz_url="http://authz.test", **given)

    def test_one_process(self) -> None:
        """Several workers need a parent, which an application does not have."""
        error = self.assertRaises(ConfigError, self.make, workers=2)
        self.assertEqual((error.option, error.value), ("workers", "2"))
        config = ProxyConfig(ca_dir=self.ca_dir, workers=2)
        EgressProxyService(self.reactor, config, role=Role(()))  # type: ignore[arg-type]
        EgressProxyService(self.reactor, config, role=DRY_RUN)  # type: ignore[arg-type]

    def test_authorizer_wrappers(self) -> None:
        """The embedded policy always decides immediately, so it needs no limiter."""
        for options, kind in (
            ({}, FailClosedAuthorizer),
            ({"authz_url": "http://authz.test", "authz_cache": None}, LimitedAuthorizer),
            ({"authz_url": "http://authz.test"}, CachingAuthorizer),
            ({"authorizer": _Never()}, CachingAuthorizer),
        ):
            with self.subTest(options):
                service = self.make(**options)
                self.assertIsInstance(service._chain.without_approver, kind)
                told = b"egress_authorizer_requests_in_progress 0.0" in service.metrics.render()[0]
                self.assertEqual(told, kind is not FailClosedAuthorizer)
                told = b"egress_authorizer_cache_entries 0.0" in service.metrics.render()[0]
                self.assertEqual(told, kind is CachingAuthorizer)

    def test_retries_are_counted(self) -> None:
        service = self.make(authz_url="http://authz.test")
        self.assertIn(b"egress_authorizer_retries_total 0.0", service.metrics.render()[0])

    def test_limits_for_authorization_requests(self) -> None:
        silent = _Silent()
        bounds: dict[str, Any] = {"authz_max_concurrency": 2, "authz_queue": 1, "authz_breaker_failures": 2}
        # Identical requests would share one authorization request.
        service = self.make(silent, authz_timeout=5, authz_cache=None, **bounds)
        asked = [service.authorizer.decide(REQUEST) for _ in range(4)]
        self.assertEqual(silent.asked, 2)
        self.assertIn("overloaded", self.failureResultOf(asked[3], AuthorizerUnavailable).value.reason)
        self.reactor.advance(9.9)
        self.assertNoResult(asked[0])
        self.reactor.advance(0.1)
        for one in asked[:3]:
            self.failureResultOf(one, AuthorizerUnavailable)
        self.assertIn("circuit breaker is open", self.failureResultOf(service.checks["authorizer"]()).value.reason)
        self.successResultOf(service.authorizer.close())

    def test_an_authorizer_failure_is_detected_before_a_lease_expires(self) -> None:
        """Otherwise stale decisions and observe mode would have no effect on a renewal."""
        for mode in Mode:
            with self.subTest(mode):
                service = self.make(_Silent(), authz_timeout=5, mode=mode)
                asked = service.authorizer.decide(REQUEST)
                self.reactor.advance(service._context.authz.renewal_timeout - 0.1)
                if mode is Mode.OBSERVE:
                    self.assertEqual(self.successResultOf(asked).observed, "unavailable")
                else:
                    self.failureResultOf(asked, AuthorizerUnavailable)
                self.successResultOf(service.authorizer.close())

    def test_errors_name_the_option_of_the_file(self) -> None:
        garbage = Path(self.mktemp())
        garbage.write_text("garbage")
        missing = Path(self.mktemp()) / "missing"
        cases: list[tuple[str, dict[str, Any]]] = [
            ("--policy", {"policy": garbage}),
            ("--policy", {"policy": missing}),
            ("--ssl-extra-ca-certs", {"extra_ca_certs": garbage}),
            ("--authz-client-cert", {"authz_url": "https://authz.test", "authz_client_cert": garbage}),
            ("--origin-tls", {"origin_tls": garbage}),
            ("--client-auth", {"client_auth": garbage}),
            ("--listen", {"listen": (f"ssl:1:privateKey={garbage}",)}),
            ("authz_url", {"authz_url": "ftp://authz.test"}),
            ("passthrough", {"passthrough": ("not a host",)}),
            ("--audit-log", {"audit_log": str(missing / "audit.log")}),
        ]
        for option, options in cases:
            with self.subTest(option, **options):
                error = self.assertRaises(ConfigError, self.make, **options)
                self.assertEqual(error.option, option)
                self.assertNotIn("\n", str(error))

    def test_a_ca_directory_that_cannot_be_made(self) -> None:
        self.ca_dir.write_text("a file")
        error = self.assertRaises(ConfigError, self.make)
        self.assertEqual(error.option, "--ca-dir")


class AuditFailureTests(ServiceTestCase):
    """The audit log cannot be written."""

    def ask(self, **options: Any) -> tuple[EgressProxyService, Deferred[Decision]]:
        service = self.make(_Never(), audit_log="/dev/full", **options)
        self.addCleanup(service.stopService)
        service._sinks.write(ALLOWED)
        self.assertEqual(len(self.flushLoggedErrors()), 0, "it is said, not raised")
        return service, service.authorizer.decide(REQUEST)

    def test_denied(self) -> None:
        service, answer = self.ask(audit_failure=AuditFailure.DENY)
        self.failureResultOf(answer, AuditUnavailable)
        error = self.failureResultOf(service.checks["audit"](), AuditUnavailable).value
        self.assertIn("No space left", error.reason)

    def test_by_default_the_authorizer_decides(self) -> None:
        service, answer = self.ask()
        self.assertEqual(self.successResultOf(answer).reason, "never")
        self.assertNotIn("audit", service.checks)


class ReloadTests(ServiceTestCase):
    """Files are reloaded as a whole, or not at all."""

    def test_policy_and_trust(self) -> None:
        policy = Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        service = self.make(policy=policy)
        trust = service._trust.trust
        policy.write_text('version = 1\nprivate_addresses = "deny"\n[[rules]]\naction = "deny"\nreason = "closed"\n')
        with mock.patch.object(service._context.origins.pool, "clear") as cleared:
            self.successResultOf(service.reload())
        self.assertEqual(self.decide(service).reason, "closed")
        self.assertIsNotNone(service._guard.refusal(ip_address("10.0.0.1"), 80))
        self.assertIsNot(service._trust.trust, trust)
        cleared.assert_called_once_with()

    def test_shadow(self) -> None:
        """The shadow policy is reloaded, too."""
        policy, shadow = Path(self.mktemp()), Path(self.mktemp())
        for path in (policy, shadow):
            path.write_text("version = 1\n")
        service = self.make(policy=policy, shadow_policy=shadow)
        shadow.write_text('version = 1\ndefault = "allow"\n')
        self.successResultOf(service.reload())
        assert service._chain.shadow is not None
        self.assertIs(service._chain.shadow._rules.default, Verdict.ALLOW)

    def test_observing(self) -> None:
        """In observe mode a denied request is allowed, and content over the limit is truncated instead of rejected."""
        policy = Path(self.mktemp())
        policy.write_text("version = 1\n")
        service = self.make(policy=policy, mode=Mode.OBSERVE)
        self.assertEqual(self.decide(service).observed, "deny")
        self.assertIs(service._context.oversize_body, OversizeBody.TRUNCATE)

    def test_invalid_files_change_nothing(self) -> None:
        policy, extra = Path(self.mktemp()), Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        extra.write_bytes(TestCA().pem)
        service = self.make(policy=policy, extra_ca_certs=extra)
        trust = service._trust.trust
        policy.write_text('version = 1\n[[rules]]\naction = "deny"\nreason = "closed"\n')
        extra.write_text("garbage")
        self.assertEqual(self.failureResultOf(service.reload(), ConfigError).value.option, "--ssl-extra-ca-certs")
        self.assertTrue(self.decide(service).allowed)
        self.assertIs(service._trust.trust, trust)

    def test_the_policy_is_watched(self) -> None:
        """Only the policy is reloaded when it changes; idle connections to addresses that it blocks are closed."""
        policy = Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        service = self.make(policy=policy)
        service.startService()
        trust = service._trust.trust
        with mock.patch.object(service._context.origins.pool, "clear") as cleared:
            self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
            policy.write_text('version = 1\n[[rules]]\naction = "deny"\nreason = "closed"\n')
            self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
            self.assertEqual(self.decide(service).reason, "closed")
            cleared.assert_not_called()
            policy.write_text('version = 1\nprivate_addresses = "deny"\n[[rules]]\naction = "allow"\n')
            self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
            cleared.assert_called_once_with()
        self.assertTrue(self.decide(service).allowed)
        self.assertIsNotNone(service._guard.refusal(ip_address("10.0.0.1"), 80))
        self.assertIs(service._trust.trust, trust)
        self.assertIn(b"egress_policy_reloads_total 2.0", service.metrics.render()[0])
        service.stopService()
        policy.write_text("garbage")
        self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
        self.assertIn(b"egress_policy_last_reload_successful 1.0", service.metrics.render()[0])

    def test_an_authorizer_of_the_application_stays(self) -> None:
        service = self.make(_Never())
        self.successResultOf(service.reload())
        self.assertEqual(self.decide(service).reason, "never")

    def decide(self, service: EgressProxyService) -> Decision:
        return self.successResultOf(service.authorizer.decide(REQUEST))


class DescriptorLimitTests(ServiceTestCase):
    """The connection limit fits the limit of open files."""

    def test_lowered_limit(self) -> None:
        with mock.patch("egress.parts.soft_limit", return_value=1024), capturedLogs() as events:
            service = self.make()
        self.assertEqual(service._context.limits.connections, 384)
        self.assertEqual([(event["connections"], event["wanted"]) for event in events], [(384, 16384)])

    def test_sufficient_limit(self) -> None:
        with mock.patch("egress.parts.soft_limit", return_value=1048576), capturedLogs() as events:
            service = self.make()
        self.assertEqual((service._context.limits, events), (Limits(), []))


class CaTests(ServiceTestCase):
    """The CA and its successor."""

    def test_rsa_key(self) -> None:
        """The key is made in a thread of the proxy, when a client needs it."""
        with mock.patch("egress.tls.host_contexts._new_rsa_key", return_value=rsa_key()):
            interception = self.make()._context.tunnels.interception
            prepared = interception.prepared(LeafKey.RSA)
        assert prepared is not None
        self.assertIs(self.successResultOf(prepared), rsa_key())

    def test_ca_reload(self) -> None:
        """A CA that replaces another while the proxy runs signs, is logged and counted."""
        service = self.make()
        first = service.certificate_authority
        service.startService()
        rotation = Rotation(CaDirectory(self.ca_dir))
        now = datetime.now(timezone.utc)
        rotation.prepare(now, timedelta(days=1000))
        rotation.activate(now)
        self.reactor.advance(LOOK_EVERY)
        second = service.certificate_authority
        self.assertNotEqual(second.fingerprint, first.fingerprint)
        context = service._context.tunnels.interception._host_contexts.context_for(Authority("a.example", 443))
        client, server = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None), SSL.Connection(context, None)
        shake_hands(client, server)
        leaf = client.get_peer_certificate(as_cryptography=True)
        assert leaf is not None
        leaf.verify_directly_issued_by(second.certificate)
        end = service.metrics.registry.get_sample_value("egress_ca_not_after_timestamp_seconds")
        self.assertEqual(end, second.not_after.timestamp())

    def test_not_watched_before_nor_after(self) -> None:
        service = self.make()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        service.startService()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        service.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_provided_ca(self) -> None:
        """A provided intermediate CA signs; errors in it name the option."""
        middle = TestCA("Middle", TestCA("Root"))
        directory = Path(self.mktemp())
        directory.mkdir()
        certificate, key = directory / "ca.pem", directory / "key.pem"
        certificate.write_bytes(middle.pem)
        key.write_bytes(key_pem_of(middle.key))
        key.chmod(0o600)
        service = self.make(ca_cert=certificate, ca_key=key)
        self.assertEqual(service.certificate_authority.certificate, middle.certificate)
        self.assertFalse(self.ca_dir.exists())
        key.chmod(0o644)
        error = self.assertRaises(ConfigError, self.make, ca_cert=certificate, ca_key=key)
        self.assertEqual(error.option, "--ca-cert")
        self.assertIn("chmod 600", str(error))
        self.assertRaises(ConfigError, self.make, ca_cert=certificate)

    def test_constraints(self) -> None:
        service = self.make(ca_name_constraints=("example.com",))
        self.assertEqual(service.certificate_authority.limits, "example.com")

    def test_expiry_reminder(self) -> None:
        """A proxy logs reminders of the CA's expiry; one of several workers does not."""
        CaDirectory(self.ca_dir).load_or_create(datetime.now(timezone.utc) - CA_LIFETIME + timedelta(days=3))
        endpoint = TCP4ServerEndpoint(self.reactor, 8080)
        config = ProxyConfig(ca_dir=self.ca_dir)
        for endpoints, expected in ((None, 1), ([endpoint], 0)):
            service = EgressProxyService(self.reactor, config, role=Role(endpoints))  # type: ignore[arg-type]
            with capturedLogs() as events:
                service.startService()
            service.stopService()
            self.assertEqual(len([event for event in events if event["log_level"] is LogLevel.warn]), expected)


class AuthorizationServiceRouteTests(ServiceTestCase):
    """Connections to the authorization service are direct, unless configured otherwise."""

    def endpoint(self, **options: Any) -> object:
        service = self.make(authz_url="http://authz.test", **options)
        return service._behind_upstream(Authority("authz.test", 80))

    def test_directly_without_an_upstream_proxy(self) -> None:
        self.assertIsNone(self.endpoint(authz_via_upstream=True))

    def test_through_the_upstream_proxy_when_configured(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        for name in ("upstream_https", "upstream_http"):
            with self.subTest(name):
                self.assertIsInstance(self.endpoint(authz_via_upstream=True, **{name: upstream}), UpstreamEndpoint)

    def test_directly_with_no_proxy(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        bypass = Bypass.parse("authz.test")
        self.assertIsNone(self.endpoint(authz_via_upstream=True, upstream_https=upstream, bypass=bypass))


class ListeningTests(ServiceTestCase):
    """Starting binds every port, or fails completely."""

    def test_listening_fires_once_bound(self) -> None:
        service = self.make(listen=("tcp:8080:interface=127.0.0.1", "tcp:8081:interface=127.0.0.1"))
        waiting = service.listening()
        self.assertNoResult(waiting)
        service.privilegedStartService()
        service.startService()
        addresses = self.successResultOf(waiting)
        self.assertEqual([address.port for address in addresses], [8080, 8081])  # type: ignore[attr-defined]
        self.assertEqual(self.successResultOf(service.listening()), addresses)
        bound = [(server[0], server[3]) for server in self.reactor.tcpServers]
        self.assertEqual(bound, [(8080, "127.0.0.1"), (8081, "127.0.0.1")])

    def test_start_without_privileged_start(self) -> None:
        service = self.make()
        service.startService()
        self.successResultOf(service.listening())

    def test_metrics_are_not_part_of_the_addresses(self) -> None:
        service = self.make(metrics_port=9090)
        service.startService()
        self.assertEqual(len(self.successResultOf(service.listening())), 1)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080, 9090])

    def test_the_admin_api(self) -> None:
        service = self.make(admin="tcp:9099", admin_token="hunter2", metrics_port=9090)
        service.startService()
        self.assertEqual(len(self.successResultOf(service.listening())), 1)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080, 9090, 9099])
        self.assertIsNotNone(service._guard.refusal(ip_address("127.0.0.1"), 9099))
        browser = Browser(self.reactor.tcpServers[2][1])
        browser.ask("/approvals", extra="Authorization: Bearer hunter2\r\n")
        self.assertEqual(browser.answer()[2], b'{"pending": [], "grants": []}\n')

    def test_the_admin_api_of_a_parent(self) -> None:
        """A worker does not serve it, and blocks requests to it."""
        endpoint = TCP4ServerEndpoint(self.reactor, 8080)
        config = ProxyConfig(ca_dir=self.ca_dir, admin="tcp:9099", admin_token="hunter2")
        service = EgressProxyService(self.reactor, config, role=Role([endpoint]))  # type: ignore[arg-type]
        service.startService()
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080])
        self.assertIn("proxy itself", service._guard.refusal(ip_address("127.0.0.1"), 9099) or "")

    def test_the_admin_api_on_a_unix_socket(self) -> None:
        path = str(Path(self.mktemp()).absolute())
        service = self.make(admin=f"unix:{path}")
        service.startService()
        self.successResultOf(service.listening())
        ((bound, _, _, mode, _),) = self.reactor.unixServers
        self.assertEqual((bound, mode), (path, 0o600))

    def test_metrics_on_an_ipv6_interface(self) -> None:
        service = self.make(metrics_port=9090, metrics_interface="::1")
        service.startService()
        self.assertEqual(self.reactor.tcpServers[1][3], "::1")

    def test_a_busy_port_fails_and_closes_the_others(self) -> None:
        service = self.make(listen=("tcp:8080:interface=127.0.0.1", "tcp:8081:interface=127.0.0.1"))
        listen = self.reactor.listenTCP

        def busy(port: int, *args: Any, **kwargs: Any) -> Any:
            if port == 8081:
                raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
            return listen(port, *args, **kwargs)

        self.patch(self.reactor, "listenTCP", busy)
        waiting = service.listening()
        service.privilegedStartService()
        service.startService()
        self.failureResultOf(waiting, CannotListenError)
        self.failureResultOf(service.listening(), CannotListenError)

    def test_cancellation(self) -> None:
        service = self.make()
        waiting = service.listening()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        service.startService()

    def test_worker(self) -> None:
        endpoint = TCP4ServerEndpoint(self.reactor, 8082, interface="127.0.0.1")
        config = ProxyConfig(ca_dir=self.ca_dir, metrics_port=9090, allow_address=(ip_network("127.0.0.0/8"),))
        service = EgressProxyService(self.reactor, config, role=Role([endpoint]))  # type: ignore[arg-type]
        service.startService()
        # The parent binds the ports, and serves the metrics.
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8082])
        for port, refused in ((8082, True), (9090, True), (8080, False)):
            with self.subTest(port=port):
                self.assertEqual(service._guard.refusal(ip_address("127.0.0.1"), port) is not None, refused)

    def test_requests_to_own_ports_are_blocked(self) -> None:
        service = self.make(metrics_port=9090, allow_address=(ip_network("127.0.0.0/8"),))
        service.startService()
        for port, refused in ((8080, True), (9090, True), (8081, False)):
            with self.subTest(port=port):
                self.assertEqual(service._guard.refusal(ip_address("127.0.0.1"), port) is not None, refused)


class StoppingTests(ServiceTestCase):
    """Stopping drains, then aborts."""

    def connect(self, service: EgressProxyService) -> tuple[Any, _Transport]:
        service.startService()
        factory = self.reactor.tcpServers[0][1]
        self.assertIsInstance(factory, ProxyFactory)
        session: Any = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1234))
        transport = _Transport()
        session.makeConnection(transport)
        return session, transport

    def test_an_idle_connection_is_closed_and_then_everything_else(self) -> None:
        never, sink = _Never(), _Sink()
        service = self.make(never, sink)
        session, transport = self.connect(service)
        stopped = service.stopService()
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(stopped)
        session.connectionLost()
        self.successResultOf(stopped)
        self.assertTrue(never.closed)
        self.assertTrue(sink.closed)

    def test_connections_that_do_not_drain_are_aborted(self) -> None:
        service = self.make(_Never(), limits=Limits(drain_timeout=7))
        session, transport = self.connect(service)
        stopped = service.stopService()
        self.reactor.advance(6)
        self.assertFalse(transport.aborted)
        self.reactor.advance(1)
        self.assertTrue(transport.aborted)
        self.assertNoResult(stopped)
        session.connectionLost()
        self.successResultOf(stopped)

    def test_stopping_does_not_wait_for_aborted_connections(self) -> None:
        service = self.make(_Never())
        session, transport = self.connect(service)
        stopped = service.stopService()
        service.abort()
        self.assertTrue(transport.aborted)
        session.connectionLost()
        self.successResultOf(stopped)

    def test_stopping_does_not_wait_for_a_connection_that_does_not_close(self) -> None:
        service = self.make(_Never(), limits=Limits(drain_timeout=7))
        session, _ = self.connect(service)
        stopped = service.stopService()
        self.reactor.advance(7)
        self.reactor.advance(1)
        self.successResultOf(stopped)
        session.connectionLost()

    def test_the_last_record_is_written_before_the_log_is_closed(self) -> None:
        sink = _Sink()
        service = self.make(_Never(), sink)
        session, _ = self.connect(service)
        # A tunnel whose client disconnects during the TLS handshake.
        session.dataReceived(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n\x16\x03\x01\x02\x00")
        stopped = service.stopService()
        session.connectionLost()
        self.successResultOf(stopped)
        self.assertEqual([record.outcome for record in sink.records], ["client-tls-failed"])

    def test_stopping_without_a_start(self) -> None:
        self.successResultOf(self.make().stopService())


class ApprovalTests(ServiceTestCase):
    """Approvals are requested, and a proxy that stops resolves the pending ones."""

    def ask(self, **options: Any) -> tuple[EgressProxyService, Deferred[Decision]]:
        policy = Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "ask"\n')
        service = self.make(policy=policy, **options)
        return service, service.authorizer.decide(REQUEST)

    def test_without_an_admin_api(self) -> None:
        _, asked = self.ask()
        decision = self.successResultOf(asked)
        self.assertFalse(decision.allowed)
        self.assertIn("start the proxy with --admin", decision.reason)

    def test_pending(self) -> None:
        service, asked = self.ask(admin="unix:/a", approval_timeout=7)
        self.assertIn(b"egress_approvals_pending 1.0", service.metrics.render()[0])
        self.reactor.advance(6.9)
        self.assertNoResult(asked)
        self.reactor.advance(0.1)
        self.assertFalse(self.successResultOf(asked).allowed)

    def test_stopping(self) -> None:
        service, asked = self.ask(admin="unix:/a")
        service.stopService()
        self.assertFalse(self.successResultOf(asked).allowed)


class ReportTests(ServiceTestCase):
    """Every exchange reaches the metrics and every sink."""

    REQUEST = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"

    def request(self, service: EgressProxyService) -> _Transport:
        service.startService()
        session: Any = self.reactor.tcpServers[0][1].buildProtocol(None)  # type: ignore[arg-type]
        transport = _Transport()
        session.makeConnection(transport)
        # The proxy itself rejects it: two Host fields.
        session.dataReceived(self.REQUEST.replace(b"\r\n\r\n", b"\r\nHost: other\r\n\r\n"))
        return transport

    def test_record(self) -> None:
        sink = _Sink()
        service = self.make(_Never(), sink)
        self.request(service)
        self.assertEqual([record.outcome for record in sink.records], ["bad-request"])
        self.assertIn(b'outcome="bad-request"', service.metrics.render()[0])

    def test_a_sink_that_raises_does_not_affect_the_client(self) -> None:
        service = self.make(_Never(), _Sink(RuntimeError("full")))
        transport = self.request(service)
        self.assertIn(b"HTTP/1.1 400", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_readiness_checks_the_ca_and_the_authorizer(self) -> None:
        service = self.make(_Never())
        self.successResultOf(service._check_ca())
        self.successResultOf(service.authorizer.check_ready())

    def test_an_expired_ca_is_not_ready(self) -> None:
        service = self.make(_Never())
        past = service.certificate_authority.not_after.replace(year=2000)
        self.patch(service.certificate_authority, "not_after", past)
        failure = self.failureResultOf(service._check_ca(), NotReady)
        self.assertEqual(str(failure.value), f"the CA certificate expired on {past:%Y-%m-%d}")
