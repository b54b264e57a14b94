"""The proxy as a Twisted service: the composition root."""

from __future__ import annotations

import time
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.logger import Logger

from egress import parts
from egress.admin.backend import LocalAdminBackend
from egress.admin.changes import ChangeLog
from egress.admin.explain import Explainer
from egress.admin.grant_setup import grants_of
from egress.admin.policies import LocalPolicies
from egress.authz.chain import build_authorizer_chain
from egress.authz.chain_dependencies import ChainDependencies
from egress.authz.distribution.setup import ServerRoute
from egress.authz.policy_watch import PolicyWatch
from egress.client_auth.authenticator import AT_ONCE
from egress.config.model import ProxyConfig
from egress.inputs import load_inputs
from egress.interfaces import IAuditSink, IAuthorizer, IPlaceholderNames
from egress.model.recorded_headers import AuditHeaders
from egress.notify.setup import NotifyDependencies, notices_of
from egress.notify.webhook import WebhookRoute
from egress.observability.audit_sinks import AuditSinks
from egress.observability.health import STOPPING, Check, NotReady, Readiness, ops_site
from egress.observability.metrics import Metrics
from egress.proxy.listeners import key_downloads, listener_factories
from egress.resources import (
    POLICY,
    SHADOW_POLICY,
    LoadedResources,
    PoliciesInUse,
    Trusts,
    load_resources,
    policy_distribution,
    read_policy,
    read_shadow,
)
from egress.runtime.ports import PortBinder, admin_endpoint, described, metrics_endpoint, settled
from egress.runtime.reload import Reloader
from egress.runtime.role import WHOLE, Role
from egress.runtime.threads import Pools
from egress.store.policy_recorder import PolicyRecorder
from egress.tls.ca_watch import CaWatch
from egress.tls.issuer import CertificateAuthority
from egress.transport.reactor import IEgressReactor
from egress.transport.tcp_reactor import write_through
from egress.upstream.proxy_endpoint import UpstreamEndpoint
from egress.upstream.resolver import resolver_for

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint

    from egress.authz.secrets.table import SecretTable
    from egress.console.endpoint import AdminEndpointSite
    from egress.policy.rules import RuleSet

_log = Logger()

# How long a stopping proxy waits for connections that it has aborted, in seconds.
ABORT_SECONDS = 1.0


