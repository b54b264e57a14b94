"""The supervisor of several worker processes behind one C{twistd}; it serves no client.

It binds the ports, starts the workers, restarts a worker that exits, and tells workers when to stop.  It aggregates
their metrics and checks.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, fail, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError, ConnectionClosed
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress import parts
from egress.admin.grant_setup import approval_key, supervisor_grants
from egress.authz.distribution.setup import ServerRoute
from egress.config.model import STDOUT, AuditFailure, ConfigError, ProxyConfig
from egress.inputs import load_inputs
from egress.model.errors import WorkerFailed
from egress.model.file_access import FileMode
from egress.notify.notice import Notice
from egress.notify.setup import NotifyDependencies, notices_of
from egress.notify.webhook import WebhookRoute
from egress.observability.audit_log import JsonLinesAudit
from egress.observability.health import STOPPING, Coalesced, Page, ops_site_of
from egress.observability.worker_aggregation import WorkerMetrics, from_json, merge_checks
from egress.resources import LoadedResources, Trusts, load_resources, policy_distribution
from egress.runtime.ports import admin_endpoint, metrics_endpoint, settled
from egress.runtime.reload import Reloader
from egress.runtime.role import SUPERVISOR
from egress.runtime.threads import Threads
from egress.service import ABORT_SECONDS, EgressProxyService
from egress.tls.ca_watch import CaWatch
from egress.tls.issuer import CertificateAuthority
from egress.upstream.resolver import resolver_for
from egress.workers.accept_balance import ConnectionCounts
from egress.workers.admin_backend import WorkerAdminBackend
from egress.workers.ipc import CHECKS, METRICS, WorkerSpec
from egress.workers.parent_metrics import parent_metrics
from egress.workers.policies import WorkerPolicies
from egress.workers.shared_sockets import MakeSocket, SharedListeners, make_stream
from egress.workers.supervisor import SocketPair, State, WorkerSlot

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort

    from egress.console.endpoint import AdminEndpointSite

_log = Logger()

# Deadlines of requests to a worker: metrics are returned immediately, a check has five seconds of its own.
_METRICS_WITHIN: Final = 1.0
_CHECKS_WITHIN: Final = 6.0
# Time in which a worker must end, beyond the drain timeout, in seconds.
_GRACE: Final = 3.0
# Threads that look up the webhooks of notifications.
_LOOKUPS: Final = 2


class WorkerPool(Service):
    """A proxy of several processes, in place of an L{egress.service.EgressProxyService}.

    The constructor detects every error in the configuration that a worker would detect, and makes a CA if there is
    none.

    @ivar authorizer_name: the name of the authorizer, for the start message.
    @ivar policies: the policies of the workers, for the admin API.
    @ivar store_fault: the reason why the default audit store is not used; see L{egress.service.EgressProxyService}.
    """

    def __init__(
        self,
        reactor: Any,
        config: ProxyConfig,
        make_socket: MakeSocket = make_stream,
        socketpair: SocketPair = socket.socketpair,
    ) -> None:
        """Prepare the workers.

        @raise ConfigError: naming the invalid value and the fix.
        """
        self._reactor = reactor
        self._config = self._worker_config = config
        self._socketpair = socketpair
        self._listeners = SharedListeners(
            [listener.endpoint for listener in config.listen], config.workers, make_socket
        )
        self._counts = ConnectionCounts.of_new_memory(config.workers)
        self._reads = Threads(reactor, "files", 1)
        fetch_of = parts.key_fetcher(reactor, resolver_for(reactor, config, self._reads))
        inputs = load_inputs(config, SUPERVISOR, own=None, clock=reactor, in_thread=self._reads, fetch_of=fetch_of)
        # The configuration is checked.  Each worker loads the inputs that it uses.
        inputs.close()
        self.authorizer_name = inputs.sources.name
        self.store_fault = inputs.store_fault
        # Each worker watches the CA that it signs with; this one logs the reminders for all.
        self._ca = CaWatch(reactor, inputs.ca_source, inputs.authority, lambda _: None)
        self._slots: list[WorkerSlot] = []
        self._console: AdminEndpointSite | None = None
        self._ports: list[IListeningPort] = []
        self._result: tuple[IAddress, ...] | Failure | None = None
        self._audit: JsonLinesAudit | None = None
        if config.audit_log is not None and not _is_file(config.audit_log):
            if config.audit_failure is AuditFailure.DENY:
                # A worker does not learn whether its lines were written.
                raise ConfigError("--audit-failure", "deny", "with several workers, write the audit log to a file")
            # Several processes can append to a file without mixing their lines, but not to anything else: the workers
            # send their lines to the supervisor.
            self._audit = JsonLinesAudit(config.audit_log)
            self._worker_config = attrs.evolve(
                config, audit_log=STDOUT, audit_log_mode=FileMode.OWNER, audit_log_group=None
            )
        self._reloader = Reloader(DeferredLock(), self._reads, self._load_resources, self._reload_workers)
        shares = config.shared.location is not None
        stored = supervisor_grants(reactor, config)
        self._backend = WorkerAdminBackend(self._running, self._with_clients, time.time, shares=shares, stored=stored)
        self.policies = WorkerPolicies(self._running)
        self._stopping = False
        self._approval_key = approval_key(config, SUPERVISOR) or os.urandom(32)
        self._metrics = Coalesced(self._scrape)
        self._checks = Coalesced(self._run_checks)
        registry, self._restarts = parent_metrics(
            config.workers, lambda: len(self._running()), lambda: 0 if self._audit is None else self._audit.lost
        )
        self._totals = WorkerMetrics(registry)
        self._telemetry = parts.supervisor_telemetry(reactor, config, registry)
        self._trusts = Trusts.of(inputs.resources)
        self._lookups = Threads(reactor, "lookups", _LOOKUPS)
        resolver = resolver_for(reactor, config, self._lookups)
        route = ServerRoute(trust=self._trusts.policy, resolver=resolver, in_thread=self._reads)
        self._distribution = policy_distribution(reactor, config, SUPERVISOR, route, registry=registry)
        notify = NotifyDependencies(
            route=WebhookRoute(
                trust=self._trusts.notify,
                resolver=resolver,
                behind_upstream=parts.upstream_endpoints(reactor, config, self._trusts.origins, resolver),
            ),
            authority=lambda: self._ca.authority,
            registry=registry,
            audits=[] if self._audit is None else [self._audit],
        )
        self._notices = notices_of(reactor, config, SUPERVISOR, notify)

    @property
    def certificate_authority(self) -> CertificateAuthority:
        """The CA that signs now and that clients must trust."""
        return self._ca.authority

    def _running(self) -> list[WorkerSlot]:
        return [slot for slot in self._slots if slot.state is State.RUNNING]

    def _with_clients(self) -> list[WorkerSlot]:
        """Return the slots whose workers have clients, also while they drain."""
        return [slot for slot in self._slots if slot.state in (State.RUNNING, State.STOPPING)]

    # -- starting

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Return the addresses on which the workers listen, once the service is started.

        @return: fires with them, in the order of C{config.listen}; fails when the proxy could not be started.
        """
        if isinstance(self._result, tuple):
            return succeed(self._result)
        return fail(self._result or WorkerFailed("the workers are not started"))

    def privilegedStartService(self) -> None:
        """Bind the ports, which may need privileges."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._bind()

    def startService(self) -> None:
        """Start the workers, without these privileges, and wait until they are ready."""
        super().startService()  # type: ignore[no-untyped-call]
        if not self._listeners.addresses and self._result is None:
            self._bind()
        if self._result is None:
            self._start()
        if isinstance(self._result, tuple):
            self._ca.start()
            self._backend.start()
            self._distribution.start()
            self._notices.start()
            self._telemetry.start()

    def _bind(self) -> None:
        try:
            self._listeners.bind()
        except (CannotListenError, ConfigError):
            self._fail(Failure())  # type: ignore[no-untyped-call]
            return
        metrics = metrics_endpoint(self._reactor, self._config.metrics_interface, self._config.metrics_port)
        if metrics is not None:
            pages = parts.client_pages(self._config, self.listening)
            site = ops_site_of(self._reactor, self._metrics.call, self._checks.call, pages)
            metrics.listen(site).addCallbacks(self._ports.append, self._fail)
        admin = admin_endpoint(self._reactor, self._config)
        if admin is not None and self._result is None:
            self._console = parts.admin_site(
                self._reactor,
                self._config,
                self._backend,
                metrics=self._metrics.call,
                checks=self._checks.call,
                reload=self.reload,
                authority=lambda: self.certificate_authority,
                policies=self.policies,
                listening=self.listening,
                service=EgressProxyService,
            )
            self._console.start()
            admin.listen(self._console.site).addCallbacks(self._ports.append, self._fail)

    def _fail(self, failure: Failure) -> None:
        _log.critical("the proxy cannot start: {reason}", reason=failure.getErrorMessage())
        self._result = failure
        for slot in self._slots:
            slot.kill()
        self._stop_listening()

    def _start(self) -> None:
        for index in range(self._config.workers):
            sockets = self._listeners.of(index)
            spec = WorkerSpec(
                number=index + 1,
                reactor=type(self._reactor).__module__,
                config=self._worker_config,
                families=tuple(family for family, _ in sockets),
                shared=self._listeners.shared,
                approval_key=self._approval_key,
            )
            descriptors = [*(descriptor for _, descriptor in sockets), self._counts.descriptor]
            self._slots.append(self._make_slot(spec, descriptors))
        try:
            # Start all of them before waiting: their imports take the time.
            for slot in self._slots:
                slot.begin()
            for slot in self._slots:
                slot.wait_ready()
            self._listeners.listen()
        except (WorkerFailed, CannotListenError):
            self._fail(Failure())  # type: ignore[no-untyped-call]
        except OSError as error:
            fault = WorkerFailed(f"a worker cannot be started: {error.strerror}")
            self._fail(Failure(fault))  # type: ignore[no-untyped-call]
        else:
            for slot in self._slots:
                slot.serve()
            self._result = self._listeners.addresses

    def _make_slot(self, spec: WorkerSpec, descriptors: Sequence[int]) -> WorkerSlot:
        name = str(spec.number)

        def left() -> None:
            self._counts.leave(spec.number)
            self._totals.fold(name)

        return WorkerSlot(
            self._reactor,
            spec,
            descriptors,
            wrote=lambda line: self._wrote(name, line),
            left=left,
            restarted=self._restarts.inc,
            socketpair=self._socketpair,
            serves=self._backend.announce_grants,
            noticed=lambda text: self._notices.post(Notice.from_text(text), name),
            learned=self._backend.learn,
        )

    def _wrote(self, worker: str, line: bytes | None) -> None:
        """Handle a line that a worker wrote to standard output: an audit line, or else stray output."""
        if self._audit is None:
            if line:
                _log.info("worker {number}: {text}", number=worker, text=line.decode("utf-8", "replace"))
        elif line is None:
            self._audit.lose(OSError("a worker exited in the middle of a line"))
        else:
            self._audit.write_line(line + b"\n")

    def reload(self) -> Deferred[None]:
        """Have the workers reload the files of the configuration; see L{egress.service.EgressProxyService.reload}.

        @return: fires when they are notified, or fails with L{ConfigError}, which names the invalid value and the fix;
            then no worker reloads.
        """
        # Each worker watches the policy, and reports its errors.
        return self._notices.reported(self._reloader.begin, without_policy=True)

    def _load_resources(self) -> LoadedResources:
        return load_resources(self._config, embedded=self._config.authz_url is None)

    def _reload_workers(self, resources: LoadedResources) -> None:
        self._trusts.use(resources)
        self._distribution.forget()
        self._notices.use(resources.notify)
        for slot in self._slots:
            slot.reload()

    # -- aggregating

    def _scrape(self) -> Deferred[Page]:
        def answered(metrics: Any, name: str) -> None:
            self._totals.update(name, from_json(metrics))

        def failed(failure: Failure, name: str) -> None:
            if isinstance(failure.value, ConnectionClosed):
                # The worker is about to end.
                return
            # For a slow worker the earlier counters remain.
            self._totals.mark_unresponsive(name)
            if isinstance(failure.value, TookTooLong):
                _log.warn("worker {number}: metrics request timed out", number=name)
            else:
                _log.failure("worker {number}: metrics request failed", failure, number=name)

        requests = [
            slot.request(METRICS, _METRICS_WITHIN).addCallback(answered, slot.name).addErrback(failed, slot.name)
            for slot in self._with_clients()
        ]
        return DeferredList(requests).addCallback(lambda _: self._totals.render())

    def _run_checks(self) -> Deferred[dict[str, str]]:
        if self._stopping:
            return succeed({"running": STOPPING})
        running = self._running()
        requests = [slot.request(CHECKS, _CHECKS_WITHIN).addErrback(lambda _: None) for slot in running]

        def found(results: list[tuple[bool, Any]]) -> dict[str, str]:
            merged = merge_checks({slot.name: checks for slot, (_, checks) in zip(running, results, strict=True)})
            return self._backend.checked(merged)

        return DeferredList(requests).addCallback(found)

    def readiness(self) -> Deferred[dict[str, str]]:
        """Run the readiness checks; see L{egress.service.EgressProxyService.readiness}."""
        return self._checks.call()

    # -- stopping

    def _stop_listening(self) -> Deferred[Any]:
        self._listeners.close()
        self._counts.close()
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)

    def abort(self) -> None:
        """Abort the connections for which a stop waits."""
        for slot in self._slots:
            slot.abort()

    def stopService(self) -> Deferred[Any]:
        """Stop listening, drain the workers, and kill each worker that does not exit in time.

        Until then, the metrics show the connections that remain.

        @return: fires when everything is closed.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._stopping = True
        self._ca.stop()
        self._distribution.stop()
        self._listeners.close()
        patience = self._config.limits.drain_timeout + ABORT_SECONDS + _GRACE
        stopping = DeferredList([slot.stop(patience) for slot in self._slots])

        def notified(_: object) -> Deferred[None]:
            return settled([self._notices.close(), self._telemetry.stop(), self._backend.stop()])

        def closed(_: object) -> Deferred[Any]:
            self._reads.stop()
            if self._console is not None:
                self._console.stop()
            self._lookups.stop()
            if self._audit is not None:
                self._audit.close()
            return self._stop_listening()

        return stopping.addCallback(notified).addCallback(closed)


def _is_file(path: str) -> bool:
    """Return whether an audit log is a regular file, or will be created as one."""
    if path == STDOUT or path.startswith(("/dev/", "/proc/")):
        # /dev/stdout is a different file in each process.
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True
