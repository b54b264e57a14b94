"""Who decides: an authorizer, and what stands before it, put together for L{egress.service}."""

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
from egress.authz.shadow import AT_ONCE, ShadowedAuthorizer
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

# Outages of an authorizer that are further apart than this, and the time of a question, have nothing to do with each
# other.
_LULL: Final = 60.0


@attrs.define
class AuthorizerChain:
    """What decides on requests.

    @ivar authorizer: what the proxy asks, with all that stands before it.
    @ivar policy: the embedded policy as an authorizer, where it decides.
    @ivar cache: what keeps decisions for reuse, where they are kept.
    @ivar shadow: the policy that is asked without effect, as an authorizer, if there is one.
    @ivar checks: what must hold for decisions to be had, by name.
    @ivar vault: the secrets that decisions put into requests, where there are any.
    @ivar rules: those of the policy.
    @ivar unattended: what decides, but asks no person.
    """

    authorizer: IAuthorizer
    policy: PolicyAuthorizer | None = None
    cache: CachingAuthorizer | None = None
    shadow: PolicyAuthorizer | None = None
    checks: dict[str, Check] = attrs.field(factory=dict)
    vault: Vault | None = None
    rules: RuleSet | None = None
    without_approver: IAuthorizer = attrs.field(default=attrs.Factory(lambda self: self.authorizer, takes_self=True))

    def use(self, rules: RuleSet | None) -> None:
        """Decide by other rules from now on, where rules decide; otherwise, by new answers alone."""
        if self.cache is not None:
            self.cache.clear()
        if self.policy is not None and rules is not None:
            self.policy.use(rules)
            self.rules = rules

    def use_shadow(self, rules: RuleSet | None) -> None:
        """Compare with other rules from now on, where decisions are compared with rules."""
        if self.shadow is not None and rules is not None:
            self.shadow.use(rules)

    @property
    def secrets(self) -> SecretTable | None:
        """Where the secrets come from that decisions put into requests, where there are any."""
        return None if self.vault is None else self.vault.table

    def use_secrets(self, secrets: SecretTable | None) -> None:
        """Put other secrets into requests from now on, where there are any."""
        if self.vault is not None and secrets is not None:
            self.vault.use(secrets)


