"""Tests for L{egress.workers.service}."""

from __future__ import annotations

import errno
import json
import os
import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import AuditFailure, AuthzApi, AuthzBody, ConfigError, Limits, Mode, ProxyConfig
from egress.config.notify import NotifyEvent, NotifySettings
from egress.model.errors import WorkerFailed
from egress.model.webhook import WebhookTarget
from egress.notify.notice import Notice
from egress.notify.notifier import CLOSE_SECONDS
from egress.observability.health import STOPPING
from egress.observability.metrics import Metrics
from egress.observability.worker_aggregation import to_json
from egress.runtime.log_lines import record_of
from egress.runtime.role import Role
from egress.service import EgressProxyService
from egress.tls.ca_rotation import Rotation
from egress.tls.ca_store import CaDirectory
from egress.tls.ca_watch import LOOK_EVERY
from egress.tls.issuer import CA_LIFETIME
from egress.transport.tcp_reactor import BACKLOG
from egress.workers.service import WorkerPool
from tests.certificates import TestCA
from tests.files import make_directory
from tests.lines import FakeLine, WorkerReactor, frame, tell
from tests.observability.browser import Browser
from tests.observability.records import ALLOWED
from tests.observability.test_worker_aggregation import FORWARDED
from tests.threads import at_once
from tests.workers.test_shared_sockets import Network

TARGET = WebhookTarget.parse("slack:https://hooks.test/")