class EgressProxyService(Service):
    """An egress proxy, as a service of a Twisted application.

    The constructor detects every error in the files that the configuration names.  Starting the service listens.
    Stopping it stops listening, lets exchanges finish for at most C{config.limits.drain_timeout}, then aborts the
    rest.

    @ivar authorizer: the outermost authorizer of the chain.
    @ivar metrics: the metrics behind C{/metrics}.
    @ivar checks: the readiness checks, by name.
    @ivar explain: explains what the proxy would do with a request, without sending it.
    @ivar revocations: applies revocations to this process.
    @ivar admin_backend: the backend of the admin API.
    @ivar policies: the embedded policy that is in use, for the admin API.
    @ivar notices: reports what happens to the receivers of notifications.
    @ivar store_fault: the reason why the default audit store is not used, with the fix; C{None}: there is no fault.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        config: ProxyConfig,
        authorizer: IAuthorizer | None = None,
        audit: IAuditSink | None = None,
        *,
        role: Role = WHOLE,
        names: IPlaceholderNames | None = None,
    ) -> None:
        """Compose a proxy; it listens once it is started.

        @param reactor: provides TCP, time and name resolution; with C{config.dns_servers} also UDP.
        @param config: the configuration.
        @param authorizer: the authorizer; C{None}: the one that C{config} selects.
        @param audit: receives every audit record, in addition to C{config.audit_log}.
        @param role: whether this process is the whole proxy, a worker or a dry run.
        @param names: the names of the placeholder addresses that the clients of transparent listeners get.
        @raise ConfigError: naming the invalid value and the fix.
        """
        self._pools = Pools(reactor, lookups=config.limits.lookups, passwords=AT_ONCE)
        resolver = resolver_for(reactor, config, self._pools.lookups)
        fetch_of, in_thread = parts.key_fetcher(reactor, resolver), self._pools.passwords
        inputs = load_inputs(config, role, own=authorizer, clock=reactor, in_thread=in_thread, fetch_of=fetch_of)
        config, resources, authority, log = inputs.config, inputs.resources, inputs.authority, inputs.audit_log
        self._reactor, self._config, self._role = reactor, config, role
        self._sockets = sockets = write_through(reactor)
        self._ports = PortBinder(self._bound)
        self._trusts = Trusts.of(resources)
        self._guard = parts.address_guard(config, resources.rules)
        self._dialer = parts.dialer(sockets, config, guard=self._guard, trust=self._trusts.origins, resolver=resolver)
        self.metrics = Metrics()
        self.store_fault = inputs.store_fault
        store = parts.store_audit(reactor, config, inputs.audit_store, self._pools.store, role)
        behind_upstream = partial(UpstreamEndpoint, self._dialer)
        notify = NotifyDependencies(
            route=WebhookRoute(trust=self._trusts.notify, resolver=resolver, behind_upstream=behind_upstream),
            authority=lambda: self._ca.authority,
            registry=self.metrics.registry,
            audits=[each for each in (log, store) if each is not None],
        )
        self.notices = notices_of(reactor, config, role, notify)
        self._telemetry = parts.telemetry(reactor, config, role, self.metrics)
        requests = parts.request_log(reactor, config, role)
        self._sinks = AuditSinks(self.metrics, audit, log, store, requests, self.notices.sink, self._telemetry.sink)
        self._approvals = parts.approvals(reactor, config, role, self.notices.approval)
        self._distribution = policy_distribution(
            reactor,
            config,
            role,
            ServerRoute(trust=self._trusts.policy, resolver=resolver, in_thread=self._pools.files),
            registry=self.metrics.registry,
            in_use=PoliciesInUse(lambda: self._chain.rules, lambda: self._chain.shadow_rules, self._reload_shadow),
        )
        dependencies = ChainDependencies(
            reactor=reactor,
            sockets=sockets,
            config=config,
            authz_trust=self._trusts.authz,
            behind_upstream=behind_upstream,
            metrics=self.metrics,
            log=log,
            store=store,
            secrets=resources.secrets,
            approvals=self._approvals,
            breaker_changed=self.notices.breaker,
            processes=config.workers if role.is_worker else 1,
            policy_fault=self._distribution.fault(POLICY),
            shadow_fault=self._distribution.fault(SHADOW_POLICY),
        )
        self._chain = build_authorizer_chain(dependencies, inputs.sources)
        self.authorizer = self._chain.authorizer
        contexts = parts.host_contexts(config, authority, self._pools.keys)
        # In a worker the supervisor logs the reminders, not the worker.
        self._ca = CaWatch(reactor, inputs.ca_source, authority, contexts.follow, reminds=not role.is_worker)
        self._context = parts.proxy_context(
            reactor,
            config,
            authorizer=self.authorizer,
            dialer=self._dialer,
            host_contexts=contexts,
            report=self._sinks.write,
            tracer=self._telemetry.tracer,
            budgets=self._chain.budgets.ledger,
            # Metrics contain no header fields.
            headers=AuditHeaders.NONE if all(each is None for each in (audit, log, store)) else config.audit_headers,
        )
        self.explain = Explainer(
            config=config,
            context=self._context,
            dialer=self._dialer,
            guard=self._guard,
            chain=self._chain,
            approvals=self._approvals,
            ca_note=inputs.ca_note,
        ).explain
        self.revocations = parts.revocations(self.metrics, self._chain, self._approvals, self._context, role)
        self._history = PolicyRecorder(config.policy, store)
        changes = ChangeLog(AuditSinks(log, store), self._context.authz.new_id, time.time, self._history.write)
        backend = partial(LocalAdminBackend, self._approvals, self.explain, changes, self.revocations)
        grants = grants_of(reactor, config, role, approvals=self._approvals, state=self._chain.shared)
        self.admin_backend = backend(shared=grants.shared, stored=grants.stored)
        self._console: AdminEndpointSite | None = None
        self._factories = listener_factories(inputs.listeners, self._context, names)
        self._keys = key_downloads(inputs.listeners)
        lock, files = DeferredLock(), self._pools.files
        load = partial(load_resources, config, embedded=resources.rules is not None)
        self._reloader = Reloader(lock, files, load, self._use_resources)
        self._policy_reloader = Reloader(lock, files, lambda: read_policy(self._config), self._use_policy)
        self._shadow_reloader = Reloader(lock, files, lambda: read_shadow(self._config), self._chain.use_shadow)
        self._policy_watch = self._watch(resources.rules)
        self.policies = LocalPolicies(self._policy_in_use)
        own = {"ca": parts.ca_check(lambda: self.certificate_authority), "running": self._check_running}
        self.checks: dict[str, Check] = {**self._chain.checks, **self._keys.checks, **grants.checks, **own}
        self._distribution.add_check(self.checks)
        self.checks.update(self._chain.compare_cas(self._ca, self.metrics.registry))
        parts.set_audit_sources(self.metrics, [each for each in (log, store) if each is not None])
        parts.set_metric_sources(self.metrics, self._context, self._policy_watch, resolver, contexts)
        self.metrics.set_ca_expiry_source(lambda: self.certificate_authority.not_after.timestamp())

    def _watch(self, rules: RuleSet | None) -> PolicyWatch | None:
        """Return the watch of the policy files, if a policy decides."""
        if rules is None:
            return None
        self._rules = rules
        reload = partial(self.notices.reported, self._policy_reloader.begin, only_policy=True)
        return PolicyWatch(self._reactor, rules, lambda: self._rules.files, reload)

    def _reload_shadow(self) -> None:
        """Use another version of a shadow policy that has a URL."""
        self._shadow_reloader.begin().addErrback(lambda failure: _log.failure("reading the shadow policy", failure))

    def _policy_in_use(self) -> tuple[RuleSet, float] | None:
        """Return the policy, and the time at which it was loaded, if a policy decides."""
        watch = self._policy_watch
        return None if watch is None else (self._rules, watch.policy.loaded)

    @property
    def authorizer_name(self) -> str:
        """The name of the authorizer, for the start message."""
        return self.authorizer.name

    @property
    def certificate_authority(self) -> CertificateAuthority:
        """The CA that signs now and that clients must trust."""
        return self._ca.authority

    def readiness(self) -> Deferred[dict[str, str]]:
        """Run the readiness checks.

        @return: fires with the result of each: C{"ok"}, or the reason why it failed.
        """
        return Readiness(self._reactor, self.checks).run()

    def reload(self) -> Deferred[None]:
        """Reload the policy and the trusted certificates, for later decisions and connections.

        The files are read in a thread, so clients are served meanwhile with the previous ones.  Exchanges in progress
        continue.  Idle connections to origins are closed, because they were checked against the previous trust.

        @return: fires when the new files are in use, or fails with L{ConfigError}, which names the invalid value and
            the fix; then the previous files remain in use.
        """
        return self.notices.reported(self._reloader.begin)

    def _use_resources(self, resources: LoadedResources) -> None:
        self._chain.use_secrets(resources.secrets)
        self._chain.use_shadow(resources.shadow)
        if resources.rules is not None:
            self._use_rules(resources.rules)
        else:
            self._chain.use(None)
        self._trusts.use(resources)
        self._distribution.forget()
        self.notices.use(resources.notify)
        self._context.origins.pool.clear()

    def _use_policy(self, policy: tuple[RuleSet, SecretTable | None]) -> None:
        """Use a policy whose files changed, and the secrets that it may name."""
        rules, secrets = policy
        self._chain.use_secrets(secrets)
        stricter = rules.blocks_private and not self._guard.block_private
        self._use_rules(rules, followed=True)
        if stricter:
            # Idle connections may go to addresses that the new policy blocks.
            self._context.origins.pool.clear()

    def _use_rules(self, rules: RuleSet, *, followed: bool = False) -> None:
        self._chain.use(rules)
        self._guard.block_private = rules.blocks_private
        self._rules = rules
        if self._policy_watch is not None:
            self._policy_watch.used(rules, followed=followed)
        self._history.used(rules)

    # -- starting

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Return the addresses on which the proxy listens.

        @return: fires once all of them are bound, in the order of C{config.listen}; fails when one cannot be bound.
        """
        return self._ports.listening()

    def privilegedStartService(self) -> None:
        """Bind the ports, which may need privileges."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:
        """Bind the ports, unless they are bound already."""
        super().startService()  # type: ignore[no-untyped-call]
        self._ca.start()
        self.notices.start()
        self._telemetry.start()
        self._chain.start()
        self.admin_backend.start()
        self._keys.start()
        # The command of a sandbox has the user of the proxy: it could change the policy, and so allow its requests.
        if self._policy_watch is not None and not self._role.serves_sandbox:
            self._policy_watch.start()
        self._distribution.start()
        self._history.used(self._chain.rules)
        self._listen()

    def _listen(self) -> None:
        if self._ports.begun:
            return
        endpoints = self._role.endpoints
        if endpoints is None:
            endpoints = [described(self._sockets, listener.endpoint) for listener in self._config.listen]
        bindings: list[tuple[IStreamServerEndpoint, object]] = [*zip(endpoints, self._factories, strict=True)]
        metrics = metrics_endpoint(self._reactor, self._config.metrics_interface, self._config.metrics_port)
        if metrics is not None and not self._role.is_worker:
            pages = parts.client_pages(self._config, self.listening)
            bindings.append((metrics, ops_site(self._reactor, self.metrics, self.checks, pages)))
        elif self._config.metrics_port is not None:
            self._guard.add_listener(ip_address(self._config.metrics_interface), self._config.metrics_port)
        admin, settings = admin_endpoint(self._reactor, self._config), self._config.admin
        if admin is not None and not self._role.is_worker:
            self._console = parts.admin_site(
                self._reactor,
                self._config,
                self.admin_backend,
                metrics=self.metrics.render,
                checks=self.readiness,
                reload=self.reload,
                authority=lambda: self.certificate_authority,
                policies=self.policies,
                listening=self.listening,
                service=EgressProxyService,
            )
            self._console.start()
            bindings.append((admin, self._console.site))
        elif settings is not None and settings.address is not None:
            self._guard.add_listener(settings.address, settings.port)
        self._ports.listen(bindings, len(self._config.listen))

    def _bound(self, port: IListeningPort) -> None:
        address = port.getHost()
        if isinstance(address, (IPv4Address, IPv6Address)) and not self._role.serves_sandbox:
            # No request may reach the proxy's own listeners: not in a loop, and not the metrics.
            self._guard.add_listener(ip_address(address.host.partition("%")[0]), address.port)

    def _check_running(self) -> Deferred[None]:
        return fail(NotReady(STOPPING)) if self._context.sessions.draining else succeed(None)

    # -- stopping

    def abort(self) -> None:
        """Abort the connections that a stopping proxy still waits for."""
        self._context.sessions.abort()

    def stopService(self) -> Deferred[None]:
        """Stop listening, drain, abort the remaining connections, and close everything that is open.

        @return: fires when everything is closed.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._ca.stop()
        self._keys.stop()
        if self._policy_watch is not None:
            self._policy_watch.stop()
        self._distribution.stop()
        self._approvals.close()
        sessions = self._context.sessions
        sessions.draining = True

        def drain(_: object) -> Deferred[None]:
            # A port accepts until the next turn of the reactor.
            self._context.origins.pool.close()
            return sessions.drain().addTimeout(self._config.limits.drain_timeout, self._reactor)

        def drained(_: object) -> Deferred[None]:
            sessions.abort()
            # An aborted connection ends a moment later; its audit record is written then.
            aborted = [sessions.drain().addTimeout(ABORT_SECONDS, self._reactor), self.admin_backend.stop()]
            return settled([self._chain.close(), *aborted]).addCallback(lambda _: self._telemetry.stop())

        def closed(_: object) -> Deferred[None]:
            self._context.flows.close()
            if self._console is not None:
                self._console.stop()
            self._pools.stop()
            self._sinks.close()
            # Until now, the metrics show the connections that remain.
            return self._ports.stop()

        stopped = self._ports.stop_accepting().addCallback(drain).addBoth(drained)
        # All audit records are written when the sessions have ended.
        return stopped.addCallback(lambda _: self.notices.close()).addCallback(closed)
