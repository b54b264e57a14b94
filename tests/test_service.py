"""Tests for L{egress.service}."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from egress.authz.cache import CachingAuthorizer
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.authz.policy_watch import LOOK_EVERY as POLICY_LOOK_EVERY
from egress.config.model import AuditFailure, ConfigError, Limits, Mode, ProxyConfig
from egress.config.shared import SharedSettings
from egress.interfaces import IAuditSink, IAuthorizer
from egress.model.authority import Authority, UpstreamProxy
from egress.model.decision import Decision, Verdict
from egress.model.errors import AuditUnavailable, AuthorizerUnavailable
from egress.model.no_proxy import Bypass
from egress.model.record import ExchangeRecord
from egress.model.shared_location import SharedLocation
from egress.observability.health import NotReady
from egress.parts import renewal_timeout
from egress.proxy.factory import ProxyFactory
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.runtime.role import DRY_RUN, Role
from egress.service import EgressProxyService
from egress.store.sqlite import open_to_read
from egress.tls.ca_rotation import Rotation
from egress.tls.ca_store import CaDirectory
from egress.tls.ca_watch import LOOK_EVERY
from egress.tls.issuer import CA_LIFETIME
from egress.tls.reloadable_trust import ReloadableTrust
from egress.upstream.pool import OriginPool
from tests.authz.fakes import REQUEST, FixedAuthorizer, ManualAuthorizer
from tests.certificates import TestCA, key_pem_of
from tests.files import make_directory
from tests.observability.browser import Browser
from tests.proxy.fakes import Wire, content_of, status_of
from tests.threads import ThreadlessReactor, at_once
from tests.transport.reactors import DialingReactor
from tests.transport.tls import TlsClient, rsa_key

# The address guard blocks loopback addresses, too, unless they are allowed.
LOCAL: dict[str, Any] = {"allow_address": (ip_network("127.0.0.0/8"),)}


def never() -> FixedAuthorizer:
    """An authorizer that denies everything."""
    return FixedAuthorizer(Decision(Verdict.DENY, "never", "fake"))


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
        self.reactor = ThreadlessReactor()
        self.ca_dir = Path(self.mktemp())

    def make(
        self, authorizer: IAuthorizer | None = None, audit: IAuditSink | None = None, **options: Any
    ) -> EgressProxyService:
        config = ProxyConfig(ca_dir=self.ca_dir, **options)
        return EgressProxyService(self.reactor, config, authorizer=authorizer, audit=audit)  # type: ignore[arg-type]

    def policy(self, text: str = 'default = "allow"\n') -> Path:
        """Write a policy."""
        path = Path(self.mktemp())
        path.write_text(f"version = 1\n{text}")
        return path

    def connect(self, address: str = "192.0.2.1") -> Wire:
        """Connect a client to the first listener."""
        peer = IPv4Address("TCP", address, 1234)
        return Wire(self.reactor, peer).connect(self.reactor.tcpServers[0][1].buildProtocol(peer))

    def refusal(self, host: str, port: int) -> str:
        """Send a request to an address.

        @return: why the proxy refuses it; empty if the proxy connects to the address.
        """
        before = len(self.reactor.tcpClients)
        client = self.connect()
        client.feed(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        if len(self.reactor.tcpClients) > before:
            self.assertEqual(self.reactor.tcpClients[-1][:2], (host, port))
            return ""
        response = client.take()
        self.assertEqual(status_of(response), 403)
        return content_of(response).decode()

    def leaf(self, context: SSL.Context) -> x509.Certificate:
        """Return the leaf certificate that a client gets in an intercepted tunnel."""
        client = self.connect()
        client.feed(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
        self.assertEqual(status_of(client.take()), 200)
        tls = TlsClient(client, "a.example", context=context)
        tls.shake()
        leaf = tls.connection.get_peer_certificate(as_cryptography=True)
        assert leaf is not None
        client.lose()
        return leaf


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
        self.assertEqual(self.make(never()).authorizer.name, "fake")
        for field, value in (("authz_url", "http://authz.test"), ("policy", Path("policy.toml"))):
            with self.subTest(field):
                error = self.assertRaises(ConfigError, self.make, never(), **{field: value})
                self.assertEqual((error.option, error.value), (field, str(value)))
                self.assertIn("remove this", error.remedy)

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
                self.make(never(), **given)
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
            ({"authorizer": never()}, CachingAuthorizer),
        ):
            with self.subTest(options):
                service = self.make(**options)
                told = b"egress_authorizer_requests_in_progress 0.0" in service.metrics.render()[0]
                self.assertEqual(told, kind is not FailClosedAuthorizer)
                told = b"egress_authorizer_cache_entries 0.0" in service.metrics.render()[0]
                self.assertEqual(told, kind is CachingAuthorizer)

    def test_retries_are_counted(self) -> None:
        service = self.make(authz_url="http://authz.test")
        self.assertIn(b"egress_authorizer_retries_total 0.0", service.metrics.render()[0])

    def test_limits_for_authorization_requests(self) -> None:
        silent = ManualAuthorizer()
        bounds: dict[str, Any] = {"authz_max_concurrency": 2, "authz_queue": 1, "authz_breaker_failures": 2}
        # Identical requests would share one authorization request.
        service = self.make(silent, authz_timeout=5, authz_cache=None, **bounds)
        asked = [service.authorizer.decide(REQUEST) for _ in range(4)]
        self.assertEqual(len(silent.asked), 2)
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
                service = self.make(ManualAuthorizer(), authz_timeout=5, mode=mode)
                asked = service.authorizer.decide(REQUEST)
                self.reactor.advance(renewal_timeout(ProxyConfig(authz_timeout=5)) - 0.1)
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
        service = self.make(never(), audit_log="/dev/full", **options)
        self.addCleanup(service.stopService)
        service.startService()
        # The record of a request that is no HTTP.
        self.assertEqual(status_of(self.connect().feed(b"garbage\r\n\r\n").take()), 400)
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
        note = self.successResultOf(service.checks["audit"]())
        self.assertIn("the audit log cannot be written: No space left", note)


class AuditStoreTests(ServiceTestCase):
    """The audit store, next to the audit log."""

    def test_records(self) -> None:
        """A record is written in the next batch, or when the service stops."""
        path = make_directory(self) / "audit.db"
        service = self.make(never(), audit_store=f"sqlite:{path}")
        service.startService()
        self.connect().feed(b"garbage\r\n\r\n")
        self.reactor.advance(0.3)
        reader = open_to_read(path)
        self.addCleanup(reader.close)
        self.assertEqual(reader.last_seq(), 1)
        self.connect().feed(b"garbage\r\n\r\n")
        service.stopService()
        self.reactor.advance(1)
        self.assertEqual(reader.last_seq(), 2)

    def test_failure(self) -> None:
        """While the store cannot be written, requests are denied if the operator requires audit records."""
        path = make_directory(self) / "audit.db"
        service = self.make(
            never(), audit_store=f"sqlite:{path}", audit_log=os.devnull, audit_failure=AuditFailure.DENY
        )
        self.addCleanup(service.stopService)
        service.startService()
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE last_seq")
        self.connect().feed(b"garbage\r\n\r\n")
        self.reactor.advance(0.3)
        self.failureResultOf(service.authorizer.decide(REQUEST), AuditUnavailable)
        error = self.failureResultOf(service.checks["audit"](), AuditUnavailable).value
        self.assertIn("no such table", error.reason)
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE last_seq AS SELECT 0 AS seq")
        self.reactor.advance(1)
        self.assertEqual(self.successResultOf(service.authorizer.decide(REQUEST)).reason, "never")
        self.assertEqual(service.metrics.registry.get_sample_value("egress_audit_lines_lost_total"), 0)


class ReloadTests(ServiceTestCase):
    """Files are reloaded as a whole, or not at all.

    @ivar replaced: the calls that replace the trusted certificates.
    @ivar cleared: the calls that close idle connections to origins.
    """

    def setUp(self) -> None:
        super().setUp()
        self.replaced = self.watch(ReloadableTrust, "replace")
        self.cleared = self.watch(OriginPool, "clear")

    def watch(self, owner: type, method: str) -> Any:
        """Record the calls of a method, without changing it."""
        calls, unchanged = mock.Mock(), getattr(owner, method)

        # Mock passes no object to a method of a native class.
        def recorded(*arguments: Any) -> Any:
            calls(*arguments)
            return unchanged(*arguments)

        patch = mock.patch.object(owner, method, recorded)
        self.addCleanup(patch.stop)
        patch.start()
        return calls

    def test_policy_and_trust(self) -> None:
        policy = self.policy()
        service = self.make(policy=policy)
        service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual(self.refusal("10.0.0.1", 80), "")
        policy.write_text(
            'version = 1\nprivate_addresses = "deny"\n[[rules]]\naction = "allow"\nhosts = ["10.0.0.1"]\n'
            '[[rules]]\naction = "deny"\nreason = "closed"\n'
        )
        self.successResultOf(service.reload())
        self.assertEqual(self.decide(service).reason, "closed")
        self.assertIn("private", self.refusal("10.0.0.1", 80))
        # The trust for origins, for the authorization service, for policies and for the receivers of notifications.
        self.assertEqual((self.replaced.call_count, self.cleared.call_count), (4, 1))

    def test_shadow(self) -> None:
        """The shadow policy is reloaded, too."""
        policy, shadow = Path(self.mktemp()), Path(self.mktemp())
        for path in (policy, shadow):
            path.write_text("version = 1\n")
        service = self.make(policy=policy, shadow_policy=shadow)
        shadow.write_text('version = 1\ndefault = "allow"\n')
        for result in ("same", "laxer"):
            self.decide(service)
            self.reactor.advance(0)
            labels = {"result": result}
            self.assertEqual(service.metrics.registry.get_sample_value("egress_shadow_decisions_total", labels), 1)
            self.successResultOf(service.reload())

    def test_observing(self) -> None:
        """In observe mode a denied request is allowed."""
        policy = Path(self.mktemp())
        policy.write_text("version = 1\n")
        service = self.make(policy=policy, mode=Mode.OBSERVE)
        self.assertEqual(self.decide(service).observed, "deny")

    def test_invalid_files_change_nothing(self) -> None:
        policy, extra = Path(self.mktemp()), Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        extra.write_bytes(TestCA().pem)
        service = self.make(policy=policy, extra_ca_certs=extra)
        policy.write_text('version = 1\n[[rules]]\naction = "deny"\nreason = "closed"\n')
        extra.write_text("garbage")
        self.assertEqual(self.failureResultOf(service.reload(), ConfigError).value.option, "--ssl-extra-ca-certs")
        self.assertTrue(self.decide(service).allowed)
        self.assertEqual((self.replaced.call_count, self.cleared.call_count), (0, 0))

    def test_the_policy_is_watched(self) -> None:
        """Only the policy is reloaded when it changes; idle connections to addresses that it blocks are closed."""
        policy = Path(self.mktemp())
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        service = self.make(policy=policy)
        service.startService()
        self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
        policy.write_text('version = 1\n[[rules]]\naction = "deny"\nreason = "closed"\n')
        self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
        self.assertEqual(self.decide(service).reason, "closed")
        self.cleared.assert_not_called()
        policy.write_text('version = 1\nprivate_addresses = "deny"\n[[rules]]\naction = "allow"\n')
        self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
        self.assertTrue(self.decide(service).allowed)
        self.assertIn("private", self.refusal("10.0.0.1", 80))
        self.assertEqual((self.replaced.call_count, self.cleared.call_count), (0, 1))
        self.assertIn(b"egress_policy_reloads_total 2.0", service.metrics.render()[0])
        service.stopService()
        policy.write_text("garbage")
        self.reactor.pump([POLICY_LOOK_EVERY, POLICY_LOOK_EVERY])
        self.assertIn(b"egress_policy_last_reload_successful 1.0", service.metrics.render()[0])

    def test_the_policy_is_not_watched_for_a_sandbox(self) -> None:
        """The command in the sandbox has the user of the proxy, and could change the policy."""
        policy = self.policy()
        config = ProxyConfig(ca_dir=self.ca_dir, policy=policy)
        role = Role([], serves_sandbox=True)
        service = EgressProxyService(self.reactor, config, role=role)  # type: ignore[arg-type]
        self.patch(service, "_listen", lambda: None)
        service.startService()
        policy.write_text('version = 1\n[[rules]]\naction = "deny"\nreason = "closed"\n')
        self.reactor.pump([POLICY_LOOK_EVERY] * 4)
        self.assertTrue(self.decide(service).allowed)
        service.stopService()

    def test_an_authorizer_of_the_application_stays(self) -> None:
        service = self.make(never())
        self.successResultOf(service.reload())
        self.assertEqual(self.decide(service).reason, "never")

    def decide(self, service: EgressProxyService) -> Decision:
        return self.successResultOf(service.authorizer.decide(REQUEST))


class DescriptorLimitTests(ServiceTestCase):
    """The connection limit fits the limit of open files."""

    def test_lowered_limit(self) -> None:
        with mock.patch("egress.inputs.soft_limit", return_value=8), capturedLogs() as events:
            service = self.make()
        self.assertEqual([(event["connections"], event["wanted"]) for event in events], [(3, 16384)])
        service.startService()
        for number in range(5):
            self.connect(f"192.0.2.{number}")
        found = service.metrics.registry.get_sample_value
        self.assertEqual(found("egress_client_connections"), 3)
        self.assertEqual(found("egress_client_connections_rejected_total"), 2)
        self.assertEqual(found("egress_http2_client_errors_total"), 0)

    def test_sufficient_limit(self) -> None:
        with mock.patch("egress.inputs.soft_limit", return_value=1048576), capturedLogs() as events:
            self.make()
        self.assertEqual(events, [])


class CaTests(ServiceTestCase):
    """The CA and its successor."""

    def test_rsa_key(self) -> None:
        """The key is made in a thread of the proxy, when a client needs it."""
        self.make().startService()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
        key = rsa_key()
        with mock.patch.object(rsa, "generate_private_key", return_value=key):
            leaf = self.leaf(context)
        self.assertEqual(leaf.public_key(), key.public_key())

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
        self.leaf(SSL.Context(SSL.TLS_CLIENT_METHOD)).verify_directly_issued_by(second.certificate)
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
        directory = make_directory(self)
        certificate, key = directory / "ca.pem", directory / "key.pem"
        certificate.write_bytes(middle.pem)
        key.write_bytes(key_pem_of(middle.key))
        key.chmod(0o600)
        service = self.make(ca_cert=certificate, ca_key=key)
        self.assertEqual(service.certificate_authority.certificate, middle.certificate)
        self.assertFalse(self.ca_dir.exists())
        key.chmod(0o644)
        error = self.assertRaises(ConfigError, self.make, ca_cert=certificate, ca_key=key)
        self.assertEqual(error.option, "--ca-key")
        self.assertIn("chmod 600", str(error))
        key.chmod(0o600)
        key.write_bytes(key_pem_of(TestCA("Other").key))
        self.assertEqual(self.assertRaises(ConfigError, self.make, ca_cert=certificate, ca_key=key).option, "--ca-key")
        certificate.write_bytes(b"junk")
        self.assertEqual(self.assertRaises(ConfigError, self.make, ca_cert=certificate, ca_key=key).option, "--ca-cert")
        self.assertRaises(ConfigError, self.make, ca_cert=certificate)

    def test_other_replicas(self) -> None:
        """With shared state, the root of the CA is compared."""
        self.assertNotIn("shared-ca", self.make().checks)
        service = self.make(shared=SharedSettings(location=SharedLocation.parse("unix:/run/r"), key=bytes(32)))
        self.assertIsNone(self.successResultOf(service.checks["shared-ca"]()))
        self.assertEqual(service.metrics.registry.get_sample_value("egress_shared_ca_mismatches"), 0)

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


class _SilentResolver:
    """A resolver that never resolves a name."""

    def resolveHostName(self, receiver: object, *arguments: object, **options: object) -> object:
        return receiver


class AuthorizationServiceRouteTests(ServiceTestCase):
    """Connections to the authorization service are direct, unless configured otherwise."""

    def connected(self, **options: Any) -> Sequence[str]:
        """Connect to the authorization service.

        @return: the hosts that are looked up.
        """
        self.reactor.nameResolver = names = DialingReactor()
        service = self.make(authz_url="http://authz.test", **options)
        service.checks["authorizer"]().addErrback(lambda _: None)
        return names.looked_up

    def test_through_the_upstream_proxy_when_configured(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        for name in ("upstream_https", "upstream_http"):
            with self.subTest(name):
                self.assertEqual(self.connected(authz_via_upstream=True, **{name: upstream}), ["proxy.test"])
                self.assertEqual(self.connected(**{name: upstream}), ["authz.test"])

    def test_directly_with_no_proxy(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        bypass = Bypass.parse("authz.test")
        looked_up = self.connected(authz_via_upstream=True, upstream_https=upstream, bypass=bypass)
        self.assertEqual(looked_up, ["authz.test"])


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
        service = self.make(admin="tcp:9099", admin_token="hunter2", metrics_port=9090, policy=self.policy(), **LOCAL)
        service.startService()
        self.assertEqual(len(self.successResultOf(service.listening())), 1)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080, 9090, 9099])
        self.assertIn("proxy itself", self.refusal("127.0.0.1", 9099))
        browser = Browser(self.reactor.tcpServers[2][1])
        browser.ask("/approvals", extra="Authorization: Bearer hunter2\r\n")
        self.assertEqual(browser.answer()[2], b'{"pending": [], "grants": []}\n')

    def test_the_admin_api_of_a_parent(self) -> None:
        """A worker does not serve it, and blocks requests to it."""
        endpoint = TCP4ServerEndpoint(self.reactor, 8080)
        config = ProxyConfig(ca_dir=self.ca_dir, admin="tcp:9099", admin_token="hunter2", policy=self.policy(), **LOCAL)
        service = EgressProxyService(self.reactor, config, role=Role([endpoint]))  # type: ignore[arg-type]
        service.startService()
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080])
        self.assertIn("proxy itself", self.refusal("127.0.0.1", 9099))

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
        config = ProxyConfig(ca_dir=self.ca_dir, metrics_port=9090, policy=self.policy(), **LOCAL)
        service = EgressProxyService(self.reactor, config, role=Role([endpoint]))  # type: ignore[arg-type]
        service.startService()
        # The parent binds the ports, and serves the metrics.
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8082])
        for port, refused in ((8082, True), (9090, True), (8080, False)):
            with self.subTest(port=port):
                self.assertEqual("proxy itself" in self.refusal("127.0.0.1", port), refused)

    def test_requests_to_own_ports_are_blocked(self) -> None:
        service = self.make(metrics_port=9090, policy=self.policy(), **LOCAL)
        service.startService()
        for port, refused in ((8080, True), (9090, True), (8081, False)):
            with self.subTest(port=port):
                self.assertEqual("proxy itself" in self.refusal("127.0.0.1", port), refused)


class StoppingTests(ServiceTestCase):
    """Stopping drains, then aborts."""

    def setUp(self) -> None:
        super().setUp()
        self.ports: list[int] = []
        self.closed: list[int] = []
        listen = self.reactor.listenTCP

        def listen_tcp(port: int, *arguments: Any, **options: Any) -> Any:
            opened: Any = listen(port, *arguments, **options)
            self.ports.append(port)
            opened.stopListening = lambda: self.closed.append(port)
            return opened

        self.patch(self.reactor, "listenTCP", listen_tcp)

    def begin(self, service: EgressProxyService) -> tuple[Any, _Transport]:
        service.startService()
        factory = self.reactor.tcpServers[0][1]
        self.assertIsInstance(factory, ProxyFactory)
        session: Any = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1234))
        transport = _Transport()
        session.makeConnection(transport)
        return session, transport

    def test_an_idle_connection_is_closed_and_then_everything_else(self) -> None:
        authorizer, sink = never(), _Sink()
        service = self.make(authorizer, sink)
        session, transport = self.begin(service)
        stopped = service.stopService()
        self.reactor.advance(FIRST_REQUEST_SECONDS)
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(stopped)
        session.connectionLost()
        self.successResultOf(stopped)
        self.assertTrue(authorizer.closed)
        self.assertTrue(sink.closed)

    def test_metrics_and_health_while_draining(self) -> None:
        service = self.make(never(), metrics_port=9090)
        session, _ = self.begin(service)
        self.successResultOf(service.checks["running"]())
        (site,) = [factory for port, factory, *_ in self.reactor.tcpServers if port == 9090]
        stopped = service.stopService()
        self.assertEqual(self.open_ports(), [9090])
        browser = Browser(site)
        browser.ask("/health/ready")
        self.assertEqual(browser.answer()[0], 503)
        browser.ask("/metrics")
        self.assertIn(b"egress_client_connections 1.0", browser.answer()[2])
        session.connectionLost()
        self.successResultOf(stopped)
        self.assertEqual(self.open_ports(), [])

    def open_ports(self) -> list[int]:
        """Return the ports that are not closed yet."""
        return [port for port in self.ports if port not in self.closed]

    def test_connections_that_do_not_drain_are_aborted(self) -> None:
        service = self.make(never(), limits=Limits(drain_timeout=7))
        session, transport = self.begin(service)
        stopped = service.stopService()
        self.reactor.advance(6)
        self.assertFalse(transport.aborted)
        self.reactor.advance(1)
        self.assertTrue(transport.aborted)
        self.assertNoResult(stopped)
        session.connectionLost()
        self.successResultOf(stopped)

    def test_stopping_does_not_wait_for_aborted_connections(self) -> None:
        service = self.make(never())
        session, transport = self.begin(service)
        stopped = service.stopService()
        service.abort()
        self.assertTrue(transport.aborted)
        session.connectionLost()
        self.successResultOf(stopped)

    def test_stopping_does_not_wait_for_a_connection_that_does_not_close(self) -> None:
        service = self.make(never(), limits=Limits(drain_timeout=7))
        session, _ = self.begin(service)
        stopped = service.stopService()
        self.reactor.advance(7)
        self.reactor.advance(1)
        self.successResultOf(stopped)
        session.connectionLost()

    def test_the_last_record_is_written_before_the_log_is_closed(self) -> None:
        sink = _Sink()
        service = self.make(never(), sink)
        session, _ = self.begin(service)
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
        service = self.make(never(), sink)
        self.request(service)
        self.assertEqual([record.outcome for record in sink.records], ["bad-request"])
        self.assertIn(b'outcome="bad-request"', service.metrics.render()[0])

    def test_a_sink_that_raises_does_not_affect_the_client(self) -> None:
        service = self.make(never(), _Sink(RuntimeError("full")))
        transport = self.request(service)
        self.assertIn(b"HTTP/1.1 400", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_readiness_checks_the_ca_and_the_authorizer(self) -> None:
        service = self.make(never())
        self.successResultOf(service.checks["ca"]())
        self.successResultOf(service.authorizer.check_ready())

    def test_an_expired_ca_is_not_ready(self) -> None:
        service = self.make(never())
        past = service.certificate_authority.not_after.replace(year=2000)
        self.patch(service.certificate_authority, "not_after", past)
        failure = self.failureResultOf(service.checks["ca"](), NotReady)
        self.assertEqual(str(failure.value), f"the CA certificate expired on {past:%Y-%m-%d}")
