"""Tests for L{egress.workers.worker}."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import twisted.internet
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError, ConnectionDone, ReactorNotRunning
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.config.notify import NotifySettings
from egress.model.webhook import WebhookTarget
from egress.notify.notice import Notice
from egress.notify.notices import Notices
from egress.observability.metrics import Metrics
from egress.runtime.log_lines import parse_record
from egress.runtime.role import Role
from egress.workers import worker as worker_module
from egress.workers.accept_balance import ConnectionCounts
from egress.workers.ipc import FIRST_LISTENER, WorkerSpec
from egress.workers.worker import Worker, endpoints, main
from tests.lines import FakeLine, WorkerReactor, frame, frames, take_frames, tell
from tests.observability.records import ALLOWED


class FakeBackend:
    """An admin backend that records its calls.

    @ivar send: sends what it learns to the supervisor.
    """

    send: Callable[..., object]

    def report(self, send: Callable[..., object]) -> None:
        """See L{egress.admin.backend.LocalAdminBackend.report}."""
        self.send = send

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments: [name, *arguments]


class FakeProxy:
    """A proxy that records calls."""

    def __init__(self) -> None:
        self.checks = {"ca": lambda: succeed(None)}
        self.admin_backend = FakeBackend()
        self.policies = FakeBackend()
        self.metrics = Metrics()
        self.notices = Notices(Clock(), NotifySettings(url=(WebhookTarget.parse("slack:https://hooks.test/"),)), None)
        self.done: list[str] = []
        self.result: Deferred[Any] = succeed(())

    def startService(self) -> None:
        self.done.append("start")

    def listening(self) -> Deferred[Any]:
        return self.result

    def stopService(self) -> Deferred[None]:
        self.done.append("stop")
        return succeed(None)

    def abort(self) -> None:
        self.done.append("cut")

    def reload(self) -> Deferred[None]:
        self.done.append("reload")
        return succeed(None)


class StoppingReactor(WorkerReactor):
    """A reactor that can be stopped once, as every reactor."""

    stops = 0

    def callFromThread(self, call: Callable[[], object]) -> None:
        call()

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class WorkerTests(SynchronousTestCase):
    """A worker follows notifications, and responds to requests."""

    def setUp(self) -> None:
        self.reactor = StoppingReactor()
        self.proxy = FakeProxy()
        self.left: list[None] = []
        self.worker = Worker(self.reactor, self.proxy, lambda: self.left.append(None))  # type: ignore[arg-type]
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = self.worker.channel
        self.worker.channel.makeConnection(self.transport)
        self.worker.start()

    def say(self, data: bytes) -> None:
        self.worker.channel.dataReceived(data)

    def test_ready_and_then_serving(self) -> None:
        self.assertEqual((take_frames(self.transport), self.proxy.done), ([{"notification": "ready", "text": ""}], []))
        self.say(tell("serve"))
        self.assertEqual((take_frames(self.transport), self.proxy.done), ([], ["start"]))

    def test_sockets_that_cannot_be_used(self) -> None:
        take_frames(self.transport)
        self.proxy.result = fail(CannotListenError("127.0.0.1", 8080, OSError(9, "Bad file descriptor")))
        self.say(tell("serve"))
        (told,) = take_frames(self.transport)
        self.assertEqual(told["notification"], "failed")
        self.assertIn("Bad file descriptor", told["text"])
        self.assertEqual(self.reactor.stops, 1)

    def test_draining(self) -> None:
        self.say(tell("nonsense"))
        self.assertEqual(self.reactor.stops, 0)
        self.say(tell("drain"))
        self.assertEqual(self.reactor.stops, 1)
        # A process manager sent a signal as well.
        self.say(tell("drain"))
        (trigger,) = self.reactor.triggers["before"]["shutdown"]
        trigger[0]()
        self.assertEqual(self.proxy.done, ["stop"])

    def test_aborting(self) -> None:
        self.say(tell("drain") + tell("abort"))
        self.assertEqual((self.reactor.stops, self.proxy.done), (1, ["cut"]))

    def test_notices(self) -> None:
        """What happens in the worker is reported to the supervisor."""
        take_frames(self.transport)
        self.proxy.notices.breaker("the connection failed")
        (told,) = take_frames(self.transport)
        self.assertEqual(told["notification"], "notice")
        self.assertEqual(Notice.from_text(told["text"]).data, {"fault": "the connection failed"})

    def test_other_replicas(self) -> None:
        """What it learns from other replicas goes to the supervisor."""
        take_frames(self.transport)
        self.proxy.admin_backend.send("grant-revoked", {"id": "p"})
        (told,) = take_frames(self.transport)
        self.assertEqual((told["notification"], told["text"]), ("shared", '["grant-revoked", {"id": "p"}]'))

    def test_reloading(self) -> None:
        self.say(tell("reload"))
        self.assertEqual(self.proxy.done, ["reload"])

    def test_terminated(self) -> None:
        self.worker.terminated(signal.SIGTERM, None)
        self.say(tell("drain"))
        self.assertEqual(self.reactor.stops, 2)

    def test_requests(self) -> None:
        self.proxy.metrics.write(ALLOWED)
        take_frames(self.transport)
        self.say(frame(request="checks", id=1) + frame(request="metrics", id=2))
        checks, numbers = take_frames(self.transport)
        self.assertEqual(checks, {"response": {"ca": "ok"}, "id": 1})
        found = {sample[0]: sample[2] for metric in numbers["response"] for sample in metric[3]}
        self.assertEqual(found["egress_sent_bytes_total"], ALLOWED.bytes_sent)

    def test_admin_requests(self) -> None:
        take_frames(self.transport)
        for what, name in (
            ("pending-approvals", "pending_approvals"),
            ("resolve-approval", "resolve_for_parent"),
            ("add-grant", "add_grant_for_parent"),
            ("resolve-elsewhere", "resolve_elsewhere_for_parent"),
            ("announce-grant", "announce_grant_for_parent"),
            ("grants-in-force", "grants_in_force_for_parent"),
            ("revoke", "revoke_for_parent"),
            ("revoke-elsewhere", "revoke_elsewhere_for_parent"),
            ("revoke-decisions", "revoke_decisions_for_parent"),
            ("confirm-revocation", "confirm_revocation_for_parent"),
            ("explain", "explain_for_parent"),
            ("policies", "in_use_for_parent"),
            ("policy-texts", "texts_for_parent"),
        ):
            argument = {} if what == "pending-approvals" else {"argument": "x"}
            self.say(frame(request=what, id=1, **argument))
            self.assertEqual(take_frames(self.transport), [{"response": [name, *argument.values()], "id": 1}])

    def test_parent_ends(self) -> None:
        self.worker.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.reactor.stops, self.proxy.done, self.left), (1, ["cut"], []))
        self.reactor.advance(1)
        self.assertEqual(self.left, [None])


class MainTests(SynchronousTestCase):
    """The program, without a process of its own."""

    def setUp(self) -> None:
        self.line = FakeLine(3)
        self.reactor = StoppingReactor()
        self.ran: list[str] = []
        self.logged = io.StringIO()
        families, shared = (socket.AF_INET, socket.AF_UNIX), (True, False)
        spec = WorkerSpec(1, "tests.installs", ProxyConfig(), families, b"k", shared=shared)
        self.counts = ConnectionCounts.of_new_memory(1)
        self.addCleanup(self.counts.close)
        self.patch(worker_module, "ConnectionCounts", self.attach)
        self.patch(worker_module, "receive_spec", lambda line: spec)
        self.patch(socket, "socket", lambda fileno: self.line if fileno == 3 else self.fail("another one"))
        self.patch(worker_module, "import_module", self.importing)
        self.patch(worker_module, "EgressProxyService", self.make)
        self.patch(signal, "signal", self.handle)
        self.patch(worker_module, "spare_started_objects", lambda: self.ran.append("spared"))
        self.patch(globalLogBeginner, "beginLoggingTo", self.begin)
        self.patch(sys, "stderr", self.logged)
        # Import the module, whether or not a reactor is installed already.
        from twisted.internet import reactor  # noqa: F401

        self.patch(twisted.internet, "reactor", self.reactor)
        self.patch(self.reactor, "run", self.run_reactor)
        self.error: ConfigError | None = None

    def handle(self, number: int, what: Any) -> None:
        name = what.name if isinstance(what, signal.Handlers) else what.__name__
        self.ran.append(f"{signal.Signals(number).name} {name}")

    def attach(self, descriptor: int, workers: int) -> ConnectionCounts:
        self.assertEqual((descriptor, workers), (FIRST_LISTENER + 2, 1))
        return self.counts

    def run_reactor(self) -> None:
        self.ran.append("run")
        for call, arguments, _ in self.reactor.whenRunningHooks:
            call(*arguments)

    def importing(self, name: str) -> Any:
        self.assertEqual(name, "tests.installs")
        return SimpleNamespace(install=lambda: self.ran.append("installed"))

    def begin(self, observers: Any) -> None:
        (observer,) = observers
        log = Logger("worker", observer=observer)
        log.info("one")
        log.info("")

    def make(self, reactor: object, config: ProxyConfig, role: Role) -> FakeProxy:
        self.assertIs(reactor, self.reactor)
        self.assertEqual(role.approval_key, b"k")
        endpoints: Any = role.endpoints
        self.assertEqual([endpoint.fileno for endpoint in endpoints], [FIRST_LISTENER, FIRST_LISTENER + 1])
        if self.error is not None:
            raise self.error
        return FakeProxy()

    def test_run(self) -> None:
        main()
        ignored = ["SIGINT SIG_IGN", "SIGUSR1 SIG_IGN", "SIGHUP SIG_IGN"]
        self.assertEqual(self.ran, [*ignored, "installed", "run", "SIGTERM terminated", "spared"])
        self.assertTrue(self.line.closed)
        (transport,) = self.reactor.transports
        self.assertEqual(frames(transport.value()), [{"notification": "ready", "text": ""}])
        self.counts.join(1)
        self.reactor.channel().stringReceived(b'{"notification": "drain", "text": ""}')
        # The others no longer wait for it.
        self.assertEqual(self.counts[1], -1)
        (line,) = self.logged.getvalue().splitlines()
        record = parse_record(line)
        assert record is not None
        self.assertEqual((record["level"], record["logger"], record["message"]), ("info", "worker", "one"))

    def test_invalid_configuration(self) -> None:
        self.error = ConfigError("--ca-dir", "", "gone")
        with self.assertRaises(SystemExit) as caught:
            main()
        self.assertEqual(caught.exception.code, 1)
        self.assertEqual(frames(self.line.sent), [{"notification": "failed", "text": "--ca-dir: gone"}])

    def test_leaving(self) -> None:
        left: list[int] = []
        self.patch(os, "_exit", left.append)
        main()
        self.reactor.channel().connectionLost(Failure(ConnectionDone()))
        self.reactor.advance(1)
        self.assertEqual(left, [1])


class EndpointsTests(SynchronousTestCase):
    """The inherited sockets."""

    def test_endpoints(self) -> None:
        spec = WorkerSpec(1, "x", ProxyConfig(), (socket.AF_INET6, socket.AF_UNIX), shared=(False, True))
        alone, balanced = WorkerReactor(), WorkerReactor()
        found = endpoints(alone, spec, balanced)
        self.assertEqual([endpoint.reactor for endpoint in found], [alone, balanced])
        self.assertEqual(
            [(endpoint.fileno, endpoint.addressFamily) for endpoint in found],
            [(FIRST_LISTENER, socket.AF_INET6), (FIRST_LISTENER + 1, socket.AF_UNIX)],
        )
