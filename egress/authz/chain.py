"""The authorizer chain: an authorizer and its wrappers, built for L{egress.service}."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import random
from time import time
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred, maybeDeferred

from egress.authz.approval_authorizer import ApprovalAuthorizer
from egress.authz.breaker import Breaker
from egress.authz.budgets.setup import BudgetCounting, budget_counting
from egress.authz.cache import CachingAuthorizer
from egress.authz.chain_dependencies import ChainDependencies
from egress.authz.content_decoding import DecodingAuthorizer
from egress.authz.current_policy import CurrentPolicyAuthorizer
from egress.authz.decision_store import DecisionStore
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.authz.observe import ObservingAuthorizer
from egress.authz.policy_authorizer import PolicyAuthorizer
from egress.authz.remote.authorizer import RemoteAuthorizer
from egress.authz.remote.client import RemoteService, remote_authorizer
from egress.authz.require_audit import AuditRequiringAuthorizer
from egress.authz.secret_injection import SecretInjectingAuthorizer
from egress.authz.secrets.command import run_command
from egress.authz.secrets.table import SecretTable
from egress.authz.secrets.vault import Vault
from egress.authz.shadow import MAX_CONCURRENCY, ShadowedAuthorizer
from egress.authz.shared_cache import SharedCachingAuthorizer, shared_cache_of
from egress.config.model import AuditFailure, ConfigError, Mode, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.observability.audit_log import JsonLinesAudit
from egress.observability.health import Check, NotReady
from egress.observability.shadow_log import ShadowLog
from egress.shared.state import SharedState, shared_state
from egress.store.sink import StoreAudit

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from twisted.internet.interfaces import IReactorTime

    from egress.policy.rules import RuleSet
    from egress.tls.ca_watch import CaWatch

# The breaker does not count failures as consecutive when more time than this, plus the time limit of one request, lies
# between them.
_RESET_AFTER: Final = 60.0

_STARTING: Final = "the process that writes the audit store is starting"


@attrs.define(kw_only=True)
class AuthorizerChain:
    """The authorizers of the proxy, as built by L{build_authorizer_chain}.

    @ivar authorizer: the outermost authorizer, which the proxy calls.
    @ivar policy: the embedded policy as an authorizer, if it decides.
    @ivar cache: the cache of decisions, if decisions are cached.
    @ivar shared: the shared state of this process, if there is one.
    @ivar shared_cache: the cache of decisions that replicas share, if there is one.
    @ivar shadow: the shadow policy as an authorizer, if there is one.
    @ivar checks: the readiness checks, by name.
    @ivar vault: the secrets that decisions can put into requests, if there are any.
    @ivar rules: the rules of the embedded policy.
    @ivar shadow_rules: the rules of the shadow policy.
    @ivar budgets: counts allowed requests against the budgets of their decisions.
    @ivar without_approver: the same decisions without approvals: it never waits for an approver.
    """

    authorizer: IAuthorizer
    policy: PolicyAuthorizer | None
    cache: CachingAuthorizer | None
    shared: SharedState | None
    shared_cache: SharedCachingAuthorizer | None
    shadow: PolicyAuthorizer | None
    checks: dict[str, Check]
    vault: Vault | None
    rules: RuleSet | None
    shadow_rules: RuleSet | None
    budgets: BudgetCounting
    without_approver: IAuthorizer

    def start(self) -> None:
        """Connect to the engine with shared state, if there is one."""
        if self.shared is not None:
            self.shared.start()
        self.budgets.start()

    def close(self) -> Deferred[None]:
        """Close the connections to the engine and to the authorizer."""
        self.budgets.stop()
        closed: Deferred[None] = self.authorizer.close()
        shared = self.shared
        return closed if shared is None else closed.addBoth(lambda result: shared.stop().addCallback(lambda _: result))

    def use(self, rules: RuleSet | None) -> None:
        """Use other rules from now on, if rules decide.  Clear the caches in any case."""
        for cache in (self.cache, self.shared_cache):
            if cache is not None:
                cache.clear()
        if self.policy is not None and rules is not None:
            self.policy.use(rules)
            self.rules = rules

    def use_shadow(self, rules: RuleSet | None) -> None:
        """Compare with other rules from now on, if there is a shadow policy."""
        if self.shadow is not None and rules is not None:
            self.shadow.use(rules)
            self.shadow_rules = rules

    def compare_cas(self, watch: CaWatch, registry: CollectorRegistry) -> dict[str, Check]:
        """Compare the CA of this process with the CAs of other replicas, if there is shared state.

        @param watch: knows the CA.
        @param registry: the metrics of this process.
        @return: the readiness check, by name.
        """
        if self.shared is None:
            return {}
        self.shared.ca.follow(watch, registry, time)
        return {"shared-ca": self.shared.ca.check}

    @property
    def secrets(self) -> SecretTable | None:
        """The table of the secrets that decisions can put into requests, if there is one."""
        return None if self.vault is None else self.vault.table

    def use_secrets(self, secrets: SecretTable | None) -> None:
        """Use another table of secrets from now on, if there is one."""
        if self.vault is not None and secrets is not None:
            self.vault.use(secrets)


@attrs.frozen(kw_only=True)
class DecisionSources:
    """The sources of decisions and of shadow decisions.

    Exactly one of C{own}, C{rules} and C{service} decides.

    @ivar own: the authorizer of the application.
    @ivar rules: the rules of the embedded policy.
    @ivar service: the authorization service.
    @ivar shadow_rules: the rules of the shadow policy, if there is one.
    @ivar shadow_service: the shadow authorization service, if there is one.
    @ivar shadow_log: the log of the comparisons, if there is a shadow.
    """

    own: IAuthorizer | None = None
    rules: RuleSet | None = None
    service: RemoteService | None = None
    shadow_rules: RuleSet | None = None
    shadow_service: RemoteService | None = None
    shadow_log: ShadowLog | None = None

    @property
    def name(self) -> str:
        """The name of what decides."""
        source = next(each for each in (self.own, self.rules, self.service) if each is not None)
        return source.name


def decision_sources(
    config: ProxyConfig,
    clock: IReactorTime,
    *,
    own: IAuthorizer | None = None,
    rules: RuleSet | None = None,
    shadow_rules: RuleSet | None = None,
) -> DecisionSources:
    """Read the options about the authorizers, and open the log of the shadow.

    @param config: the configuration.
    @param clock: limits how often the log writes.
    @param own: the authorizer of the application, if it has one.
    @param rules: the rules of the embedded policy, if they decide.
    @param shadow_rules: the rules of the shadow policy, if there is one.
    @raise egress.config.model.ConfigError: if a value cannot be used; it names the value and the remedy.
    """
    service = RemoteService.of(config) if own is None and rules is None else None
    shadow = shadow_service(config)
    shadow_log = None if shadow_rules is None and shadow is None else _shadow_log(config, clock)
    return DecisionSources(
        own=own,
        rules=rules,
        service=service,
        shadow_rules=shadow_rules,
        shadow_service=shadow,
        shadow_log=shadow_log,
    )


def shadow_service(config: ProxyConfig) -> RemoteService | None:
    """Read the options about the shadow authorization service, if there is one.

    @raise ConfigError: naming the invalid value and the fix.
    """
    if config.shadow_authz_url is None:
        return None
    other = attrs.evolve(
        config,
        policy=None,
        authz_url=config.shadow_authz_url,
        authz_token=config.shadow_authz_token,
        authz_max_concurrency=MAX_CONCURRENCY,
    )
    try:
        return RemoteService.of(other)
    except ConfigError as error:
        raise ConfigError("--shadow-authz-url", error.value, error.remedy) from error


def _shadow_log(config: ProxyConfig, clock: IReactorTime) -> ShadowLog:
    try:
        return ShadowLog(clock.seconds, time, config.shadow_log)
    except OSError as error:
        raise ConfigError("--shadow-log", config.shadow_log or "", f"cannot be written to: {error.strerror}") from error


def build_authorizer_chain(dependencies: ChainDependencies, sources: DecisionSources) -> AuthorizerChain:
    """Build the chain for the authorizer of the application, the rules, or the authorization service."""
    reactor, config, log = dependencies.reactor, dependencies.config, dependencies.log
    observe = config.mode is Mode.OBSERVE
    policy = None if sources.rules is None else PolicyAuthorizer(sources.rules)
    shadow_policy = None if sources.shadow_rules is None else PolicyAuthorizer(sources.shadow_rules)
    vault = _vault(dependencies)
    # Rules always decide, and without waiting.  They are not cached: they are faster than any cache.
    shared = shared_state(config, dependencies.sockets, trust=dependencies.authz_trust, now=time)
    shared_cache: SharedCachingAuthorizer | None = None
    if policy is None:
        guarded = _limited(dependencies, sources)
        if shared is not None and config.authz_cache is not None:
            shared_cache = shared_cache_of(config, reactor, guarded, sources.name, state=shared, now=time)
            guarded = FailClosedAuthorizer(reactor, shared_cache, None)
    else:
        guarded = FailClosedAuthorizer(reactor, _while_current(policy, dependencies.policy_fault), None)
    cache = _cached(dependencies, guarded) if policy is None else None
    decided: IAuthorizer = guarded if cache is None else cache

    def finished(inner: IAuthorizer) -> IAuthorizer:
        """Add the wrappers that apply with and without an approver."""
        if vault is not None:
            # A decision whose secret is not available is a failure.
            inner = SecretInjectingAuthorizer(inner, vault)
        return ObservingAuthorizer(inner) if observe else inner

    checks: dict[str, Check] = {"authorizer": decided.check_ready}
    if shared is not None:
        checks["shared"] = shared.check
        dependencies.metrics.set_shared_source(
            None if shared_cache is None else shared_cache.stats, lambda: shared.is_ready, shared.master
        )
    budgets = budget_counting(dependencies, shared, lambda: None if policy is None else policy.rules)
    dependencies.metrics.set_budget_source(budgets.ledger.stats)
    if shared is not None:
        checks["budgets"] = budgets.check
    compared = _compared(dependencies, sources, decided, shadow_policy)
    authorizer = finished(_approved(dependencies, compared))
    logs = [each for each in (log, dependencies.store) if each is not None]
    if logs:
        checks["audit"] = lambda: maybeDeferred(_audit_state, logs, dependencies.store)
    if logs and config.audit_failure is AuditFailure.DENY:
        # Deny every request while the audit log or the audit store cannot be written.
        audited = AuditRequiringAuthorizer(
            authorizer, lambda: next((each.fault for each in logs if each.fault is not None), None)
        )
        authorizer = audited
        checks["audit"] = lambda: audited.check_audit().addCallback(lambda _: _audit_state(logs, dependencies.store))
    dependencies.metrics.set_observing(observe)
    return AuthorizerChain(
        authorizer=authorizer,
        policy=policy,
        cache=cache,
        shared=shared,
        shared_cache=shared_cache,
        shadow=shadow_policy,
        checks=checks,
        vault=vault,
        rules=sources.rules,
        shadow_rules=sources.shadow_rules,
        budgets=budgets,
        without_approver=finished(decided),
    )


def _vault(dependencies: ChainDependencies) -> Vault | None:
    """Return the vault of the secrets that decisions name."""
    reactor, secrets = dependencies.reactor, dependencies.secrets
    return None if secrets is None else Vault(secrets, reactor, lambda command: run_command(reactor, command))


def _limited(dependencies: ChainDependencies, sources: DecisionSources) -> IAuthorizer:
    """Return the authorizer of the application, or the authorization service, with its limits and circuit breaker."""
    reactor, config = dependencies.reactor, dependencies.config
    retries: Callable[[], int] | None = None
    if sources.own is not None:
        # For authorizers without a deadline of their own.  The timeout of the authorization service passes first, and
        # its message is more specific.
        deadline = 2 * config.authz_timeout
        guarded = FailClosedAuthorizer(reactor, sources.own, deadline)
    else:
        assert sources.service is not None
        deadline = config.authz_timeout
        remote = _remote(dependencies, sources.service)
        guarded = FailClosedAuthorizer(reactor, remote, None)
        retries = remote.retries
    breaker = Breaker(config.authz_breaker_failures, _RESET_AFTER + deadline, random)
    limiter = LimitedAuthorizer(
        reactor,
        guarded,
        breaker,
        deadline=deadline,
        max_concurrency=config.authz_max_concurrency,
        max_queue=config.authz_queue,
        breaker_changed=dependencies.breaker_changed,
    )
    dependencies.metrics.set_authorizer_source(limiter.stats, retries)
    return _with_decoded_content(dependencies, limiter)


def _with_decoded_content(dependencies: ChainDependencies, inner: IAuthorizer) -> IAuthorizer:
    """Decode the content for an authorization service, if the operator wants it."""
    config = dependencies.config
    if not config.authz_decode_body:
        return inner
    limits = config.limits
    return DecodingAuthorizer(dependencies.reactor, inner, limit=limits.body, memory=limits.body_memory)


def _cached(dependencies: ChainDependencies, inner: IAuthorizer) -> CachingAuthorizer | None:
    """Return the cache of decisions, if decisions are cached as the authorizer directs."""
    config = dependencies.config
    if config.authz_cache is None:
        return None
    store = DecisionStore(config.authz_cache, config.authz_max_ttl, config.authz_max_stale)
    cache = CachingAuthorizer(dependencies.reactor, inner, store, config.authz_queue)
    dependencies.metrics.set_cache_source(cache.reuse)
    return cache


def _compared(
    dependencies: ChainDependencies, sources: DecisionSources, inner: IAuthorizer, policy: PolicyAuthorizer | None
) -> IAuthorizer:
    """Compare decisions with the decisions of a shadow policy or shadow authorization service, if there is one."""
    reactor, shadow_log = dependencies.reactor, sources.shadow_log
    shadow = None if policy is None else _while_current(policy, dependencies.shadow_fault)
    if shadow is None and sources.shadow_service is not None:
        shadow = _with_decoded_content(dependencies, _remote(dependencies, sources.shadow_service))
    if shadow is None or shadow_log is None:
        return inner
    dependencies.metrics.registry.register(shadow_log)
    guarded = FailClosedAuthorizer(reactor, shadow, None)
    return ShadowedAuthorizer(reactor, inner, guarded, shadow_log, dependencies.config.mode is Mode.OBSERVE)


def _while_current(policy: PolicyAuthorizer, fault: Callable[[], str | None] | None) -> IAuthorizer:
    """Use a policy only while it is current, if it has a URL."""
    return policy if fault is None else CurrentPolicyAuthorizer(policy, fault)


def _remote(dependencies: ChainDependencies, service: RemoteService) -> RemoteAuthorizer:
    return remote_authorizer(dependencies.sockets, service, dependencies.authz_trust, dependencies.behind_upstream)


def _approved(dependencies: ChainDependencies, inner: IAuthorizer) -> IAuthorizer:
    """Wait for an approver where the authorizer requires an approval.

    This wrapper is outside every deadline and limit of the authorizer, because an approver takes longer.  In observe
    mode no request waits for an approval.
    """
    approvals = dependencies.approvals
    if approvals is None or dependencies.config.mode is Mode.OBSERVE:
        return inner
    dependencies.metrics.set_approvals_source(lambda: approvals.pending, approvals.counts)
    return ApprovalAuthorizer(inner, approvals)


def _audit_state(logs: Sequence[JsonLinesAudit | StoreAudit], store: StoreAudit | None) -> str | None:
    """Describe records that are not in the audit log or the audit store, for the readiness check.

    @raise NotReady: if a record would wait in memory until the writer of the store has started.
    """
    if store is not None and store.is_starting:
        raise NotReady(_STARTING)
    return "; ".join(note for each in logs if (note := each.note) is not None) or None
