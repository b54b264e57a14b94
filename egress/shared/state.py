"""The shared state of one process: the client of the engine, the key, and the events of other replicas."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from egress.config.model import ConfigError, ProxyConfig
from egress.shared.ca_fingerprints import NAMESPACE, CaComparison, SharedViews
from egress.shared.client import SharedClient
from egress.shared.confirmations import Confirmations
from egress.shared.events import SharedEvents
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import INSTALL, load_hiredis
from egress.transport.reactor import IEgressReactor

if TYPE_CHECKING:
    from egress.tls.reloadable_trust import ReloadableTrust


class SharedState:
    """The shared state of one process.

    @ivar client: the client of the engine.
    @ivar events: the events of other replicas.
    @ivar confirmations: the events that other replicas confirm.
    @ivar ca: the comparison of the CAs of replicas.
    """

    def __init__(
        self,
        client: SharedClient,
        events: SharedEvents,
        confirmations: Confirmations,
        ca: CaComparison,
        *,
        secret: bytes,
    ) -> None:
        self.client = client
        self.events = events
        self.confirmations = confirmations
        self.ca = ca
        self._secret = secret

    def keys(self, namespace: str) -> SharedKeys:
        """Return the keys for a purpose.

        @param namespace: the purpose, such as the name of the authorizer.
        """
        return SharedKeys(self._secret, namespace)

    @property
    def is_ready(self) -> bool:
        """Whether the engine can be used."""
        return self.client.is_ready

    def master(self) -> tuple[str | None, int] | None:
        """Return the master in use, if there is one, and how often it changed; C{None}: there are no sentinels."""
        master, changes = self.client.master, self.client.master_changes
        return None if changes is None else (None if master is None else str(master), changes)

    def start(self) -> None:
        """Connect to the engine, and receive events."""
        self.events.start()
        self.client.start()
        self.ca.start()

    def stop(self) -> Deferred[None]:
        """Tell other replicas, and close the connection to the engine."""
        self.ca.stop()

        def left(_: object) -> None:
            self.events.stop()
            self.client.stop()

        return self.events.leave().addBoth(left)

    def check(self) -> Deferred[str | None]:
        """Return a note for the readiness check: why the engine cannot be used, or the master that sentinels named."""
        master = self.client.master
        return self.client.check() if master is None else succeed(f"the master is {master}")


def shared_state(
    config: ProxyConfig, reactor: IEgressReactor, *, trust: ReloadableTrust, now: Callable[[], float]
) -> SharedState | None:
    """Return the shared state that a configuration describes, if there is one.

    @param trust: the trust store for an engine with TLS.
    @param now: returns the time in seconds since the epoch.
    @raise ConfigError: if hiredis is not installed.
    """
    settings = config.shared
    if settings.location is None or settings.key is None:
        return None
    try:
        load_hiredis()
    except ImportError as error:
        raise ConfigError("--shared", str(settings.location), f"hiredis is not installed: run {INSTALL}") from error
    client = SharedClient(
        reactor,
        settings.location,
        password=settings.password,
        sentinel_password=settings.sentinel_password,
        timeout=settings.timeout,
        trust=trust,
    )
    events = SharedEvents(reactor, client, SharedKeys(settings.key, "events"), now, node=socket.gethostname())
    ca = CaComparison(reactor, SharedViews(client, SharedKeys(settings.key, NAMESPACE), now))
    return SharedState(client, events, Confirmations(reactor, events), ca, secret=settings.key)
