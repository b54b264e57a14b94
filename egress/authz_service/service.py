"""The authorization service as a Twisted service: where its parts are put together."""

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
from egress.authz_service.http_channel import ChannelLimits, QuestionSite
from egress.authz_service.metrics import AuthzServiceMetrics
from egress.authz_service.validate_resource import ValidateResource
from egress.config.contradictions import OWN_AUTHORIZER, check
from egress.config.model import MIB, AuditFailure, ConfigError
from egress.observability.audit_log import JsonLinesAudit, open_audit
from egress.observability.health import Check, Readiness, ops_site_of
from egress.proxy.context import Ids
from egress.proxy.listeners import behind_tls
from egress.resources import read_rules
from egress.runtime.ports import PortBinder, described, metrics_endpoint, settled
from egress.runtime.reload import Reloader
from egress.runtime.threads import Threads

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IStreamServerEndpoint

    from egress.authz_service.config import AuthzServiceConfig
    from egress.config.listener import Listener
    from egress.interfaces import IAuditSink, IAuthorizer
    from egress.model.record import ExchangeRecord
    from egress.policy.rules import RuleSet
    from egress.transport.reactor import IEgressReactor

_log = Logger()

# How long a stopping service waits for connections that it has cut.
_CUT_SECONDS = 1.0
# What all questions take together at the same time, in bytes; two of the greatest length fit in any case.
_HELD = 256 * MIB


