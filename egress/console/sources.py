"""The sources of the data that the console shows, independent of the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IReactorTime

from egress.admin.api import AdminBackend
from egress.admin.policies import PolicyBackend
from egress.checks.server import ServerChecks
from egress.config.model import ProxyConfig
from egress.console.reads import StoreReads
from egress.observability.health import Page as MetricsPage
from egress.observability.history import History
from egress.runtime.threads import Offload
from egress.tls.issuer import CertificateAuthority


@attrs.frozen(kw_only=True)
class ConsoleSources:
    """The sources of one console.

    @ivar clock: the reactor, for timers.
    @ivar wall_clock: returns the seconds since the epoch.
    @ivar config: the configuration of the proxy.
    @ivar backend: approvals and explanations, as the admin API provides them.
    @ivar reads: reads of the audit store; C{None} without an audit store.
    @ivar live_reads: a second reader, which never waits for L{reads}; C{None} without an audit store.
    @ivar metrics: renders the metrics of all processes in the text format.
    @ivar checks: runs the readiness checks of all processes.
    @ivar reload: reloads the policy and the certificates; its Deferred fails with
        L{egress.config.model.ConfigError}.
    @ivar authority: returns the CA that signs now.
    @ivar history: the history of the metrics.
    @ivar update_history: adds the current metrics to the history.
    @ivar policies: the policies that are in use.
    @ivar in_thread: runs one call after the other in a thread, for work that takes time.
    @ivar listening: returns the addresses of the listeners of clients, in the order of the configuration.
    @ivar server_checks: the checks of the proxy; C{None}: there are none.
    """

    clock: IReactorTime
    wall_clock: Callable[[], float]
    config: ProxyConfig
    backend: AdminBackend
    reads: StoreReads | None
    live_reads: StoreReads | None
    metrics: Callable[[], MetricsPage | Deferred[MetricsPage]]
    checks: Callable[[], Deferred[dict[str, str]]]
    reload: Callable[[], Deferred[None]]
    authority: Callable[[], CertificateAuthority]
    policies: PolicyBackend
    in_thread: Offload
    history: History = attrs.field(factory=History)
    update_history: Callable[[], Deferred[None]] = lambda: succeed(None)
    listening: Callable[[], Deferred[tuple[IAddress, ...]]] = lambda: succeed(())
    server_checks: ServerChecks | None = None

    @property
    def policy_file(self) -> Path | None:
        """The file of the embedded policy, if it decides."""
        policy = self.config.policy
        return policy if self.config.authz_url is None and isinstance(policy, Path) else None
