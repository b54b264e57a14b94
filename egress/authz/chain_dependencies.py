"""The parts of a proxy on which the authorizer chain depends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from egress.authz.approvals import Approvals
    from egress.authz.remote.client import CreateEndpoint
    from egress.authz.secrets.table import SecretTable
    from egress.config.model import ProxyConfig
    from egress.observability.audit_log import JsonLinesAudit
    from egress.observability.metrics import Metrics
    from egress.store.sink import StoreAudit
    from egress.tls.reloadable_trust import ReloadableTrust
    from egress.transport.reactor import IEgressReactor


@attrs.frozen(kw_only=True)
class ChainDependencies:
    """The parts of a proxy on which authorizers depend.

    @ivar reactor: the reactor.
    @ivar sockets: the reactor whose connections write immediately.
    @ivar config: the configuration.
    @ivar authz_trust: the trust store for the authorization service.
    @ivar behind_upstream: creates an endpoint through the upstream proxy.
    @ivar metrics: the metrics.
    @ivar log: the audit log, if there is one.
    @ivar store: the sink of the audit store, if there is one.
    @ivar secrets: the secrets that decisions can put into requests, if there are any.
    @ivar approvals: the pending approvals and the grants, if there is an approver.
    @ivar breaker_changed: is called when the circuit breaker opens or closes (L{LimitedAuthorizer}).
    @ivar processes: the number of processes of this proxy that serve clients.
    @ivar policy_fault: returns why the embedded policy may not be used; C{None}: it may always be used.
    @ivar shadow_fault: the same for the shadow policy.
    """

    reactor: IEgressReactor
    sockets: IEgressReactor
    config: ProxyConfig
    authz_trust: ReloadableTrust
    behind_upstream: CreateEndpoint
    metrics: Metrics
    log: JsonLinesAudit | None
    store: StoreAudit | None = None
    secrets: SecretTable | None = None
    approvals: Approvals | None = None
    breaker_changed: Callable[[str | None], object] = lambda cause: None
    processes: int = 1
    policy_fault: Callable[[], str | None] | None = None
    shadow_fault: Callable[[], str | None] | None = None
