"""Tests for L{egress.launch.session}."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.trial.unittest import SynchronousTestCase

from egress.config.listener import Listener
from egress.config.model import ProxyConfig
from egress.launch.runner import CannotRun
from egress.launch.session import run_behind_proxy, run_client
from egress.launch.summary import Summary
from tests.client_settings.test_variables import FILES, PROXY
from tests.files import make_directory
from tests.launch.processes import Spawner
from tests.proxy.fakes import Wire, status_of
from tests.threads import ThreadlessReactor, at_once


class _Reactor(Spawner, ThreadlessReactor):
    def __init__(self) -> None:
        ThreadlessReactor.__init__(self)
        Spawner.__init__(self)


class SessionTests(SynchronousTestCase):
    """A command and its proxy."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = _Reactor()
        self.summary = Summary()
        self.environ = {"NO_PROXY": "*", "A": "b", "EGRESS_AUTHZ_TOKEN": "hunter2"}
        self.ca_dir, self.files = make_directory(self) / "ca", make_directory(self)

    def start(self, *command: str, **options: Any) -> Any:
        config = ProxyConfig(ca_dir=self.ca_dir, listen=(Listener("tcp:8080:interface=127.0.0.1"),), **options)
        return run_behind_proxy(
            *(self.reactor, config, command or (sys.executable, "-c", "pass"), self.environ),
            directory=self.files,
            summary=self.summary,
        )

    def test_unusable_default_store(self) -> None:
        """The command runs without it."""
        path = make_directory(self) / "audit.db"
        path.write_bytes(b"no database" * 100)
        running = self.start(audit_store=f"sqlite:{path}", audit_store_required=False)
        self.assertIn("file is not a database", self.summary.warnings[0])
        self.reactor.exit(ProcessDone(None))
        self.assertEqual(self.successResultOf(running), 0)

    def test_command(self) -> None:
        """The command uses the proxy, which stops with it."""
        running = self.start()
        ((_, arguments, environ, _),) = self.reactor.spawned
        self.assertEqual(arguments[1:], ("-c", "pass"))
        self.assertRegex(environ["HTTPS_PROXY"], r"\Ahttp://.*:8080\Z")
        self.assertEqual((environ["A"], environ.get("NO_PROXY")), ("b", None))
        self.assertNotIn("hunter2", environ.values())
        self.assertEqual((self.files / "ca.pem").read_bytes(), (self.ca_dir / "ca.pem").read_bytes())
        self.assertEqual(environ["NODE_EXTRA_CA_CERTS"], str(self.files / "ca.pem"))

        client = Wire(self.reactor).connect(
            self.reactor.tcpServers[0][1].buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        )
        client.feed(b"GET http://blocked.test/ HTTP/1.1\r\nHost: blocked.test\r\n\r\n")
        self.assertEqual(status_of(client.take()), 403)
        self.assertEqual((self.summary.requests, self.summary.refused), (1, 1))
        client.lose()
        self.reactor.exit(ProcessTerminated(3))
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(running), 3)

    def test_browser(self) -> None:
        """It trusts the key of the leaf certificates, which this process knows."""
        running = self.start(self.program("chromium"), "https://a.test")
        ((_, arguments, environ, _),) = self.reactor.spawned
        self.assertEqual(arguments[-2:], [f"--user-data-dir={self.files / 'browser'}", "https://a.test"])
        self.assertEqual(arguments[1:-2], environ["EGRESS_CHROMIUM_FLAGS"].split())
        self.assertIn("--ignore-certificate-errors-spki-list=", environ["EGRESS_CHROMIUM_FLAGS"])
        self.reactor.exit(ProcessDone(None))
        self.successResultOf(running)

    def program(self, name: str) -> str:
        path = make_directory(self) / name
        path.write_text("")
        path.chmod(0o700)
        return str(path)

    def test_no_such_command(self) -> None:
        """The proxy does not start."""
        error = self.failureResultOf(self.start("/absent"), CannotRun).value
        self.assertEqual(error.exit_status, 127)
        self.assertEqual((self.reactor.tcpServers, self.ca_dir.exists()), ([], False))

    def test_a_proxy_that_is_idle(self) -> None:
        running = self.start()
        self.reactor.exit(ProcessDone(None))
        self.assertEqual(self.successResultOf(running), 0)
        self.assertEqual(list(self.summary.lines()), ["0 requests, 0 allowed, 0 refused"])


class ClientTests(SynchronousTestCase):
    """A command and a proxy that runs already."""

    def test_command(self) -> None:
        reactor = Spawner()
        environ = {"NO_PROXY": "*", "A": "b"}
        running = run_client(reactor, PROXY, (sys.executable, "-c", "pass"), environ, files=FILES)
        ((_, arguments, variables, _),) = reactor.spawned
        self.assertEqual((arguments[1:], variables["A"], variables.get("NO_PROXY")), (("-c", "pass"), "b", None))
        self.assertEqual((variables["HTTPS_PROXY"], variables["DENO_CERT"]), (PROXY, str(FILES.ca)))
        reactor.exit(ProcessTerminated(3))
        self.assertEqual(self.successResultOf(running), 3)

    def test_no_such_command(self) -> None:
        self.assertRaises(CannotRun, run_client, Spawner(), PROXY, ("/absent",), {}, files=FILES)
