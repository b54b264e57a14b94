"""The parts of a proxy, each made from its inputs; L{egress.service} connects them."""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed

from egress.admin.grant_setup import approval_key
from egress.admin.revocations import LocalRevocations
from egress.admin.shared_revocations import SharedRevocations
from egress.authz.approvals import Approvals
from egress.authz.remote.issuer_client import IssuerClient
from egress.client_auth.key_source import FETCH_SECONDS, FetchKeys
from egress.config.model import ProxyConfig
from egress.model.authority import Authority
from egress.model.jwt_issuer import JwtIssuer
from egress.model.log_format import LoggedRequests
from egress.model.no_proxy import HostPattern
from egress.model.trace import Otel
from egress.observability.client_pages import ClientPages
from egress.observability.health import Check, NotReady
from egress.observability.request_log import RequestLog
from egress.proxy.context import AuthzContext, OriginContext, ProxyContext, TunnelContext, head_limits
from egress.proxy.listeners import FetchKeysOf
from egress.proxy.tls_intercept import TlsIntercept
from egress.runtime.role import Role
from egress.store.batches import StoreBatches
from egress.store.process_writer import ProcessWriter
from egress.store.sink import StoreAudit
from egress.store.writer import BatchWriter, ThreadWriter
from egress.store.writer_ipc import WriterSpec, retention_of
from egress.tls.ca_source import ca_source
from egress.tls.host_contexts import HostContexts
from egress.tls.issuer import CertificateAuthority, pem_of
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.tracing.settings import Settings, read_settings
from egress.tracing.telemetry import Telemetry, configured_exporter
from egress.transport.fair_turns import RoundRobin
from egress.transport.reactor import IEgressReactor
from egress.transport.tcp_reactor import write_through
from egress.upstream.address_guard import AddressGuard, is_local_address
from egress.upstream.connector import Dialer
from egress.upstream.origins import Origins
from egress.upstream.pool import OriginPool
from egress.upstream.proxy_endpoint import UpstreamEndpoint
from egress.upstream.resolved_endpoint import ResolvedEndpoint
from egress.upstream.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import CollectorRegistry
    from twisted.internet.interfaces import IAddress, IStreamClientEndpoint

    from egress.authz.chain import AuthorizerChain
    from egress.authz.policy_watch import PolicyWatch
    from egress.authz.remote.client import CreateEndpoint
    from egress.console.endpoint import AdminEndpointSite
    from egress.interfaces import IAuthorizer, IBudgets, ILeafSource, IRevocations
    from egress.model.record import ExchangeRecord
    from egress.model.recorded_headers import AuditHeaders
    from egress.observability.audit_log import JsonLinesAudit
    from egress.observability.health import Routes
    from egress.observability.metrics import Metrics
    from egress.policy.rules import RuleSet
    from egress.runtime.threads import Offload
    from egress.store.interfaces import IAuditStore
    from egress.tracing.tracer import Tracer

# Extra seconds beyond the authorizer's own longest deadline when a lease is renewed: the authorizer's deadline passes
# first, and its wrappers turn that into the configured outcome.
RENEWAL_MARGIN = 1.0


def request_log(reactor: IEgressReactor, config: ProxyConfig, role: Role) -> RequestLog | None:
    """Return the sink that writes lines about requests to the log, if there is one."""
    if role.is_dry_run or config.log_requests in (None, LoggedRequests.NONE):
        return None
    return RequestLog(reactor, every=config.log_requests is LoggedRequests.ALL)


def address_guard(config: ProxyConfig, rules: RuleSet | None) -> AddressGuard:
    """Return the guard for the addresses of the configuration.

    @param config: the configuration.
    @param rules: the embedded policy, which may block private addresses.
    """
    return AddressGuard(
        config.allow_address,
        is_local=is_local_address,
        block_private=rules is not None and rules.blocks_private,
        deny=config.deny_address,
        ports=config.allow_ports,
    )


def dialer(
    sockets: IEgressReactor,
    config: ProxyConfig,
    *,
    guard: AddressGuard,
    trust: ReloadableTrust,
    resolver: Resolver,
) -> Dialer:
    """Return the connector to origins and upstream proxies."""
    return Dialer(
        sockets,
        config.limits,
        guard,
        trust.connection_creator,
        upstream_http=config.upstream_http,
        upstream_https=config.upstream_https,
        bypass=config.bypass,
        resolver=resolver,
    )


def upstream_endpoints(
    reactor: IEgressReactor, config: ProxyConfig, trust: ReloadableTrust, resolver: Resolver
) -> CreateEndpoint:
    """Return the endpoints through the upstream proxy, for a process that serves no client."""
    guard = address_guard(config, None)
    return partial(
        UpstreamEndpoint, dialer(write_through(reactor), config, guard=guard, trust=trust, resolver=resolver)
    )