@attrs.frozen
class ChainDependencies:
    """What authorizers need of a proxy.

    @ivar sockets: the reactor whose connections send at once.
    @ivar authz_trust: whom to trust as the authorization service.
    @ivar behind_upstream: gives the endpoint through the upstream proxy.
    @ivar log: the audit log, if there is one.
    @ivar secrets: what decisions may put into requests, where there is anything.
    @ivar approvals: asks people.
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
    around: ChainDependencies, own: IAuthorizer | None, rules: RuleSet | None, shadow: RuleSet | None = None
) -> AuthorizerChain:
    """Put together what decides: the application's own authorizer, the rules, or the authorization service.

    @param shadow: rules that are asked without effect.
    @raise egress.config.model.ConfigError: naming what cannot be used, and the remedy.
    """
    deciding = _base(around, own, rules)
    _cached(around, deciding)
    deciding.checks["authorizer"] = deciding.authorizer.check_ready
    deciding.without_approver = deciding.authorizer
    _shadowed(around, deciding, shadow)
    _approvals(around, deciding)
    _credentialed(around, deciding)
    _observing(around, deciding)
    _audited(around, deciding)
    return deciding


def _base(around: ChainDependencies, own: IAuthorizer | None, rules: RuleSet | None) -> AuthorizerChain:
    reactor, config = around.reactor, around.config
    if rules is not None:
        policy = PolicyAuthorizer(rules)
        # Rules answer at once and always.
        return AuthorizerChain(FailClosedAuthorizer(reactor, policy, None), policy, rules=rules)
    retries: Callable[[], int] | None = None
    if own is not None:
        # For authorizers that keep no deadline; the service's own passes first and says more.
        deadline = 2 * config.authz_timeout
        chain = FailClosedAuthorizer(reactor, own, deadline)
    else:
        deadline = config.authz_timeout
        remote = remote_authorizer(around.sockets, config, around.authz_trust, around.behind_upstream)
        chain = FailClosedAuthorizer(reactor, remote, None)
        retries = remote.retries
    breaker = Breaker(config.authz_breaker_failures, _LULL + deadline, random)
    gate = LimitedAuthorizer(reactor, chain, breaker, deadline, config.authz_max_concurrency, config.authz_queue)
    around.metrics.set_authorizer_source(gate.questions, retries)
    return AuthorizerChain(gate)


def _cached(around: ChainDependencies, deciding: AuthorizerChain) -> None:
    """Reuse decisions as the authorizer directs; rules are faster than any cache."""
    config = around.config
    if deciding.policy is None and config.authz_cache is not None:
        kept = DecisionStore(config.authz_cache, config.authz_max_ttl, config.authz_max_stale)
        cache = CachingAuthorizer(around.reactor, deciding.authorizer, kept, config.authz_queue)
        deciding.authorizer = deciding.cache = cache
        around.metrics.set_cache_source(cache.reuse)


def _shadowed(around: ChainDependencies, deciding: AuthorizerChain, rules: RuleSet | None) -> None:
    """Ask a second decider, where the operator wants to compare two."""
    reactor, config = around.reactor, around.config
    if rules is not None:
        deciding.shadow = PolicyAuthorizer(rules)
        shadow: IAuthorizer = deciding.shadow
    elif config.shadow_authz_url is not None:
        other = attrs.evolve(
            config,
            policy=None,
            authz_url=config.shadow_authz_url,
            authz_token=config.shadow_authz_token,
            authz_max_concurrency=AT_ONCE,
        )
        try:
            shadow = remote_authorizer(around.sockets, other, around.authz_trust, around.behind_upstream)
        except ConfigError as error:
            raise ConfigError("--shadow-authz-url", error.value, error.remedy) from error
    else:
        return
    try:
        told = ShadowLog(reactor.seconds, time, config.shadow_log)
    except OSError as error:
        raise ConfigError("--shadow-log", config.shadow_log or "", f"cannot be written to: {error.strerror}") from error
    around.metrics.registry.register(told)
    chain = FailClosedAuthorizer(reactor, shadow, None)
    observing = config.mode is Mode.OBSERVE
    deciding.authorizer = ShadowedAuthorizer(reactor, deciding.authorizer, chain, told, observing)


def _approvals(around: ChainDependencies, deciding: AuthorizerChain) -> None:
    """Have a person decide where what decides says so.

    It stands outside of every deadline and limit of the authorizer: a person takes longer.  Who only observes keeps
    nobody waiting.
    """
    approvals = around.approvals
    if approvals is not None and around.config.mode is Mode.ENFORCE:
        deciding.authorizer = ApprovalAuthorizer(deciding.authorizer, approvals)
        around.metrics.set_approvals_source(lambda: approvals.pending, approvals.counts)


def _credentialed(around: ChainDependencies, deciding: AuthorizerChain) -> None:
    """Fill in the secrets that decisions name; without any, such a decision is none."""
    reactor = around.reactor
    if around.secrets is not None:
        deciding.vault = Vault(around.secrets, reactor, lambda command: run_command(reactor, command))
        deciding.authorizer = SecretInjectingAuthorizer(deciding.authorizer, deciding.vault)
        # Where a secret cannot be had there is no decision, whoever asks.
        deciding.without_approver = SecretInjectingAuthorizer(deciding.without_approver, deciding.vault)


def _observing(around: ChainDependencies, deciding: AuthorizerChain) -> None:
    """Let through what would be refused, where the operator wants to see first what would be."""
    if around.config.mode is Mode.OBSERVE:
        deciding.authorizer = ObservingAuthorizer(deciding.authorizer)
        deciding.without_approver = ObservingAuthorizer(deciding.without_approver)
    around.metrics.set_observing(around.config.mode is Mode.OBSERVE)


def _audited(around: ChainDependencies, deciding: AuthorizerChain) -> None:
    """Let nothing leave that cannot be put on record, where the operator wants it so."""
    log = around.log
    if log is not None and around.config.audit_failure is AuditFailure.DENY:
        audited = AuditRequiringAuthorizer(deciding.authorizer, lambda: log.fault)
        deciding.authorizer = audited
        deciding.checks["audit"] = audited.check_audit
