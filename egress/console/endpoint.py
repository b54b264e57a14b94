"""The endpoint of the admin API with the console: one site for programs and for browsers."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.web.server import Site

from egress.admin.api import AdminBackend, admin_site
from egress.admin.policies import PolicyBackend
from egress.checks.network import DryRun
from egress.checks.server import ServerChecks
from egress.config.model import ProxyConfig
from egress.console.reads import StoreReads
from egress.console.sessions import Sessions
from egress.console.site import ConsoleResource
from egress.console.sources import ConsoleSources
from egress.observability.health import Page
from egress.observability.sampler import Sampler
from egress.runtime.role import DRY_RUN
from egress.runtime.threads import Threads
from egress.store.location import store_to_read
from egress.tls.issuer import CertificateAuthority

HISTORY: Final = "metrics-history.json"
"""The file with the history of the metrics, in the directory of the CA."""

_CONTACTS: Final = 4


class AdminEndpointSite:
    """The site, with the threads that read the audit store for it.

    @param reactor: the reactor.
    @param config: the configuration.
    @param backend: the operations of the admin API.
    @param metrics: see L{ConsoleSources}.
    @param checks: see L{ConsoleSources}.
    @param reload: see L{ConsoleSources}.
    @param authority: see L{ConsoleSources}.
    @param policies: see L{ConsoleSources}.
    @param listening: see L{ConsoleSources}.
    @param service: makes a proxy that serves no client, for the check of the authorizer.
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
        policies: PolicyBackend,
        listening: Callable[[], Deferred[tuple[IAddress, ...]]],
        service: Callable[..., DryRun],
    ) -> None:
        self._threads: list[Threads] = []
        self._reads: list[StoreReads] = []
        self._files = Threads(reactor, "console-files", 1)
        self._sampler = Sampler(reactor, time.time, metrics, offload=self._files, path=history_path(config))
        self._work = Threads(reactor, "console-work", 1)
        self._contacts = Threads(reactor, "console-checks", _CONTACTS)
        self._checks = ServerChecks(reactor, config, partial(service, reactor, role=DRY_RUN), self._contacts)
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
            history=self._sampler.history,
            update_history=self._sampler.read,
            policies=policies,
            in_thread=self._work,
            listening=listening,
            server_checks=self._checks,
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
        reads = StoreReads(lambda: store_to_read(location, config.audit_store_password), threads)
        self._reads.append(reads)
        return reads

    def start(self) -> None:
        """Begin to read the metrics; the site needs this when it begins to listen."""
        self._sampler.start()

    def stop(self) -> None:
        """Stop reading the metrics, and let the threads close the audit store, and end."""
        self._sampler.stop()
        self._files.stop()
        self._work.stop()
        self._checks.stop()
        self._contacts.stop()
        for reads, threads in zip(self._reads, self._threads, strict=True):
            reads.stop().addBoth(_stopped, threads)


def history_path(config: ProxyConfig) -> Path | None:
    """Return the file with the history of the metrics; C{None} if the proxy has no directory of its own."""
    return config.ca_dir / HISTORY if config.ca_cert is None or config.ca_dir.is_dir() else None


def _stopped(_: object, threads: Threads) -> None:
    threads.stop()
