"""The authorizer chain: an authorizer and its wrappers, built for L{egress.service}."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import time
from typing import TYPE_CHECKING, Final

import attrs

from egress.authz.approvals import ApprovalAuthorizer, Approvals
from egress.authz.breaker import Breaker
from egress.authz.cache import CachingAuthorizer
from egress.authz.decision_store import DecisionStore
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.authz.observe import ObservingAuthorizer
from egress.authz.policy_authorizer import PolicyAuthorizer
from egress.authz.remote.client import CreateEndpoint, remote_authorizer
from egress.authz.require_audit import AuditRequiringAuthorizer
from egress.authz.secret_injection import SecretInjectingAuthorizer
from egress.authz.secrets.command import run_command
from egress.authz.secrets.table import SecretTable
from egress.authz.secrets.vault import Vault
from egress.authz.shadow import MAX_CONCURRENCY, ShadowedAuthorizer
from egress.config.model import AuditFailure, ConfigError, Mode, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.observability.audit_log import JsonLinesAudit
from egress.observability.health import Check
from egress.observability.metrics import Metrics
from egress.observability.shadow_log import ShadowLog
from egress.transport.reactor import IEgressReactor

if TYPE_CHECKING:
    from egress.policy.rules import RuleSet
    from egress.tls.reloadable_trust import ReloadableTrust

# The breaker does not count failures as consecutive when more time than this, plus the time limit of one request, lies
# between them.
_RESET_AFTER: Final = 60.0


@attrs.define
class AuthorizerChain:
    """The authorizers of the proxy, as built by L{build_authorizer_chain}.

    @ivar authorizer: the outermost authorizer, which the proxy calls.
    @ivar policy: the embedded policy as an authorizer, if it decides.
    @ivar cache: the cache of decisions, if decisions are cached.
    @ivar shadow: the shadow policy as an authorizer, if there is one.
    @ivar checks: the readiness checks, by name.
    @ivar vault: the secrets that decisions can put into requests, if there are any.
    @ivar rules: the rules of the embedded policy.
    @ivar without_approver: the same decisions without approvals: it never waits for an approver.
    """

    authorizer: IAuthorizer
    policy: PolicyAuthorizer | None
    cache: CachingAuthorizer | None
    shadow: PolicyAuthorizer | None
    checks: dict[str, Check]
    vault: Vault | None
    rules: RuleSet | None
    without_approver: IAuthorizer

    def use(self, rules: RuleSet | None) -> None:
        """Use other rules from now on, if rules decide.  Clear the cache in any case."""
        if self.cache is not None:
            self.cache.clear()
        if self.policy is not None and rules is not None:
            self.policy.use(rules)
            self.rules = rules

    def use_shadow(self, rules: RuleSet | None) -> None:
        """Compare with other rules from now on, if there is a shadow policy."""
        if self.shadow is not None and rules is not None:
            self.shadow.use(rules)

    @property
    def secrets(self) -> SecretTable | None:
        """The table of the secrets that decisions can put into requests, if there is one."""
        return None if self.vault is None else self.vault.table

    def use_secrets(self, secrets: SecretTable | None) -> None:
        """Use another table of secrets from now on, if there is one."""
        if self.vault is not None and secrets is not None:
            self.vault.use(secrets)


@attrs.frozen
class ChainDependencies:
    """The parts of a proxy on which authorizers depend.

    @ivar sockets: the reactor whose connections write immediately.
    @ivar authz_trust: the trust store for the authorization service.
    @ivar behind_upstream: creates an endpoint through the upstream proxy.
    @ivar log: the audit log, if there is one.
    @ivar secrets: the secrets that decisions can put into requests, if there are any.
    @ivar approvals: the pending approvals and the grants, if there is an approver.
    """

    reactor: IEgressReactor
    sockets: IEgressReactor
    config: ProxyConfig
    authz_trust: ReloadableTrust
    behind_upstream: CreateEndpoint
    metrics: Metrics
    log: JsonLinesAudit | None
    secrets: SecretTable | None = None
    approvals: Approvals | None = None


def build_authorizer_chain(
    dependencies: ChainDependencies, own: IAuthorizer | None, rules: RuleSet | None, shadow: RuleSet | None = None
) -> AuthorizerChain:
    """Build the chain for the authorizer of the application, the rules, or the authorization service.

    @param own: the authorizer of the application, if it has one.
    @param rules: the rules of the embedded policy, if they decide.
    @param shadow: the rules of the shadow policy, if there is one.
    @raise egress.config.model.ConfigError: if a value cannot be used; it names the value and the remedy.
    """
    reactor, config, log = dependencies.reactor, dependencies.config, dependencies.log
    observe = config.mode is Mode.OBSERVE
    policy = None if rules is None else PolicyAuthorizer(rules)
    shadow_policy = None if shadow is None else PolicyAuthorizer(shadow)
    vault = _vault(dependencies)
    # Rules always decide, and without waiting.  They are not cached: they are faster than any cache.
    guarded = _limited(dependencies, own) if policy is None else FailClosedAuthorizer(reactor, policy, None)
    cache = _cached(dependencies, guarded) if policy is None else None
    decided: IAuthorizer = guarded if cache is None else cache

    def finished(inner: IAuthorizer) -> IAuthorizer:
        """Add the wrappers that apply with and without an approver."""
        if vault is not None:
            # A decision whose secret is not available is a failure.
            inner = SecretInjectingAuthorizer(inner, vault)
        return ObservingAuthorizer(inner) if observe else inner

    checks: dict[str, Check] = {"authorizer": decided.check_ready}
    authorizer = finished(_approved(dependencies, _compared(dependencies, decided, shadow_policy)))
    if log is not None and config.audit_failure is AuditFailure.DENY:
        # Deny every request while the audit log cannot be written.
        audited = AuditRequiringAuthorizer(authorizer, lambda: log.fault)
        authorizer = audited
        checks["audit"] = audited.check_audit
    dependencies.metrics.set_observing(observe)
    return AuthorizerChain(authorizer, policy, cache, shadow_policy, checks, vault, rules, finished(decided))


def _vault(dependencies: ChainDependencies) -> Vault | None:
    """Return the vault of the secrets that decisions name."""
    reactor, secrets = dependencies.reactor, dependencies.secrets
    return None if secrets is None else Vault(secrets, reactor, lambda command: run_command(reactor, command))


def _limited(dependencies: ChainDependencies, own: IAuthorizer | None) -> IAuthorizer:
    """Return the authorizer of the application, or the authorization service, with its limits and circuit breaker."""
    reactor, config = dependencies.reactor, dependencies.config
    retries: Callable[[], int] | None = None
    if own is not None:
        # For authorizers without a deadline of their own.  The timeout of the authorization service passes first, and
        # its message is more specific.
        deadline = 2 * config.authz_timeout
        guarded = FailClosedAuthorizer(reactor, own, deadline)
    else:
        deadline = config.authz_timeout
        remote = remote_authorizer(dependencies.sockets, config, dependencies.authz_trust, dependencies.behind_upstream)
        guarded = FailClosedAuthorizer(reactor, remote, None)
        retries = remote.retries
    breaker = Breaker(config.authz_breaker_failures, _RESET_AFTER + deadline, random)
    limiter = LimitedAuthorizer(reactor, guarded, breaker, deadline, config.authz_max_concurrency, config.authz_queue)
    dependencies.metrics.set_authorizer_source(limiter.stats, retries)
    return limiter


def _cached(dependencies: ChainDependencies, inner: IAuthorizer) -> CachingAuthorizer | None:
    """Return the cache of decisions, if decisions are cached as the authorizer directs."""
    config = dependencies.config
    if config.authz_cache is None:
        return None
    store = DecisionStore(config.authz_cache, config.authz_max_ttl, config.authz_max_stale)
    cache = CachingAuthorizer(dependencies.reactor, inner, store, config.authz_queue)
    dependencies.metrics.set_cache_source(cache.reuse)
    return cache


def _compared(dependencies: ChainDependencies, inner: IAuthorizer, policy: PolicyAuthorizer | None) -> IAuthorizer:
    """Compare decisions with those of a shadow policy or a shadow authorization service, if there is one."""
    reactor, config = dependencies.reactor, dependencies.config
    shadow = _shadow_service(dependencies) if policy is None else policy
    if shadow is None:
        return inner
    try:
        shadow_log = ShadowLog(reactor.seconds, time, config.shadow_log)
    except OSError as error:
        raise ConfigError("--shadow-log", config.shadow_log or "", f"cannot be written to: {error.strerror}") from error
    dependencies.metrics.registry.register(shadow_log)
    guarded = FailClosedAuthorizer(reactor, shadow, None)
    return ShadowedAuthorizer(reactor, inner, guarded, shadow_log, config.mode is Mode.OBSERVE)


def _shadow_service(dependencies: ChainDependencies) -> IAuthorizer | None:
    config = dependencies.config
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
        return remote_authorizer(dependencies.sockets, other, dependencies.authz_trust, dependencies.behind_upstream)
    except ConfigError as error:
        raise ConfigError("--shadow-authz-url", error.value, error.remedy) from error


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
