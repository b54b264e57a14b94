"""The authorization service as a Twisted service: its composition root."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger

from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.policy_authorizer import PolicyAuthorizer
from egress.authz.policy_watch import PolicyWatch
from egress.authz.private_addresses import PrivateAddresses
from egress.authz.require_audit import AuditRequiringAuthorizer
from egress.authz_service.bearer import Bearer
from egress.authz_service.http_channel import CallerSite, ChannelLimits
from egress.authz_service.metrics import AuthzServiceMetrics
from egress.authz_service.validate_resource import ValidateResource
from egress.config.contradictions import OWN_AUTHORIZER, check
from egress.config.model import MIB, AuditFailure, ConfigError
from egress.observability.audit_log import JsonLinesAudit, configured_audit
from egress.observability.audit_sinks import AuditSinks
from egress.observability.health import Check, Readiness, ops_site_of
from egress.proxy.listeners import behind_tls, tls_of
from egress.proxy.request_ids import RequestIds
from egress.resources import read_rules
from egress.runtime.ports import PortBinder, described, metrics_endpoint, settled
from egress.runtime.reload import Reloader
from egress.runtime.threads import Threads

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IStreamServerEndpoint

    from egress.authz_service.config import AuthzServiceConfig
    from egress.config.listener import Listener
    from egress.interfaces import IAuditSink, IAuthorizer
    from egress.policy.rules import RuleSet
    from egress.transport.reactor import IEgressReactor

_log = Logger()

# Seconds for which a stopping service waits for the connections that it aborted.
_ABORT_SECONDS = 1.0
# The limit of all requests in memory, in bytes; two requests of the maximum length fit in any case.
_MAX_BUFFERED = 256 * MIB


class EgressAuthzService(Service):
    """An authorization service, as a part of a Twisted application.

    The constructor checks the files that the configuration names.  Starting the service opens the listeners.  Stopping
    it closes the listeners, completes requests in progress for at most C{config.drain_timeout}, and then aborts the
    remaining connections.

    @ivar authorizer: the outermost authorizer.
    @ivar metrics: the source of C{/metrics}.
    @ivar checks: the readiness checks, by name.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        config: AuthzServiceConfig,
        authorizer: IAuthorizer | None = None,
        audit: IAuditSink | None = None,
    ) -> None:
        """Build a service.  It listens once it is started.

        @param authorizer: the authorizer of the application; C{None}: the rules of C{config.policy}.
        @param audit: receives the record of every request, in addition to C{config.audit_log}.
        @raise ConfigError: if a value cannot be used; it names the value and the fix.
        """
        if authorizer is not None:
            check(config, OWN_AUTHORIZER)
        self._reactor = reactor
        self._config = config
        self.metrics = AuthzServiceMetrics()
        self.checks: dict[str, Check] = {}
        log = None if config.audit_log is None else configured_audit(config.audit_log, config.audit_access)
        self._sinks = AuditSinks(self.metrics, audit, log)
        self._watch: PolicyWatch | None = None
        self._reads = Threads(reactor, "files", 1)
        self.authorizer = self._policy_authorizer() if authorizer is None else self._with_deadline(authorizer)
        self.checks["authorizer"] = self.authorizer.check_ready
        if log is not None:
            self._add_audit(log)
        self._binding = PortBinder()
        self._sites: list[CallerSite] = []
        self._factories = [self._factory(listener) for listener in config.listen]
        self.metrics.set_connections_source(lambda: sum(len(site.channels) for site in self._sites))

    # -- the authorizer

    def _with_deadline(self, authorizer: IAuthorizer) -> IAuthorizer:
        """Call the authorizer of an application within a deadline."""
        return FailClosedAuthorizer(self._reactor, authorizer, self._config.request_timeout)

    def _policy_authorizer(self) -> IAuthorizer:
        config = self._config
        self._rules = rules = self._read()
        self._local = PolicyAuthorizer(rules)
        lock, threads = DeferredLock(), self._reads
        self._reloader = Reloader(lock, threads, self._read, self._use)
        followed = Reloader(lock, threads, self._read, self._use_followed)
        self._watch = watch = PolicyWatch(self._reactor, rules, lambda: self._rules.files, followed.begin)
        self.metrics.set_policy_source(lambda: watch.state, lambda: watch.policy)
        return PrivateAddresses(
            FailClosedAuthorizer(self._reactor, self._local, None),
            lambda: self._rules.blocks_private,
            config.allow_address,
            lambda: self._rules.policy_version,
        )

    def _add_audit(self, log: JsonLinesAudit) -> None:
        self.metrics.set_audit_lost_source(lambda: log.lost)
        if self._config.audit_failure is AuditFailure.DENY:
            audited = AuditRequiringAuthorizer(self.authorizer, lambda: log.fault)
            self.authorizer = audited
            self.checks["audit"] = audited.check_audit

    def reload(self) -> Deferred[None]:
        """Reload the policy for later requests.  The service responds meanwhile, with the previous policy.

        @return: fires when the new policy is in use, or fails with L{ConfigError}, which names the invalid value and
            the fix; then the previous policy stays in use.
        """
        return succeed(None) if self._watch is None else self._reloader.begin()

    def _read(self) -> RuleSet:
        rules = read_rules(self._config.policy, self._config.grpc_descriptors)
        counted = next((rule for rule in rules.rules if rule.obligations.budgets), None)
        if counted is not None:
            remedy = f"{counted.where}: rule {counted.rule_id}: only a proxy with --policy counts budgets: remove "
            remedy += f"[rules.{counted.obligations.budgets[0].table}]"
            raise ConfigError("--policy", str(self._config.policy or ""), remedy)
        return rules

    def _use_followed(self, rules: RuleSet) -> None:
        self._use(rules, followed=True)

    def _use(self, rules: RuleSet, *, followed: bool = False) -> None:
        assert self._watch is not None
        self._local.use(rules)
        self._rules = rules
        self._watch.used(rules, followed=followed)

    # -- the callers

    def _factory(self, listener: Listener) -> object:
        config = self._config
        limits = ChannelLimits(
            config.request_limit,
            max(2 * config.request_limit, _MAX_BUFFERED),
            config.connections,
            config.idle_timeout,
            config.request_timeout,
        )
        authenticated = config.requires_auth_at(listener)
        resource = ValidateResource(
            self._reactor,
            time.time,
            self.authorizer,
            bearer=None if config.token is None else Bearer(config.token),
            trusted=authenticated,
            report=self._sinks.write,
            rejected=self.metrics.reject,
            new_id=RequestIds().new,
        )
        site = CallerSite(
            self._reactor,
            limits,
            serve=resource.serve,
            admits=resource.admits,
            rejected=self.metrics.reject,
            authenticated=config.token is not None or authenticated,
        )
        self._sites.append(site)
        return behind_tls(tls_of(listener), site, self._reactor)

    # -- start

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Return the addresses on which the service listens.

        @return: fires once all of them are bound, in the order of C{config.listen}; fails if one cannot be bound.
        """
        return self._binding.listening()

    def privilegedStartService(self) -> None:
        """Bind the ports, which may need privileges."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:
        """Bind the ports, unless they are bound, and watch the files of the policy."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._watch is not None:
            self._watch.start()
        self._listen()

    def _listen(self) -> None:
        if self._binding.begun:
            return
        config = self._config
        pairs: list[tuple[IStreamServerEndpoint, object]] = [
            (described(self._reactor, listener.endpoint), factory)
            for listener, factory in zip(config.listen, self._factories, strict=True)
        ]
        metrics = metrics_endpoint(self._reactor, config.metrics_interface, config.metrics_port)
        if metrics is not None:
            readiness = Readiness(self._reactor, self.checks)
            pairs.append((metrics, ops_site_of(self._reactor, self.metrics.render, readiness.run)))
        self._binding.listen(pairs, len(config.listen))

    # -- stop

    def abort(self) -> None:
        """Abort the connections for which a stop waits."""
        for site in self._sites:
            site.abort()

    def stopService(self) -> Deferred[None]:
        """Stop listening, complete requests in progress, abort the remaining connections, and close open files.

        @return: fires when the service has stopped.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        if self._watch is not None:
            self._watch.stop()

        def drained(_: object) -> Deferred[None]:
            self.abort()
            aborted = settled([site.drain() for site in self._sites]).addTimeout(_ABORT_SECONDS, self._reactor)
            return settled([self.authorizer.close(), aborted])

        def closed(_: object) -> None:
            self._reads.stop()
            self._sinks.close()

        draining = settled([site.drain() for site in self._sites])
        draining.addTimeout(self._config.drain_timeout, self._reactor)
        return settled([self._binding.stop(), draining.addBoth(drained)]).addCallback(closed)