def store_audit(
    reactor: IEgressReactor, config: ProxyConfig, store: IAuditStore | None, in_thread: Offload, role: Role
) -> StoreAudit | None:
    """Return the sink that writes to the audit store, if there is one."""
    if store is None:
        return None
    batches = StoreBatches(
        store,
        seconds=reactor.seconds,
        now=time.time,
        retention=retention_of(config),
        rolls_up=config.admin is not None,
    )
    writer: BatchWriter = ThreadWriter(in_thread, batches)
    if role.has_writer:
        writer = ProcessWriter(reactor, WriterSpec.of(config, role.worker), writer)
    # A worker that replaces another one must not make the others not ready.
    return StoreAudit(reactor, writer, is_awaited=not role.is_replacement)


def key_fetcher(reactor: IEgressReactor, resolver: Resolver) -> FetchKeysOf:
    """Return the function that returns the download of the keys of an issuer of tokens."""

    def connect(authority: Authority) -> IStreamClientEndpoint:
        return ResolvedEndpoint(reactor, resolver, authority, FETCH_SECONDS)

    def fetch_of(issuer: JwtIssuer, trust: OriginTrust) -> FetchKeys:
        return IssuerClient(reactor, issuer, ReloadableTrust(trust), connect).fetch

    return fetch_of


def ca_check(authority: Callable[[], CertificateAuthority]) -> Check:
    """Return the readiness check of the CA."""

    def check() -> Deferred[None]:
        end = authority().not_after
        if datetime.now(timezone.utc) >= end:
            return fail(NotReady(f"the CA certificate expired on {end:%Y-%m-%d}"))
        return succeed(None)

    return check


def approvals(
    reactor: IEgressReactor,
    config: ProxyConfig,
    role: Role,
    changed: Callable[[str, Mapping[str, Any] | None], object],
) -> Approvals:
    """Return the pending approvals and the grants.

    @param changed: is called when an approval becomes pending, or ends.
    """
    return Approvals(
        reactor,
        time.time,
        timeout=config.approval_timeout,
        limit=config.approval_queue,
        is_open=config.admin is not None,
        key=approval_key(config, role),
        changed=changed,
    )


def host_contexts(config: ProxyConfig, authority: CertificateAuthority, in_thread: Offload) -> HostContexts:
    """Return the contexts of intercepted hosts."""
    return HostContexts(
        authority,
        config.limits.leaf_contexts,
        time.time,
        in_thread,
        accepted=config.client_tls,
        http2=config.http2,
    )


def renewal_timeout(config: ProxyConfig) -> float:
    """Return the seconds after which the renewal of a lease fails."""
    return 2 * config.authz_timeout + RENEWAL_MARGIN


def set_metric_sources(
    metrics: Metrics, context: ProxyContext, watch: PolicyWatch | None, resolver: Resolver, contexts: HostContexts
) -> None:
    """Set the sources of the metrics about connections, the policy and the resources of a proxy.

    @param metrics: the metrics.
    @param context: the collaborators of all sessions.
    @param watch: the watch of the policy, if a policy decides.
    @param resolver: the resolver.
    @param contexts: the contexts of intercepted hosts.
    """
    if watch is not None:
        metrics.set_policy_source(lambda: watch.state, lambda: watch.policy)
    metrics.set_connections_source(lambda: context.sessions.clients)
    metrics.set_rejected_source(lambda: context.sessions.rejected)
    metrics.set_http2_faults_source(lambda: context.sessions.http2_faults)
    metrics.set_lookups_source(lambda: resolver.busy, lambda: resolver.waiting)
    metrics.set_body_memory_source(lambda: context.contents.held, lambda: context.contents.waiting)
    metrics.set_messages_source(context.authz.message_counts)
    metrics.set_host_contexts_source(lambda: len(contexts))


def set_audit_sources(metrics: Metrics, audits: Sequence[JsonLinesAudit | StoreAudit]) -> None:
    """Set the sources of the metrics about the audit log and the audit store.

    @param metrics: the metrics.
    @param audits: the sinks that exist.
    """
    if audits:
        metrics.set_audit_lost_source(lambda: sum(each.lost for each in audits))
    store = next((each for each in audits if isinstance(each, StoreAudit)), None)
    if store is not None:
        metrics.set_store_queue_source(lambda: store.waiting)
        metrics.set_spool_source(store.spool_stats)


