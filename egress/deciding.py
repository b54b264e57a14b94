"""Who decides: an authorizer, and what stands before it, put together for L{egress.service}."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING, Final

import attrs

from egress.authz.audited import AuditedAuthorizer
from egress.authz.breaker import Breaker
from egress.authz.chain import AuthorizationChain
from egress.authz.command import run_command
from egress.authz.credentials import CredentialedAuthorizer
from egress.authz.gate import AuthorizationGate
from egress.authz.local import LocalAuthorizer
from egress.authz.remote import CreateEndpoint, remote_authorizer
from egress.authz.secret_table import SecretTable
from egress.authz.vault import Vault
from egress.config import AuditFailure, ProxyConfig
from egress.interfaces import IAuthorizer, IEgressReactor
from egress.ops.audit import JsonLinesAudit
from egress.ops.health import Check
from egress.ops.metrics import Metrics

if TYPE_CHECKING:
    from egress.ca.current import CurrentTrust
    from egress.policy.rules import RuleSet

# Outages of an authorizer that are further apart than this, and the time of a question, have nothing to do with each
# other.
_LULL: Final = 60.0


@attrs.define
class Deciding:
    """What decides on requests.

    @ivar authorizer: what the proxy asks, with all that stands before it.
    @ivar policy: the embedded policy as an authorizer, where it decides.
    @ivar checks: what must hold for decisions to be had, by name.
    @ivar vault: the secrets that decisions put into requests, where there are any.
    """

    authorizer: IAuthorizer
    policy: LocalAuthorizer | None = None
    checks: dict[str, Check] = attrs.field(factory=dict)
    vault: Vault | None = None

    def use(self, rules: RuleSet | None) -> None:
        """Decide by other rules from now on, where rules decide."""
        if self.policy is not None and rules is not None:
            self.policy.use(rules)

    def use_secrets(self, secrets: SecretTable | None) -> None:
        """Put other secrets into requests from now on, where there are any."""
        if self.vault is not None and secrets is not None:
            self.vault.use(secrets)


@attrs.frozen
class Surroundings:
    """What authorizers need of a proxy.

    @ivar sockets: the reactor whose connections send at once.
    @ivar authz_trust: whom to trust as the authorization service.
    @ivar behind_upstream: gives the endpoint through the upstream proxy.
    @ivar log: the audit log, if there is one.
    @ivar secrets: what decisions may put into requests, where there is anything.
    """

    reactor: IEgressReactor
    sockets: IEgressReactor
    config: ProxyConfig
    authz_trust: CurrentTrust
    behind_upstream: CreateEndpoint
    metrics: Metrics
    log: JsonLinesAudit | None
    secrets: SecretTable | None = None


def deciding_by(around: Surroundings, own: IAuthorizer | None, rules: RuleSet | None) -> Deciding:
    """Put together what decides: the application's own authorizer, the rules, or the authorization service.

    @raise egress.config.ConfigError: naming what cannot be used, and the remedy.
    """
    deciding = _base(around, own, rules)
    deciding.checks["authorizer"] = deciding.authorizer.check_ready
    _credentialed(around, deciding)
    _audited(around, deciding)
    return deciding


def _base(around: Surroundings, own: IAuthorizer | None, rules: RuleSet | None) -> Deciding:
    reactor, config = around.reactor, around.config
    if rules is not None:
        policy = LocalAuthorizer(rules)
        # Rules answer at once and always.
        return Deciding(AuthorizationChain(reactor, policy, None), policy)
    retries: Callable[[], int] | None = None
    if own is not None:
        # For authorizers that keep no deadline; the service's own passes first and says more.
        deadline = 2 * config.authz_timeout
        chain = AuthorizationChain(reactor, own, deadline)
    else:
        deadline = config.authz_timeout
        remote = remote_authorizer(around.sockets, config, around.authz_trust, around.behind_upstream)
        chain = AuthorizationChain(reactor, remote, None)
        retries = remote.retries
    breaker = Breaker(config.authz_breaker_failures, _LULL + deadline, random)
    gate = AuthorizationGate(reactor, chain, breaker, deadline, config.authz_max_concurrency, config.authz_queue)
    around.metrics.watch_questions(gate.questions, retries)
    return Deciding(gate)


def _credentialed(around: Surroundings, deciding: Deciding) -> None:
    """Fill in the secrets that decisions name; without any, such a decision is none."""
    reactor = around.reactor
    if around.secrets is not None:
        deciding.vault = Vault(around.secrets, reactor, lambda command: run_command(reactor, command))
        deciding.authorizer = CredentialedAuthorizer(deciding.authorizer, deciding.vault)


def _audited(around: Surroundings, deciding: Deciding) -> None:
    """Let nothing leave that cannot be put on record, where the operator wants it so."""
    log = around.log
    if log is not None and around.config.audit_failure is AuditFailure.DENY:
        audited = AuditedAuthorizer(deciding.authorizer, lambda: log.fault)
        deciding.authorizer = audited
        deciding.checks["audit"] = audited.check_audit
