"""The endpoint of the admin API with the console: one site for programs and for browsers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.server import Site

from egress.admin.api import AdminBackend, admin_site
from egress.config.model import ProxyConfig
from egress.console.reads import StoreReads
from egress.console.sessions import Sessions
from egress.console.site import ConsoleResource
from egress.console.sources import ConsoleSources
from egress.observability.health import Page
from egress.runtime.threads import Threads
from egress.store.location import store_to_read
from egress.tls.issuer import CertificateAuthority


class AdminEndpointSite:
    """The site, with the threads that read the audit store for it.

    @param reactor: the reactor.
    @param config: the configuration.
    @param backend: the operations of the admin API.
    @param metrics: see L{ConsoleSources}.
    @param checks: see L{ConsoleSources}.
    @param reload: see L{ConsoleSources}.
    @param authority: see L{ConsoleSources}.
    @ivar site: the server factory.
    """

    site: Site

    def __init__(
        self,
        reactor: Any,
        config: ProxyConfig,
        backend: AdminBackend,
        *,
        metrics: Callable[[], Page | Deferred[Page]],
        checks: Callable[[], Deferred[dict[str, str]]],
        reload: Callable[[], Deferred[None]],
        authority: Callable[[], CertificateAuthority],
    ) -> None:
        self._threads: list[Threads] = []
        self._reads: list[StoreReads] = []
        sources = ConsoleSources(
            clock=reactor,
            wall_clock=time.time,
            config=config,
            backend=backend,
            reads=self._open(reactor, config, "console"),
            live_reads=self._open(reactor, config, "live"),
            metrics=metrics,
            checks=checks,
            reload=reload,
            authority=authority,
        )
        sessions = Sessions(time.monotonic, config.admin_token, config.admin_viewer_token)
        console = ConsoleResource(sources, sessions, config.admin_hosts)
        self.site = admin_site(reactor, backend, config.admin_token, console)

    def _open(self, reactor: Any, config: ProxyConfig, name: str) -> StoreReads | None:
        location = config.audit_store
        if location is None:
            return None
        threads = Threads(reactor, name, 1)
        self._threads.append(threads)
        reads = StoreReads(lambda: store_to_read(location), threads)
        self._reads.append(reads)
        return reads

    def stop(self) -> None:
        """Let the threads close the audit store, and end."""
        for reads, threads in zip(self._reads, self._threads, strict=True):
            reads.stop().addBoth(_stopped, threads)


def _stopped(_: object, threads: Threads) -> None:
    threads.stop()
