"""Tests for L{egress.parts}; L{tests.test_service} has those of the composed proxy."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress import parts
from egress.config.model import Limits, Mode, OversizeBody, ProxyConfig
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.jwt_issuer import JwtIssuer
from egress.model.log_format import LoggedRequests
from egress.model.no_proxy import Bypass
from egress.model.recorded_headers import AuditHeaders
from egress.model.route import Purpose
from egress.observability.audit_log import JsonLinesAudit
from egress.observability.metrics import Metrics
from egress.policy.parse.load import parse_policy
from egress.proxy.context import ProxyContext
from egress.runtime.role import DRY_RUN, PROGRAM, WHOLE, Role
from egress.store.writer import BatchWriter
from egress.store.writer_ipc import WriterSpec
from egress.testing.origin import MemoryOrigin, OriginResponse
from egress.testing.origin_ca import OriginCa
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.tracing.telemetry import Telemetry
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from tests.files import make_directory
from tests.observability.records import ALLOWED
from tests.store.test_sink import MemoryStore
from tests.threads import immediately


class KeyFetcherTests(SynchronousTestCase):
    """L{parts.key_fetcher}."""

    def test_download(self) -> None:
        """With the resolver and over TCP of the proxy, with the trust of the issuer."""
        reactor: Any = MemoryReactor(FixedResolver({"issuer.test": ["11.0.0.1"]}))
        ca = OriginCa()
        origin = MemoryOrigin(lambda request: OriginResponse(request.target.encode("ascii")))
        context = ca.context(Authority("issuer.test", 443))
        reactor.listen("11.0.0.1", 443, lambda transport: origin.accept(transport, context))
        fetch_of = parts.key_fetcher(reactor, Resolver(reactor, ReactorLookups(reactor), Limits()))
        trust = OriginTrust(ca.write(make_directory(self) / "ca.pem"))
        found = fetch_of(JwtIssuer("x", jwks="https://issuer.test/keys"), trust)()
        reactor.pass_time(0.5)
        self.assertEqual(self.successResultOf(found), b"/keys")


class ContextTests(SynchronousTestCase):
    """L{parts.proxy_context}."""

    def context(self, **options: Any) -> ProxyContext:
        nothing: Any = None
        reactor: Any = Clock()
        return parts.proxy_context(
            *(reactor, ProxyConfig(**options)),
            authorizer=nothing,
            dialer=nothing,
            host_contexts=nothing,
            report=nothing,
            headers=AuditHeaders.ALL,
            tracer=None,
        )

    def test_oversize_content(self) -> None:
        """In observe mode, content over the limit is truncated instead of rejected."""
        for mode, expected in ((Mode.ENFORCE, OversizeBody.REFUSE), (Mode.OBSERVE, OversizeBody.TRUNCATE)):
            self.assertIs(self.context(mode=mode).oversize_body, expected)

    def test_renewal_timeout(self) -> None:
        """It is longer than the longest deadline of an authorizer."""
        self.assertEqual(self.context(authz_timeout=5).authz.renewal_timeout, 10 + parts.RENEWAL_MARGIN)

    def test_recorded_headers(self) -> None:
        """Whether there is a record to contain them is the decision of the caller."""
        self.assertIs(self.context().authz.headers, AuditHeaders.ALL)


class PartsTests(SynchronousTestCase):
    """Each part uses the options that are about it."""

    def test_request_log(self) -> None:
        """There is one in each process that serves clients, if the configuration selects it."""
        reactor: Any = Clock()
        for requests, role, exists in (
            (None, WHOLE, False),
            (LoggedRequests.NONE, WHOLE, False),
            (LoggedRequests.DENIED, WHOLE, True),
            (LoggedRequests.ALL, Role([]), True),
            (LoggedRequests.ALL, DRY_RUN, False),
        ):
            with self.subTest(requests, role=role):
                found = parts.request_log(reactor, ProxyConfig(log_requests=requests), role)
                self.assertEqual(found is not None, exists)

    def test_address_guard(self) -> None:
        """It has the ranges and ports of the configuration, and the setting of the policy."""
        config = ProxyConfig(deny_address=(ip_network("192.0.2.0/24"),), allow_ports=(range(443, 444),))
        guard = parts.address_guard(config, None)
        self.assertIn("--deny-address", guard.refusal(ip_address("192.0.2.1"), 443) or "")
        self.assertIn("--allow-ports", guard.port_refusal(80) or "")
        self.assertFalse(guard.block_private)
        strict = parse_policy('version = 1\nprivate_addresses = "deny"\n', "p.toml", "p")
        self.assertTrue(parts.address_guard(ProxyConfig(), strict).block_private)

    def test_dialer(self) -> None:
        """It has the upstream proxies and their exceptions."""
        http, https = (UpstreamProxy("http", Authority(f"{name}.test", 3128)) for name in ("http", "https"))
        config = ProxyConfig(upstream_http=http, upstream_https=https, bypass=Bypass.parse("direct.test"))
        anything: Any = MemoryReactorClock()
        dialer = parts.dialer(
            anything,
            config,
            guard=parts.address_guard(config, None),
            trust=ReloadableTrust(OriginTrust()),
            resolver=anything,
        )
        for scheme, host, expected in (("http", "a", http), ("https", "a", https), ("http", "direct", None)):
            with self.subTest(scheme, host=host):
                origin = Origin(scheme, Authority(f"{host}.test", 80))
                self.assertEqual(dialer.upstream_for(origin, Purpose.REQUEST), expected)

    def test_context(self) -> None:
        """It has the options about exchanges."""
        anything: Any = MemoryReactorClock()
        config = ProxyConfig(
            passthrough=("*.bank.test",), upgrade_protocols=("a/1",), mode=Mode.OBSERVE, authz_timeout=3
        )
        context = parts.proxy_context(
            anything,
            config,
            authorizer=anything,
            dialer=anything,
            host_contexts=anything,
            report=anything,
            headers=AuditHeaders.NONE,
            tracer=None,
        )
        self.assertTrue(context.tunnels.is_passthrough(Authority("a.bank.test", 443)))
        self.assertEqual(context.upgrade_protocols, {"a/1"})
        self.assertIs(context.oversize_body, OversizeBody.TRUNCATE)
        self.assertEqual(context.authz.renewal_timeout, 7)

    def test_upstream_endpoints(self) -> None:
        """A process that serves no client can connect through the upstream proxy, which resolves the name."""
        reactor = MemoryReactor(FixedResolver({"proxy.test": ["192.0.2.9"]}))
        proxy = MemoryOrigin()
        reactor.listen("192.0.2.9", 3128, proxy.accept)
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        anything: Any = reactor
        trust = ReloadableTrust(OriginTrust())
        resolver = Resolver(anything, ReactorLookups(anything), Limits())
        endpoints = parts.upstream_endpoints(anything, ProxyConfig(upstream_https=upstream), trust, resolver)
        connecting = endpoints(upstream, Authority("hooks.test", 443)).connect(Factory.forProtocol(Protocol))
        reactor.settle()
        self.successResultOf(connecting)
        self.assertEqual([(each.method, each.target) for each in proxy.requests], [("CONNECT", "hooks.test:443")])


class AuditSourceTests(SynchronousTestCase):
    """L{parts.set_audit_sources}."""

    def test_lost(self) -> None:
        metrics, log = Metrics(), JsonLinesAudit(lambda line: None)
        parts.set_audit_sources(metrics, [log])
        log.lose(OSError("incomplete"))
        self.assertIn(b"egress_audit_lines_lost_total 1.0", metrics.render()[0])

    def test_nothing(self) -> None:
        metrics = Metrics()
        parts.set_audit_sources(metrics, [])
        self.assertNotIn(b"egress_audit_store_queued", metrics.render()[0])


class StoreTests(SynchronousTestCase):
    """L{parts.store_audit}."""

    def test_writer(self) -> None:
        """A program has a process that writes, for the number of its worker; an application has none."""
        config = ProxyConfig(audit_store="sqlite:/a.db")
        started: list[WriterSpec] = []
        reactor: Any = MemoryReactorClock()

        def process_writer(reactor: object, spec: WriterSpec, local: BatchWriter) -> BatchWriter:
            started.append(spec)
            return local

        self.patch(parts, "ProcessWriter", process_writer)
        for role in (WHOLE, PROGRAM, Role((), worker=3, has_writer=True)):
            store = MemoryStore()
            sink = parts.store_audit(reactor, config, store, immediately, role)
            assert sink is not None
            sink.write(ALLOWED)
            reactor.advance(0.25)
            self.assertEqual(store.stored, [ALLOWED.request_id])
        self.assertEqual([spec.worker for spec in started], [0, 3])
        self.assertIsNone(parts.store_audit(reactor, config, None, immediately, PROGRAM))


class TelemetryTests(SynchronousTestCase):
    """L{parts.telemetry}."""

    ENDPOINT = MappingProxyType({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRICS_EXPORTER": "none"})

    def made(self, environ: Mapping[str, str], role: Role = WHOLE, **options: Any) -> Telemetry:
        self.metrics = Metrics()
        reactor: Any = Clock()
        return parts.telemetry(reactor, ProxyConfig(**options), role, self.metrics, environ=environ)

    def test_exported(self) -> None:
        made = self.made(self.ENDPOINT, trace_propagate=True)
        assert made.tracer is not None
        self.assertNotEqual(made.tracer.begin(()).begin_attempt(), ())
        self.assertIn(b'egress_telemetry_dropped_total{signal="traces"} 0.0', self.metrics.render()[0])

    def test_not_exported(self) -> None:
        cases: tuple[tuple[Mapping[str, str], Role, dict[str, Any]], ...] = (
            ({}, WHOLE, {}),
            (self.ENDPOINT, WHOLE, {"otel": "off"}),
            (self.ENDPOINT, DRY_RUN, {}),
        )
        for environ, role, options in cases:
            made = self.made(environ, role, **options)
            self.assertEqual((made.tracer, made.sink), (None, None))
            self.assertNotIn(b"egress_telemetry", self.metrics.render()[0])

    def test_supervisor(self) -> None:
        """A supervisor exports only metrics: each worker exports its exchanges."""
        clock: Any = Clock()
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_LOGS_EXPORTER": "otlp"}
        for options, signals in (({}, ["metrics"]), ({"otel": "off"}, [])):
            made = parts.supervisor_telemetry(clock, ProxyConfig(**options), CollectorRegistry(), environ)  # type: ignore[arg-type]
            self.assertEqual((made.tracer, made.sink, list(made.dropped())), (None, None, signals))
