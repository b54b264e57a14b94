"""Several processes behind one C{twistd}: the parent, who serves no client.

It binds the ports, starts the workers, starts anew those that end, and tells them when to stop.  What they count and
find out is told here as if it were of one.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from prometheus_client import Counter, Gauge
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, fail, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError, ConnectionClosed
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.admin.api import admin_site
from egress.config.model import AuditFailure, ConfigError, ProxyConfig
from egress.model.errors import WorkerFailed
from egress.observability.audit_log import STDOUT, JsonLinesAudit
from egress.observability.collectors import SourceCounter
from egress.observability.health import Coalesced, Page, ops_site_of
from egress.observability.metrics import process_registry
from egress.observability.worker_aggregation import WorkerMetrics, from_json, merge_checks
from egress.resources import LoadedResources, load_resources
from egress.runtime.ports import metrics_endpoint
from egress.runtime.reload import Reloader
from egress.runtime.threads import Threads
from egress.service import CUT_SECONDS, EgressProxyService, admin_endpoint
from egress.tls.ca_source import ca_source
from egress.tls.ca_watch import CaWatch
from egress.tls.issuer import CertificateAuthority
from egress.workers.admin_backend import WorkerAdminBackend
from egress.workers.ipc import CHECKS, NUMBERS, WorkerSpec
from egress.workers.shared_sockets import MakeSocket, SharedListeners, make_stream
from egress.workers.supervisor import SocketPair, State, WorkerSlot

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IListeningPort

_log = Logger()

# What a worker has for its answer: numbers are there at once, a check has five seconds of its own.
_NUMBERS_WITHIN: Final = 1.0
_CHECKS_WITHIN: Final = 6.0
# What a worker has for its end, beyond the time for its exchanges.
_GRACE: Final = 3.0
_KEY_BYTES: Final = 32


class WorkerPool(Service):
    """A proxy of several processes, in place of an L{EgressProxyService}.

    Everything that can be wrong with the configuration is found on construction, and a CA is made if there is none.

    @ivar authorizer: an authorizer like that of each worker, for its name.
    """

    def __init__(
        self,
        reactor: Any,
        config: ProxyConfig,
        make_socket: MakeSocket = make_stream,
        socketpair: SocketPair = socket.socketpair,
    ) -> None:
        """Prepare the workers.

        @raise ConfigError: naming what cannot be used, and the remedy.
        """
        self._reactor = reactor
        self._config = self._orders = config
        self._socketpair = socketpair
        self._listeners = SharedListeners(
            [entrance.endpoint for entrance in config.listen], config.workers, make_socket
        )
        model = EgressProxyService(reactor, attrs.evolve(config, workers=1))
        self.authorizer = model.authorizer
        # Each worker has its own, which signs; this one reminds, for all.
        self._ca = CaWatch(reactor, ca_source(config), model.certificate_authority, lambda _: None)
        # It has found out what it can, and lets go of its files.
        model.stopService()
        self._posts: list[WorkerSlot] = []
        self._ports: list[IListeningPort] = []
        self._result: tuple[IAddress, ...] | Failure | None = None
        self._audit: JsonLinesAudit | None = None
        if config.audit_log is not None and not _is_file(config.audit_log):
            if config.audit_failure is AuditFailure.DENY:
                # A worker does not learn what becomes of its lines.
                raise ConfigError("--audit-failure", "deny", "with several workers, have the audit log in a file")
            # Several processes can only append to a file without mixing their lines up: the workers write to us.
            self._audit = JsonLinesAudit(config.audit_log)
            self._orders = attrs.evolve(config, audit_log=STDOUT)
        self._reads = Threads(reactor, "files", 1)
        self._reading = Reloader(DeferredLock(), self._reads, self._read_files, self._tell_to_read)
        self._desk = WorkerAdminBackend(self._running, time.time)
        self._approval_key = os.urandom(_KEY_BYTES)
        self._numbers = Coalesced(self._ask_numbers)
        self._checks = Coalesced(self._ask_checks)
        registry = process_registry()
        workers = Gauge("egress_workers", "Processes that serve clients.", ["state"], registry=registry)
        workers.labels("configured").set(config.workers)
        workers.labels("running").set_function(lambda: len(self._running()))
        self._restarts = Counter("egress_worker_restarts", "Workers started in place of others.", registry=registry)
        lost = SourceCounter("egress_audit_lines_lost", "Audit log lines that could not be written.")
        lost.source = lambda: 0 if self._audit is None else self._audit.lost
        registry.register(lost)
        self._totals = WorkerMetrics(registry)

    @property
    def certificate_authority(self) -> CertificateAuthority:
        """The CA that signs now, which clients must trust."""
        return self._ca.authority

    def _running(self) -> list[WorkerSlot]:
        return [post for post in self._posts if post.state is State.RUNNING]

    # -- starting

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        """Learn the addresses on which the workers listen, once this is started.

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

    def _bind(self) -> None:
        try:
            self._listeners.bind()
        except CannotListenError:
            self._give_up(Failure())  # type: ignore[no-untyped-call]
            return
        metrics = metrics_endpoint(self._reactor, self._config.metrics_interface, self._config.metrics_port)
        if metrics is not None:
            site = ops_site_of(self._reactor, self._numbers.ask, self._checks.ask)
            metrics.listen(site).addCallbacks(self._ports.append, self._give_up)
        admin = admin_endpoint(self._reactor, self._config)
        if admin is not None and self._result is None:
            desk = admin_site(self._reactor, self._desk, self._config.admin_token)
            admin.listen(desk).addCallbacks(self._ports.append, self._give_up)

    def _give_up(self, failure: Failure) -> None:
        _log.critical("the proxy cannot start: {reason}", reason=failure.getErrorMessage())
        self._result = failure
        for post in self._posts:
            post.kill()
        self._stop_listening()

    def _start(self) -> None:
        for index in range(self._config.workers):
            sockets = self._listeners.of(index)
            orders = WorkerSpec(
                number=index + 1,
                reactor=type(self._reactor).__module__,
                config=self._orders,
                families=tuple(family for family, _ in sockets),
                approval_key=self._approval_key,
            )
            self._posts.append(self._post(orders, [descriptor for _, descriptor in sockets]))
        try:
            # All at once: it is their imports that take time.
            for post in self._posts:
                post.begin()
            for post in self._posts:
                post.wait_ready()
            self._listeners.listen()
        except (WorkerFailed, CannotListenError):
            self._give_up(Failure())  # type: ignore[no-untyped-call]
        except OSError as error:
            fault = WorkerFailed(f"a worker cannot be started: {error.strerror}")
            self._give_up(Failure(fault))  # type: ignore[no-untyped-call]
        else:
            for post in self._posts:
                post.serve()
            self._result = self._listeners.addresses

    def _post(self, orders: WorkerSpec, descriptors: Sequence[int]) -> WorkerSlot:
        name = str(orders.number)
        return WorkerSlot(
            self._reactor,
            orders,
            descriptors,
            wrote=lambda line: self._wrote(name, line),
            left=lambda: self._totals.fold(name),
            restarted=self._restarts.inc,
            socketpair=self._socketpair,
            serves=self._desk.announce_grants,
        )

    def _wrote(self, worker: str, line: bytes | None) -> None:
        """What workers write to standard output is the audit log, or nothing that was meant to be there."""
        if self._audit is None:
            if line:
                _log.info("worker {number}: {text}", number=worker, text=line.decode("utf-8", "replace"))
        elif line is None:
            self._audit.lose(OSError("a worker ended in the middle of a line"))
        else:
            self._audit.write_line(line + b"\n")

    def reload(self) -> Deferred[None]:
        """Have the workers read the files of the configuration anew; see L{EgressProxyService.reload}.

        @return: fires when they are told to, or fails with L{ConfigError}, which names what cannot be used, and the
            remedy; then no worker reads it.
        """
        return self._reading.begin()

    def _read_files(self) -> LoadedResources:
        return load_resources(self._config, embedded=self._config.authz_url is None)

    def _tell_to_read(self, _: LoadedResources) -> None:
        for post in self._posts:
            post.reload()

    # -- telling

    def _ask_numbers(self) -> Deferred[Page]:
        def answered(metrics: Any, name: str) -> None:
            self._totals.update(name, from_json(metrics))

        def failed(failure: Failure, name: str) -> None:
            if isinstance(failure.value, ConnectionClosed):
                # It is about to be gone.
                return
            # Of one that is slow the earlier numbers count.
            self._totals.mark_unresponsive(name)
            if isinstance(failure.value, TookTooLong):
                _log.warn("worker {number} does not tell its numbers in time", number=name)
            else:
                _log.failure("worker {number} tells no numbers", failure, number=name)

        asking = [
            post.ask(NUMBERS, _NUMBERS_WITHIN).addCallback(answered, post.name).addErrback(failed, post.name)
            for post in self._running()
        ]
        return DeferredList(asking).addCallback(lambda _: self._totals.render())

    def _ask_checks(self) -> Deferred[dict[str, str]]:
        running = self._running()
        asking = [post.ask(CHECKS, _CHECKS_WITHIN).addErrback(lambda _: None) for post in running]

        def found(results: list[tuple[bool, Any]]) -> dict[str, str]:
            names = [post.name for post in running]
            return merge_checks({name: checks for name, (_, checks) in zip(names, results, strict=True)})

        return DeferredList(asking).addCallback(found)

    # -- stopping

    def _stop_listening(self) -> Deferred[Any]:
        self._listeners.close()
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)

    def stopService(self) -> Deferred[Any]:
        """Stop listening, have the workers drain, and end those that do not.

        @return: fires when nothing is left.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._ca.stop()
        patience = self._config.limits.drain_timeout + CUT_SECONDS + _GRACE
        stopping = DeferredList([post.stop(patience) for post in self._posts])

        def closed(_: object) -> None:
            self._reads.stop()
            if self._audit is not None:
                self._audit.close()

        return DeferredList([self._stop_listening(), stopping.addCallback(closed)])


def _is_file(path: str) -> bool:
    """Whether an audit log is a file of its own name, or will be made as one."""
    if path == STDOUT or path.startswith(("/dev/", "/proc/")):
        # /dev/stdout is another file in each process.
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True