class WorkersTestCase(SynchronousTestCase):
    """Base: two workers in memory."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = WorkerReactor()
        self.network = Network()
        self.directory = make_directory(self)
        self.said = [tell("ready"), tell("ready")]

        def say(line: FakeLine) -> None:
            if self.said:
                line.incoming, line.open = self.said.pop(0), False

        self.reactor.answers = say

    def make(self, **options: Any) -> WorkerPool:
        self.config = config = ProxyConfig(
            ca_dir=self.directory / "ca", **{"workers": 2, "listen": ("tcp:8080",), "metrics_port": 9090, **options}
        )
        return WorkerPool(self.reactor, config, self.network.make, self.reactor.socketpair)  # type: ignore[arg-type]

    def start(self, **options: Any) -> WorkerPool:
        workers = self.make(**options)
        workers.privilegedStartService()
        workers.startService()
        for index in range(len(self.reactor.transports)):
            self.reactor.heard(index)
        return workers

    def ask(self, path: str) -> Browser:
        """Request a page of the metrics port."""
        browser = Browser(self.reactor.tcpServers[0][1])
        browser.ask(path)
        return browser


class ReloadTests(WorkersTestCase):
    """Either all workers reload the files, or none does."""

    def heard(self) -> list[str]:
        return [told["notification"] for index in range(2) for told in self.reactor.heard(index)]

    def test_all(self) -> None:
        policy = self.directory / "policy.toml"
        policy.write_text('version = 1\n[[rules]]\naction = "allow"\n')
        workers = self.start(policy=policy)
        self.successResultOf(workers.reload())
        self.assertEqual(self.heard(), ["reload", "reload"])
        policy.write_text("garbage")
        self.assertEqual(self.failureResultOf(workers.reload(), ConfigError).value.option, "--policy")
        self.assertEqual(self.heard(), [])


class SameErrorsTests(WorkersTestCase):
    """A supervisor finds each error that the single process, or a worker, would find at its start."""

    def errors(self, **options: Any) -> list[tuple[str, str, str]]:
        """Return the error that each kind of process raises."""
        config = ProxyConfig(**{"ca_dir": self.directory / "ca", "workers": 2, **options})

        def whole() -> object:
            return EgressProxyService(self.reactor, attrs.evolve(config, workers=1))  # type: ignore[arg-type]

        def worker() -> object:
            return EgressProxyService(self.reactor, config, role=Role(()))  # type: ignore[arg-type]

        def supervisor() -> object:
            return WorkerPool(self.reactor, config, self.network.make, self.reactor.socketpair)  # type: ignore[arg-type]

        errors = [self.assertRaises(ConfigError, make) for make in (whole, worker, supervisor)]
        return [(error.option, error.value, error.remedy) for error in errors]

    def test_same(self) -> None:
        garbage, missing = self.directory / "garbage", self.directory / "missing"
        garbage.write_text("garbage")
        secret = self.directory / "secret.toml"
        secret.write_text(
            'version = 1\n[[rules]]\naction = "allow"\nhosts = ["a.test"]\nset_headers = { X = "${secret:key}" }\n'
        )
        service, https = {"authz_url": "http://authz.test"}, {"authz_url": "https://authz.test"}
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            # Contradictions that depend on who decides.
            *((field, {field: None}) for field in ("authz_breaker_failures", "authz_cache")),
            ("authz_max_concurrency", {"authz_max_concurrency": 1}),
            # The files that can be reloaded.
            *(("--policy", {"policy": path}) for path in (garbage, missing, secret)),
            *(("--shadow-policy", {"shadow_policy": path}) for path in (garbage, missing)),
            *(("--secrets", {"secrets": path}) for path in (garbage, missing)),
            ("--secrets", {"secrets": missing, **service}),
            *(("--ssl-extra-ca-certs", {"extra_ca_certs": path}) for path in (garbage, missing)),
            *(("--origin-tls", {"origin_tls": path}) for path in (garbage, missing)),
            *(("--authz-client-cert", {"authz_client_cert": path, **https}) for path in (garbage, missing)),
            # The CA.
            ("--ca-dir", {"ca_dir": garbage}),
            *(("--ca-cert", {"ca_cert": path, "ca_key": path}) for path in (garbage, missing)),
            # The logs.
            ("--audit-log", {"audit_log": str(missing / "audit.jsonl")}),
            ("--shadow-log", {"shadow_log": str(missing / "shadow.jsonl"), "shadow_authz_url": "http://authz.test"}),
            # The authorization services.
            ("--authz-url", {"authz_url": "http://a_b.test"}),
            ("--authz-url", {"authz_api": AuthzApi.OPA, **service}),
            ("--authz-body", {"authz_api": AuthzApi.EXT_AUTHZ, "authz_body": AuthzBody.ON_DEMAND, **service}),
            ("--passthrough", {"authz_api": AuthzApi.EXT_AUTHZ, "passthrough": ("a.test",), **service}),
            ("--shadow-authz-url", {"shadow_authz_url": "http://a_b.test"}),
            # Notifications.
            ("--notify-via-upstream", {"notify": NotifySettings(url=(TARGET,), via_upstream=True)}),
            # The listeners.
            *(("--client-auth", {"client_auth": path}) for path in (garbage, missing)),
            *(("--listen", {"listen": (f"tcp:1:client-auth={path}",)}) for path in (garbage, missing)),
            *(("--listen", {"listen": (f"ssl:1:privateKey={path}",)}) for path in (garbage, missing)),
        )
        for option, options in cases:
            with self.subTest(option, options=options):
                whole, worker, supervisor = self.errors(**options)
                self.assertEqual(whole[0], option)
                self.assertEqual((worker, supervisor), (whole, whole))
        self.assertEqual(self.reactor.processes, [])

    def test_same_name(self) -> None:
        """The start message names the authorizer of the workers."""
        for options in ({}, {"authz_url": "http://authz.test"}, {"mode": Mode.OBSERVE}, {"shadow_policy": None}):
            with self.subTest(options):
                given: dict[str, Any] = {"ca_dir": self.directory / "ca", **options}
                whole = EgressProxyService(self.reactor, ProxyConfig(**given))  # type: ignore[arg-type]
                self.assertEqual(self.make(**options).authorizer_name, whole.authorizer_name)


class StartingTests(WorkersTestCase):
    """Ports are bound, workers start, and then the sockets listen."""

    def test_order(self) -> None:
        workers = self.make()
        self.failureResultOf(workers.listening(), WorkerFailed)
        workers.privilegedStartService()
        self.assertEqual([each.backlog for each in self.network.open()], [None])
        self.assertEqual(self.reactor.processes, [])
        workers.startService()
        self.assertEqual([each.backlog for each in self.network.open()], [BACKLOG])
        self.assertEqual(self.successResultOf(workers.listening()), (IPv4Address("TCP", "", 8080),))
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [9090])
        for index in range(2):
            self.assertEqual(self.reactor.heard(index), [{"notification": "serve", "text": ""}])

    def test_without_privileges(self) -> None:
        workers = self.make(metrics_port=None)
        workers.startService()
        self.successResultOf(workers.listening())
        self.assertEqual(self.reactor.tcpServers, [])

    def test_specs(self) -> None:
        self.start(authz_url="http://authz.test", authz_token="hunter2")
        for index in range(2):
            spec = self.reactor.spec(index)
            self.assertEqual((spec.number, spec.config), (index + 1, self.config))
            self.assertEqual((spec.families, spec.shared), ((socket.AF_INET,), (True,)))
            self.assertEqual(spec.reactor, "tests.lines")
        (only,) = self.network.open()
        descriptors = [process.options["childFDs"] for process in self.reactor.processes]
        self.assertEqual([each[4] for each in descriptors], [only.number] * 2)
        # The counts of connections.
        self.assertEqual({os.fstat(each[5]).st_size for each in descriptors}, {16})
        self.assertEqual(len({each[5] for each in descriptors}), 1)

    def test_the_admin_api(self) -> None:
        """The parent serves it for all workers."""
        self.start(metrics_port=None, admin="tcp:9099", admin_token="hunter2")
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [9099])
        keys = {self.reactor.spec(index).approval_key for index in range(2)}
        self.assertEqual([len(key) for key in keys], [32])
        browser = Browser(self.reactor.tcpServers[0][1])
        browser.ask("/approvals", extra="Authorization: Bearer hunter2\r\n")
        for index in range(2):
            self.assertEqual(self.reactor.heard(index), [{"request": "pending-approvals", "id": 1}])
            self.reactor.say(frame(response=[], id=1), index)
        self.assertEqual(browser.answer()[2], b'{"pending": [], "grants": []}\n')

    def test_authorizer_name_and_ca(self) -> None:
        workers = self.make()
        self.assertEqual(workers.authorizer_name, "policy starter")
        self.assertTrue((self.directory / "ca" / "ca.pem").exists())
        self.assertIn(":", workers.certificate_authority.fingerprint)

    def test_the_ca_is_watched(self) -> None:
        """The parent watches the CA that signs, and logs reminders of its expiry in place of the workers."""
        directory = CaDirectory(self.directory / "ca")
        now = datetime.now(timezone.utc)
        directory.load_or_create(now - CA_LIFETIME + timedelta(days=3))
        with capturedLogs() as events:
            workers = self.start()
        (event,) = [event for event in events if event["log_level"] is LogLevel.warn and "end" in event]
        self.assertIn("in 2 days", event["end"])
        rotation = Rotation(directory)
        rotation.prepare(now)
        rotation.activate(now)
        self.reactor.advance(LOOK_EVERY)
        self.assertEqual(workers.certificate_authority.certificate, directory.load(now).certificate)
        workers.stopService()
        directory.key_path.unlink()
        with capturedLogs() as events:
            self.reactor.advance(LOOK_EVERY)
        self.assertEqual([event for event in events if "reason" in event], [])

    def test_configuration_errors_are_raised_by_the_constructor(self) -> None:
        for option, options in (
            ("--listen", {"listen": ("ssl:8443",)}),
            ("--policy", {"policy": self.directory / "missing"}),
            ("--audit-log", {"audit_log": str(self.directory / "missing" / "audit")}),
            ("--audit-failure", {"audit_log": "-", "audit_failure": AuditFailure.DENY}),
        ):
            with self.subTest(option):
                self.assertEqual(self.assertRaises(ConfigError, self.make, **options).option, option)

    def refuse(self, error: type[Exception]) -> str:
        """Start a proxy that cannot start, and check that everything is closed."""
        workers = self.start()
        failure = self.failureResultOf(workers.listening(), error)
        self.assertEqual((self.network.open(), self.reactor.listening), ([], []))
        self.reactor.advance(100)
        return str(failure.getErrorMessage())

    def test_a_busy_port(self) -> None:
        self.network.others.add(8080)
        self.assertIn("8080", self.refuse(CannotListenError))
        self.assertEqual(self.reactor.processes, [])

    def test_a_busy_metrics_port(self) -> None:
        def busy(port: int, *args: Any, **kwargs: Any) -> Any:
            raise CannotListenError("127.0.0.1", port, OSError(errno.EADDRINUSE, "Address already in use"))

        self.patch(self.reactor, "listenTCP", busy)
        self.assertIn("9090", self.refuse(CannotListenError))
        self.assertEqual(self.reactor.processes, [])

    def test_a_port_that_another_process_takes_meanwhile(self) -> None:
        workers = self.make()
        workers.privilegedStartService()
        self.network.others.add(8080)
        workers.startService()
        self.failureResultOf(workers.listening(), CannotListenError)
        self.assertEqual([process.signals for process in self.reactor.processes], [["KILL"], ["KILL"]])

    def test_a_worker_that_fails(self) -> None:
        self.said[1] = tell("failed", "--ca-dir: gone")
        self.assertEqual(self.refuse(WorkerFailed), "--ca-dir: gone")
        self.assertEqual([process.signals for process in self.reactor.processes], [["KILL"], ["KILL"]])

    def test_a_process_that_cannot_be_spawned(self) -> None:
        self.reactor.error = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self.assertEqual(self.refuse(WorkerFailed), "a worker cannot be started: Resource temporarily unavailable")


class MetricsTests(WorkersTestCase):
    """One page with the metrics of all processes."""

    def answer(self, index: int, *records: Any) -> None:
        """Make a worker respond with its metrics."""
        (asked,) = self.reactor.heard(index)
        self.assertEqual(asked["request"], "metrics")
        metrics = Metrics()
        for record in records:
            metrics.write(record)
        self.reactor.say(frame(response=to_json(metrics.registry.collect()), id=asked["id"]), index)

    def page(self, browser: Browser) -> dict[str, float]:
        status, _, body = browser.answer()
        self.assertEqual(status, 200)
        lines = [line for line in body.decode("utf-8").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def test_sums(self) -> None:
        self.start()
        browsers = [self.ask("/metrics") for _ in range(3)]
        self.answer(0, ALLOWED)
        self.assertEqual(browsers[0].transport.value(), b"")
        self.answer(1, ALLOWED, ALLOWED)
        for browser in browsers:
            numbers = self.page(browser)
            self.assertEqual(numbers[FORWARDED], 3)
        self.assertEqual(numbers['egress_workers{state="configured"}'], 2)
        self.assertEqual(numbers['egress_workers{state="running"}'], 2)
        self.assertEqual(numbers["egress_worker_restarts_total"], 0)
        self.assertEqual(numbers["egress_audit_lines_lost_total"], 0)

    def test_a_slow_worker_does_not_delay_the_page(self) -> None:
        self.start()
        browser = self.ask("/metrics")
        self.answer(0, ALLOWED)
        self.answer(1, ALLOWED)
        browser.answer()
        browser.ask("/metrics")
        self.answer(0, ALLOWED, ALLOWED)
        with capturedLogs() as events:
            self.reactor.advance(1)
        self.assertEqual([event["number"] for event in events], ["2"])
        self.assertEqual(self.page(browser)[FORWARDED], 3)

    def test_a_worker_that_dies(self) -> None:
        self.start()
        browser = self.ask("/metrics")
        self.answer(0, ALLOWED)
        self.answer(1, ALLOWED)
        browser.answer()
        browser.ask("/metrics")
        self.answer(0, ALLOWED, ALLOWED)
        self.reactor.die(1)
        self.assertEqual(self.page(browser)[FORWARDED], 3)
        browser.ask("/metrics")
        self.answer(0, ALLOWED, ALLOWED)
        numbers = self.page(browser)
        self.assertEqual((numbers[FORWARDED], numbers['egress_workers{state="running"}']), (3, 1))
        self.reactor.advance(0.1)
        self.reactor.say(tell("ready"), 2)
        self.reactor.heard(2)
        browser.ask("/metrics")
        self.answer(0, ALLOWED, ALLOWED)
        self.answer(2, ALLOWED)
        numbers = self.page(browser)
        self.assertEqual((numbers[FORWARDED], numbers["egress_worker_restarts_total"]), (4, 1))

    def test_invalid_metrics(self) -> None:
        self.start()
        browser = self.ask("/metrics")
        self.answer(0, ALLOWED)
        self.reactor.say(frame(response=[[]], id=1), 1)
        self.assertEqual(self.page(browser)[FORWARDED], 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ChecksTests(WorkersTestCase):
    """One page with the checks of all processes."""

    def checks(self, browser: Browser) -> tuple[int, dict[str, str]]:
        status, _, body = browser.answer()
        return status, json.loads(body)["checks"]

    def test_ready(self) -> None:
        self.start()
        browser = self.ask("/health/ready")
        for index in range(2):
            self.assertEqual(self.reactor.heard(index), [{"request": "checks", "id": 1}])
            self.reactor.say(frame(response={"authorizer": "ok", "ca": "ok"}, id=1), index)
        self.assertEqual(self.checks(browser), (200, {"authorizer": "ok", "ca": "ok", "workers": "ok"}))

    def test_readiness(self) -> None:
        """The start of the program asks for the same checks."""
        checking = self.start().readiness()
        for index, result in enumerate(("ok", "it refused the connection")):
            self.reactor.say(frame(response={"authorizer": result}, id=1), index)
        found = self.successResultOf(checking)
        self.assertEqual(found["authorizer"], "worker 2: it refused the connection")

    def test_one_worker_is_not_ready(self) -> None:
        self.start()
        browser = self.ask("/health/ready")
        self.reactor.say(frame(response={"authorizer": "took too long"}, id=1), 0)
        self.reactor.advance(6)
        self.assertEqual(
            self.checks(browser), (503, {"authorizer": "worker 1: took too long", "workers": "worker 2: no response"})
        )

    def test_one_worker_runs(self) -> None:
        self.start()
        self.reactor.die(0)
        browser = self.ask("/health/ready")
        self.reactor.say(frame(response={"authorizer": "ok"}, id=1), 1)
        self.assertEqual(self.checks(browser), (200, {"authorizer": "ok", "workers": "ok"}))

    def test_no_worker_runs(self) -> None:
        self.start()
        self.reactor.die(0)
        self.reactor.die(1)
        self.assertEqual(self.checks(self.ask("/health/ready")), (503, {"workers": "no worker is running"}))
        self.assertEqual(self.ask("/health/live").answer()[0], 200)


class AuditTests(WorkersTestCase):
    """All processes append to a file; to anything else only the parent writes."""

    def test_a_file(self) -> None:
        path = Path(self.mktemp())
        for exists in (False, True):
            with self.subTest(exists=exists):
                self.assertEqual(path.exists(), exists)
                self.setUp()
                self.start(audit_log=str(path))
                self.assertEqual(self.reactor.spec(0).config, self.config)
                self.reactor.processes[0].protocol.childDataReceived(1, b"stray\n")
                self.assertEqual(path.read_bytes(), b"")

    def test_other_targets(self) -> None:
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        for target in (str(fifo), "-", "/dev/null"):
            with self.subTest(target):
                self.setUp()
                workers = self.start(audit_log=target, **({} if target == "-" else {"audit_log_mode": "640"}))
                self.assertEqual([self.reactor.spec(index).config.audit_log for index in range(2)], ["-", "-"])
                stopped = workers.stopService()
                for index in range(2):
                    self.reactor.die(index, status=0)
                self.successResultOf(stopped)

    def test_lines(self) -> None:
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.start(audit_log=str(fifo))
        first, second = (process.protocol for process in self.reactor.processes)
        long = b"x" * 6000
        first.childDataReceived(1, b"one" + long)
        second.childDataReceived(1, b"two" + long + b"\nthree\nfo")
        first.childDataReceived(1, b"\n")
        self.assertEqual(os.read(reader, 65536).split(b"\n"), [b"two" + long, b"three", b"one" + long, b""])
        self.reactor.die(1)
        browser = self.ask("/metrics")
        self.reactor.advance(1)
        self.assertIn(b"egress_audit_lines_lost_total 1.0", browser.answer()[2])

    def test_stray_output(self) -> None:
        self.start()
        with capturedLogs() as events:
            self.reactor.processes[0].protocol.childDataReceived(1, b"hello\n\nand")
            self.reactor.processes[0].end()
        self.assertEqual([event["text"] for event in events if "text" in event], ["hello"])

    def test_records(self) -> None:
        """With --log-format json, the records of a worker become records of the supervisor."""
        record = {"time": "2026-11-29T11:00:00.000Z", "level": "warn", "logger": "egress.x", "message": "hello"}
        self.start()
        with capturedLogs() as events:
            self.reactor.processes[0].protocol.childDataReceived(2, json.dumps(record).encode() + b"\n")
        self.assertEqual([record_of(event) for event in events], [{**record, "worker": 1}])


class NotificationTests(WorkersTestCase):
    """The supervisor delivers messages for all workers."""

    def test_one_message(self) -> None:
        """A circuit breaker that opens in both workers is one message."""
        workers = self.start(notify=NotifySettings(url=(TARGET,)))
        notice = Notice(NotifyEvent.BREAKER, "", {"fault": "the connection failed"})
        for index in range(2):
            self.reactor.say(tell("notice", notice.to_text()), index)
        self.assertIn(b"egress_notifications_queued 1.0\n", self.metrics())
        self.stop(workers)

    def test_reload(self) -> None:
        """The workers report an error of the policy, and the supervisor reports an error in another file."""
        policy, extra = self.directory / "policy.toml", self.directory / "extra.pem"
        policy.write_text("version = 1\n")
        extra.write_bytes(TestCA().pem)
        workers = self.start(policy=policy, extra_ca_certs=extra, notify=NotifySettings(url=(TARGET,)))
        self.successResultOf(workers.reload())
        for path, expected in ((policy, 0), (extra, 1)):
            before = path.read_bytes()
            path.write_text("garbage")
            self.failureResultOf(workers.reload(), ConfigError)
            self.assertIn(b"egress_notifications_queued %d.0\n" % expected, self.metrics())
            path.write_bytes(before)
        self.stop(workers)

    def metrics(self) -> bytes:
        """Return the metrics of the supervisor."""
        browser = self.ask("/metrics")
        for index in range(2):
            self.reactor.heard(index)
        self.reactor.advance(1.0)
        return browser.answer()[2]

    def stop(self, workers: WorkerPool) -> None:
        """Stop, which takes a limited time although nothing was delivered."""
        stopped = workers.stopService()
        for index in range(2):
            self.reactor.die(index, status=0)
        self.reactor.advance(CLOSE_SECONDS)
        self.successResultOf(stopped)


class StoppingTests(WorkersTestCase):
    """All workers drain, and no process remains."""

    def test_drained(self) -> None:
        workers = self.start()
        self.assertEqual(self.reactor.listening, [9090])
        stopped = workers.stopService()
        workers.abort()
        # The metrics show the rest of the drain.
        self.assertEqual((self.network.open(), self.reactor.listening), ([], [9090]))
        for index in range(2):
            self.assertEqual([each["notification"] for each in self.reactor.heard(index)], ["drain", "abort"])
            self.assertNoResult(stopped)
            self.reactor.die(index, status=0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.listening, [])
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_metrics_and_health_while_draining(self) -> None:
        workers = self.start()
        workers.stopService()
        self.reactor.die(0, status=0)
        self.reactor.heard(1)
        browser = self.ask("/health/ready")
        status, _, body = browser.answer()
        self.assertEqual((status, json.loads(body)["checks"]), (503, {"running": STOPPING}))
        browser.ask("/metrics")
        (question,) = self.reactor.heard(1)
        self.assertEqual(question["request"], "metrics")
        self.reactor.say(frame(response=to_json(Metrics().registry.collect()), id=question["id"]), 1)
        self.assertEqual(browser.answer()[0], 200)

    def test_a_socket_that_systemd_did_not_pass(self) -> None:
        workers = self.start(listen=("systemd:name=proxy",))
        self.assertIn(".socket unit", self.failureResultOf(workers.listening(), ConfigError).value.remedy)
        self.assertEqual(self.reactor.processes, [])

    def test_a_worker_that_does_not_end_is_killed(self) -> None:
        workers = self.start(limits=Limits(drain_timeout=7))
        stopped = workers.stopService()
        self.reactor.die(0, status=0)
        self.reactor.advance(10)
        self.assertEqual(self.reactor.processes[1].signals, [])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.processes[1].signals, ["KILL"])
        self.assertNoResult(stopped)
        self.reactor.die(1)
        self.successResultOf(stopped)

    def test_workers_that_never_started(self) -> None:
        self.successResultOf(self.make(audit_log="-").stopService())