def telemetry(
    reactor: IEgressReactor,
    config: ProxyConfig,
    role: Role,
    metrics: Metrics,
    *,
    environ: Mapping[str, str] | None = None,
) -> Telemetry:
    """Return the export of OpenTelemetry data, as the environment describes it.

    @param reactor: the reactor.
    @param config: the configuration.
    @param role: whether this process is the whole proxy, a worker or a dry run, which exports nothing.
    @param metrics: the metrics, which are exported, and which count the failures of the export.
    @param environ: the environment; C{None}: the environment of this process.
    """
    exports = config.otel is Otel.AUTO and not role.is_dry_run
    settings = _otel_settings(environ) if exports else Settings()
    exporter = configured_exporter(settings)
    made = Telemetry(
        reactor,
        settings,
        exporter,
        registry=metrics.registry,
        remote=config.authz_url is not None,
        propagates=config.trace_propagate,
    )
    if exporter is not None:
        metrics.set_telemetry_source(made.dropped)
    return made


def supervisor_telemetry(
    reactor: IEgressReactor,
    config: ProxyConfig,
    registry: CollectorRegistry,
    environ: Mapping[str, str] | None = None,
) -> Telemetry:
    """Return the export of the metrics of a supervisor: each worker exports its own data.

    @param registry: the metrics.
    @param environ: the environment; C{None}: the environment of this process.
    """
    settings = _otel_settings(environ) if config.otel is Otel.AUTO else Settings()
    settings = Settings(metrics_interval=settings.metrics_interval, delta=settings.delta)
    exporter = configured_exporter(settings)
    return Telemetry(reactor, settings, exporter, registry=registry, remote=False, propagates=False)


def _otel_settings(environ: Mapping[str, str] | None) -> Settings:
    return read_settings(os.environ if environ is None else environ)[0]


def proxy_context(
    reactor: IEgressReactor,
    config: ProxyConfig,
    *,
    authorizer: IAuthorizer,
    dialer: Dialer,
    host_contexts: ILeafSource,
    report: Callable[[ExchangeRecord], None],
    headers: AuditHeaders,
    tracer: Tracer | None,
    budgets: IBudgets | None = None,
) -> ProxyContext:
    """Return the collaborators that all sessions share.

    @param reactor: the reactor.
    @param config: the configuration.
    @param authorizer: the outermost authorizer.
    @param dialer: the connector.
    @param host_contexts: the source of certificates.
    @param report: is called with the record of each exchange.
    @param headers: the requests whose header fields the records contain.
    @param tracer: begins the traces of exchanges, if there are traces.
    @param budgets: counts allowed requests against the budgets of their decisions.
    """
    turns = RoundRobin(reactor)
    pool = OriginPool(reactor, config.limits)
    return ProxyContext(
        clock=reactor,
        limits=config.limits,
        turns=turns,
        authz=AuthzContext(
            reactor,
            authorizer,
            report,
            budgets=budgets,
            renewal_timeout=renewal_timeout(config),
            headers=headers,
            tracer=tracer,
        ),
        origins=OriginContext(
            dialer=dialer,
            pool=pool,
            streams=Origins(
                dialer,
                head_limits(config.limits),
                reactor,
                turns,
                pool=pool,
                patience=config.limits.connect_timeout,
            ),
            resolve=config.resolve,
        ),
        tunnels=TunnelContext(
            interception=TlsIntercept(host_contexts, turns),
            passthrough=tuple(HostPattern.parse(text, suffix=False) for text in config.passthrough),
            opaque_ports=config.opaque_ports,
            http2=config.http2,
        ),
        upgrade_protocols=frozenset(config.upgrade_protocols),
        oversize_body=config.over_body_limit,
    )


def revocations(
    metrics: Metrics, chain: AuthorizerChain, approvals: Approvals, context: ProxyContext, role: Role
) -> IRevocations:
    """Make the part that applies revocations to this process, and to other replicas with the same shared state."""
    applied = LocalRevocations(chain, approvals, context)
    metrics.set_revocations_source(applied.counts)
    return applied if chain.shared is None else SharedRevocations(applied, chain.shared, is_worker=role.is_worker)


def client_pages(config: ProxyConfig, listening: Callable[[], Deferred[tuple[IAddress, ...]]]) -> Routes:
    """Return the pages that configure clients.

    @param config: the configuration.
    @param listening: returns the addresses of the listeners, once they are bound.
    """

    def ca_pem() -> bytes:
        return pem_of(*ca_source(config).certificates().trusted(datetime.now(timezone.utc)))

    return ClientPages(config.listen, listening, ca_pem).routes()


def admin_site(*arguments: Any, **sources: Any) -> AdminEndpointSite:
    """Make the site of the admin API with the console; see L{AdminEndpointSite}."""
    # A proxy without the site does not load what renders its pages.
    from egress.console.endpoint import AdminEndpointSite  # noqa: PLC0415 - see above

    return AdminEndpointSite(*arguments, **sources)
