"""The worker program, which C{twistd egressproxy --workers N} runs N times.

A worker receives its specification from the supervisor, on a socket that it inherits together with the listening
sockets. It drains when the supervisor tells it to, or on a SIGTERM that a process manager sends to all processes, and
exits immediately when the supervisor has exited.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, TextIO

from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.error import ReactorNotRunning
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from egress.config.model import ConfigError
from egress.model.log_format import LogThreshold
from egress.observability.health import Readiness
from egress.observability.worker_aggregation import to_json
from egress.runtime.collector import spare_started_objects
from egress.runtime.global_reactor import global_reactor
from egress.runtime.log_lines import json_observer
from egress.runtime.log_output import above
from egress.runtime.role import Role
from egress.runtime.signals import reload_and_log
from egress.service import ABORT_SECONDS, EgressProxyService
from egress.transport.tcp_reactor import write_through
from egress.workers.accept_balance import BalancedReactor, ConnectionCounts
from egress.workers.ipc import (
    ABORT,
    ADD_GRANT,
    ANNOUNCE_GRANT,
    CHECKS,
    CONFIRM_REVOCATION,
    CONTROL,
    DRAIN,
    EXPLAIN,
    FAILED,
    FIRST_LISTENER,
    GRANTS_IN_FORCE,
    METRICS,
    NOTICE,
    PENDING_APPROVALS,
    POLICIES,
    POLICY_TEXTS,
    READY,
    RECORD_CHANGE,
    RELOAD,
    RESOLVE_APPROVAL,
    RESOLVE_ELSEWHERE,
    REVOKE,
    REVOKE_DECISIONS,
    REVOKE_ELSEWHERE,
    SERVE,
    SHARED,
    Channel,
    WorkerSpec,
    adopt,
    notification,
    receive_spec,
    send_frame,
)


class Worker:
    """A proxy on inherited sockets.

    @param proxy: the proxy.
    @param leave: ends the process in any state.
    @param stops_accepting: is called when it is about to drain.
    """

    def __init__(
        self,
        reactor: Any,
        proxy: EgressProxyService,
        leave: Callable[[], object],
        stops_accepting: Callable[[], object] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._proxy = proxy
        self._leave = leave
        self._stops_accepting = stops_accepting
        readiness = Readiness(reactor, proxy.checks)
        backend = proxy.admin_backend
        handlers: dict[str, Callable[..., object]] = {
            METRICS: self._metrics,
            CHECKS: readiness.run,
            PENDING_APPROVALS: backend.pending_approvals,
            RESOLVE_APPROVAL: backend.resolve_for_parent,
            RESOLVE_ELSEWHERE: backend.resolve_elsewhere_for_parent,
            ADD_GRANT: backend.add_grant_for_parent,
            ANNOUNCE_GRANT: backend.announce_grant_for_parent,
            GRANTS_IN_FORCE: backend.grants_in_force_for_parent,
            REVOKE: backend.revoke_for_parent,
            REVOKE_ELSEWHERE: backend.revoke_elsewhere_for_parent,
            REVOKE_DECISIONS: backend.revoke_decisions_for_parent,
            CONFIRM_REVOCATION: backend.confirm_revocation_for_parent,
            EXPLAIN: backend.explain_for_parent,
            RECORD_CHANGE: backend.record_for_parent,
            POLICIES: proxy.policies.in_use_for_parent,
            POLICY_TEXTS: proxy.policies.texts_for_parent,
        }
        self.channel = Channel(self._notified, self._parent_lost, handlers)
        proxy.notices.send_to(lambda notice: self.channel.send(NOTICE, notice.to_text()))
        backend.report(lambda word, about: self.channel.send(SHARED, json.dumps([word, about])))

    def start(self) -> None:
        """Tell the supervisor, once the reactor runs, that the worker is ready to serve."""
        self._reactor.addSystemEventTrigger("before", "shutdown", self._proxy.stopService)
        self.channel.send(READY)

    def _serve(self) -> None:
        self._proxy.startService()
        self._proxy.listening().addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.channel.send(FAILED, failure.getErrorMessage())
        # After this message the channel closes, and the process ends.
        self.channel.close()

    def terminated(self, number: int, frame: object) -> None:
        """Drain, on SIGTERM."""
        self._reactor.callFromThread(self._end)

    def _end(self) -> None:
        self._stops_accepting()
        # A process manager's signal and the supervisor's message may both arrive.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _notified(self, word: str, text: str) -> None:
        if word == SERVE:
            self._serve()
        elif word == DRAIN:
            self._end()
        elif word == ABORT:
            self._proxy.abort()
        elif word == RELOAD:
            reload_and_log(self._proxy.reload)

    def _metrics(self) -> object:
        return to_json(self._proxy.metrics.registry.collect())

    def _parent_lost(self) -> None:
        # A restarted supervisor needs the ports, and no supervisor remains that could end this process later.
        self._reactor.callLater(ABORT_SECONDS, self._leave)
        self._end()
        self._proxy.abort()


def endpoints(reactor: Any, spec: WorkerSpec, balanced: Any) -> list[AdoptedStreamServerEndpoint]:
    """Return the endpoints for the inherited sockets.

    @param balanced: a reactor for the sockets that all workers share.
    """
    return [
        AdoptedStreamServerEndpoint(balanced if shared else reactor, FIRST_LISTENER + index, family)  # type: ignore[no-untyped-call]
        for index, (family, shared) in enumerate(zip(spec.families, spec.shared, strict=True))
    ]


def _log_to(stream: TextIO, threshold: LogThreshold) -> None:
    """Log to the supervisor, which reads the records and writes them in its own format."""
    # Printed output goes there, too: standard output may be the audit log.
    globalLogBeginner.beginLoggingTo([above(threshold, json_observer(stream))])


def main() -> None:
    """Run a worker on the descriptors that L{egress.workers.service} passes."""
    control = socket.socket(fileno=CONTROL)
    spec = receive_spec(control)
    # A terminal or a process manager sends these to the supervisor, too.  The supervisor then sends messages to the
    # worker.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _log_to(sys.stderr, spec.config.log_level)
    import_module(spec.reactor).install()
    reactor = global_reactor()
    counts = ConnectionCounts(FIRST_LISTENER + len(spec.families), spec.config.workers)
    writes_through = write_through(reactor)
    try:
        inherited = endpoints(writes_through, spec, BalancedReactor(writes_through, reactor, counts, spec.number))
        proxy = EgressProxyService(
            reactor,
            spec.config,
            role=Role(
                inherited,
                spec.approval_key,
                worker=spec.number,
                has_writer=True,
                is_replacement=spec.is_replacement,
            ),
        )
    except ConfigError as error:
        send_frame(control, notification(FAILED, str(error)))
        raise SystemExit(1) from error
    worker = Worker(reactor, proxy, lambda: os._exit(1), partial(counts.leave, spec.number))
    adopt(reactor, control, worker.channel)

    def start() -> None:
        # Replace the reactor's handler, which logs an error when the supervisor's message comes first.
        signal.signal(signal.SIGTERM, worker.terminated)
        spare_started_objects()
        worker.start()

    reactor.callWhenRunning(start)
    reactor.run()


if __name__ == "__main__":
    main()