class EgressAuthzService(Service):
    """An authorization service, as a part of a Twisted application.

    What can be wrong with the files that the configuration names is found on construction.  Starting the service
    listens; stopping it stops listening, has questions answered for as long as C{config.drain_timeout}, then cuts what
    is left.

    @ivar authorizer: who decides.
    @ivar metrics: the numbers behind C{/metrics}.
    @ivar checks: what must hold for the service to be ready, by name.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        config: AuthzServiceConfig,
        authorizer: IAuthorizer | None = None,
        audit: IAuditSink | None = None,
    ) -> None:
        """Put a service together; it listens once it is started.

        @param authorizer: who decides; C{None}: the rules of C{config.policy}.
        @param audit: is told of every question, besides C{config.audit_log}.
        @raise ConfigError: naming what cannot be used, and the remedy.
        """
        if authorizer is not None:
            check(config, OWN_AUTHORIZER)
        self._reactor = reactor
        self._config = config
        self.metrics = AuthzServiceMetrics()
        self.checks: dict[str, Check] = {}
        log = None if config.audit_log is None else _audit(config.audit_log)
        self._sinks: list[IAuditSink] = [self.metrics, *filter(None, (audit, log))]
        self._watch: PolicyWatch | None = None
        self._reads = Threads(reactor, "files", 1)
        self.authorizer = self._rules_decide() if authorizer is None else self._decides(authorizer)
        self.checks["authorizer"] = self.authorizer.check_ready
        if log is not None:
            self._audited(log)
        self._binding = PortBinder()
        self._sites: list[QuestionSite] = []
        self._factories = [self._factory(entrance) for entrance in config.listen]
        self.metrics.watch_connections(lambda: sum(len(site.channels) for site in self._sites))

    # -- who decides

    def _decides(self, authorizer: IAuthorizer) -> IAuthorizer:
        """Ask what an application decides by, within a deadline."""
        return FailClosedAuthorizer(self._reactor, authorizer, self._config.question_timeout)

    def _rules_decide(self) -> IAuthorizer:
        config = self._config
        self._rules = rules = read_rules(config.policy)
        self._local = PolicyAuthorizer(rules)
        turns, in_threads = DeferredLock(), self._reads
        self._reading = Reloader(turns, in_threads, self._read, self._use)
        followed = Reloader(turns, in_threads, self._read, self._use_followed)
        self._watch = watch = PolicyWatch(self._reactor, rules, lambda: self._rules.files, followed.begin)
        self.metrics.watch_policy(lambda: watch.state)
        return PrivateAddresses(
            FailClosedAuthorizer(self._reactor, self._local, None),
            lambda: self._rules.blocks_private,
            config.allow_address,
        )

    def _audited(self, log: JsonLinesAudit) -> None:
        self.metrics.watch_audit_lost(lambda: log.lost)
        if self._config.audit_failure is AuditFailure.DENY:
            audited = AuditRequiringAuthorizer(self.authorizer, lambda: log.fault)
            self.authorizer = audited
            self.checks["audit"] = audited.check_audit

    def reload(self) -> Deferred[None]:
        """Read the policy anew, for what is decided from then on; callers are answered meanwhile, as before.

        @return: fires when it is in use, or fails with L{ConfigError}, which names what cannot be used, and the
            remedy; then all remains as it was.
        """
        return succeed(None) if self._watch is None else self._reading.begin()

    def _read(self) -> RuleSet:
        return read_rules(self._config.policy)

    def _use_followed(self, rules: RuleSet) -> None:
        self._use(rules, followed=True)

    def _use(self, rules: RuleSet, *, followed: bool = False) -> None:
        assert self._watch is not None
        self._local.use(rules)
        self._rules = rules
        self._watch.used(rules, followed=followed)

    # -- who asks

    def _factory(self, entrance: Listener) -> object:
        config = self._config
        limits = ChannelLimits(
            config.question_limit,
            max(2 * config.question_limit, _HELD),
            config.connections,
            config.idle_timeout,
            config.question_timeout,
        )
        asks = config.asks_at(entrance)
        desk = ValidateResource(
            self._reactor,
            time.time,
            self.authorizer,
            None if config.token is None else Bearer(config.token),
            asks,
            self._report,
            self.metrics.refuse,
            Ids().__next__,
        )
        site = QuestionSite(
            self._reactor, limits, desk.serve, desk.admits, self.metrics.refuse, config.token is not None or asks
        )
        self._sites.append(site)
        return behind_tls(entrance, site, self._reactor)

    def _report(self, record: ExchangeRecord) -> None:
        for sink in self._sinks:
            try:
                sink.write(record)
            except Exception:  # noqa: BLE001 - the faults of a sink are not the caller's
                _log.failure("an audit sink failed")

    # -- starting

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Learn the addresses on which the service listens.

        @return: fires once all of them are bound, in the order of C{config.listen}; fails when one cannot be.
        """
        return self._binding.listening()

    def privilegedStartService(self) -> None:
        """Bind the ports, which may need privileges."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:
        """Bind the ports, unless that is done, and follow the policy in its files."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._watch is not None:
            self._watch.start()
        self._listen()

    def _listen(self) -> None:
        if self._binding.begun:
            return
        config = self._config
        pairs: list[tuple[IStreamServerEndpoint, object]] = [
            (described(self._reactor, entrance.endpoint), factory)
            for entrance, factory in zip(config.listen, self._factories, strict=True)
        ]
        metrics = metrics_endpoint(self._reactor, config.metrics_interface, config.metrics_port)
        if metrics is not None:
            ask = Readiness(self._reactor, self.checks).ask
            pairs.append((metrics, ops_site_of(self._reactor, self.metrics.render, ask)))
        self._binding.listen(pairs, len(config.listen))

    # -- stopping

    def stopService(self) -> Deferred[None]:
        """Stop listening, have questions answered, cut the rest, and close what is open.

        @return: fires when nothing is left.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        if self._watch is not None:
            self._watch.stop()

        def drained(_: object) -> Deferred[None]:
            for site in self._sites:
                site.abort()
            gone = settled([site.drain() for site in self._sites]).addTimeout(_CUT_SECONDS, self._reactor)
            return settled([self.authorizer.close(), gone])

        def closed(_: object) -> None:
            self._reads.stop()
            for sink in self._sinks:
                sink.close()

        draining = settled([site.drain() for site in self._sites])
        draining.addTimeout(self._config.drain_timeout, self._reactor)
        return settled([self._binding.stop(), draining.addBoth(drained)]).addCallback(closed)


def _audit(target: str) -> JsonLinesAudit:
    try:
        return open_audit(target)
    except OSError as error:
        raise ConfigError("--audit-log", target, f"cannot be written to: {error.strerror}") from error
