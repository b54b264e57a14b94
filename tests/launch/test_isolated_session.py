"""Tests for L{egress.launch.isolated_session}."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.launch import isolated_session
from egress.launch.isolate.messages import View
from egress.launch.isolate.sandbox import CannotIsolate, SandboxSockets
from egress.launch.isolated_session import run_isolated
from egress.launch.placeholder_names import TcpNames, UdpNames
from egress.launch.runner import CannotRun
from egress.launch.summary import Summary
from egress.proxy.factory import ProxyFactory
from egress.proxy.transparent import TransparentFactory
from tests.files import make_directory
from tests.proxy.fakes import Wire, status_of
from tests.threads import ThreadlessReactor, at_once


class ListeningSocket:
    """A listening socket of the sandbox."""

    def __init__(self, family: int = socket.AF_INET) -> None:
        self.family = family
        self.blocks = True
        self.closed = False
        # The endpoint sets a flag of the descriptor.
        self._descriptor = os.open(os.devnull, os.O_RDONLY)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 8080

    def setblocking(self, blocks: bool) -> None:
        self.blocks = blocks

    def fileno(self) -> int:
        return self._descriptor

    def detach(self) -> int:
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def close(self) -> None:
        if not self.closed and self._descriptor >= 0:
            os.close(self._descriptor)
        self.closed = True


class FakeSandbox:
    """A sandbox without namespaces.

    @ivar views: the requested views of the file system.
    @ivar ended: fires with the exit status of the command.
    """

    def __init__(self) -> None:
        self.made: list[ListeningSocket] = []
        make: Any = self.make
        self.sockets = SandboxSockets(
            make(), [make(), make(socket.AF_INET6)], [make(), make(socket.AF_INET6)], [make()]
        )
        self.views: list[View] = []
        self.commands: list[tuple[str, Sequence[str], Mapping[str, str]]] = []
        self.ended: Deferred[int] = Deferred()
        self.closed = False

    def make(self, family: int = socket.AF_INET) -> ListeningSocket:
        self.made.append(ListeningSocket(family))
        return self.made[-1]

    def start(self, reactor: object, view: View) -> Deferred[FakeSandbox]:
        self.views.append(view)
        return succeed(self)

    def run(
        self, executable: str, command: Sequence[str], environ: Mapping[str, str], *, hidden: Sequence[str]
    ) -> Deferred[int]:
        self.hidden = hidden
        self.commands.append((executable, command, environ))
        return self.ended

    def close(self) -> None:
        self.closed = True


class IsolatedSessionTests(SynchronousTestCase):
    """A command in a sandbox, and its proxy."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = ThreadlessReactor()
        self.use(FakeSandbox())
        self.summary = Summary()
        self.ca_dir, self.files = make_directory(self) / "ca", make_directory(self)

    def use(self, sandbox: FakeSandbox) -> None:
        self.sandbox = sandbox
        self.patch(isolated_session, "Sandbox", sandbox)
        self.addCleanup(sandbox.sockets.close)

    def start(self, *command: str, config: ProxyConfig | None = None, **options: Any) -> Deferred[int]:
        config = config or ProxyConfig(ca_dir=self.ca_dir)
        return run_isolated(
            *(
                self.reactor,
                config,
                command or (sys.executable, "-c", "pass"),
                {"NO_PROXY": "*", "A": "b", "TOKEN": "secret", "EGRESS_AUTHZ_TOKEN": "secret"},
            ),
            directory=self.files,
            summary=self.summary,
            **options,
        )

    def test_command(self) -> None:
        running = self.start()
        ((_, arguments, environ),) = self.sandbox.commands
        self.assertEqual(arguments[1:], ("-c", "pass"))
        self.assertEqual((environ["A"], environ.get("NO_PROXY")), ("b", None))
        self.assertEqual(environ["HTTPS_PROXY"], "http://127.0.0.1:8080")
        self.assertEqual(environ["NODE_EXTRA_CA_CERTS"], str(self.files / "ca.pem"))
        proxy, *others = [each[2] for each in self.reactor.adoptedPorts]
        self.assertEqual(
            [type(each) for each in (proxy, *others)],
            [ProxyFactory, TransparentFactory, TransparentFactory, UdpNames, UdpNames, TcpNames],
        )
        self.assertEqual(self.reactor.tcpServers, [], "no listener outside of the sandbox")
        self.assertFalse(any(each.blocks for each in self.sandbox.sockets.dns_udp))  # type: ignore[attr-defined]
        client = Wire(self.reactor).connect(proxy.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))
        client.feed(b"GET http://blocked.test/ HTTP/1.1\r\nHost: blocked.test\r\n\r\n")
        self.assertEqual(status_of(client.take()), 403)
        self.assertEqual((self.summary.requests, self.summary.refused), (1, 1))
        client.lose()
        self.sandbox.ended.callback(3)
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(running), 3)
        self.assertTrue(self.sandbox.closed)
        self.assertTrue(all(each.closed for each in self.sandbox.made))

    def test_view(self) -> None:
        for writable, names in ((None, None), ([Path("/a"), Path("/b")], ["/a", "/b"])):
            with self.subTest(writable=writable):
                self.use(FakeSandbox())
                running = self.start(writable=writable)
                self.assertEqual(self.sandbox.views, [View(names, [str(self.files)])])
                self.sandbox.ended.callback(0)
                self.assertEqual(self.successResultOf(running), 0)

    def test_secrets(self) -> None:
        """The command has the user of the proxy, and does not see its secrets."""
        keys = [str((self.ca_dir / name).absolute()) for name in ("ca-key.pem", "ca-next-key.pem")]
        running = self.start()
        self.assertEqual(self.sandbox.hidden, keys)
        self.sandbox.ended.callback(0)
        self.successResultOf(running)
        self.use(FakeSandbox())
        secrets, token = self.files / "secrets.toml", self.files / "token"
        secrets.write_text('[a]\nfile = "token"\nhosts = ["a.test"]\n[b]\nenv = "TOKEN"\nhosts = ["a.test"]\n')
        secrets.chmod(0o600)
        token.write_text("secret")
        token.chmod(0o600)
        running = self.start(config=ProxyConfig(ca_dir=self.ca_dir, secrets=secrets))
        self.assertEqual(self.sandbox.hidden, [*keys, str(secrets.absolute()), str(token.absolute())])
        ((_, _, environ),) = self.sandbox.commands
        self.assertEqual([name for name, value in environ.items() if value == "secret"], [])
        self.sandbox.ended.callback(0)
        self.successResultOf(running)

    def test_no_such_command(self) -> None:
        """Nothing is started."""
        error = self.failureResultOf(self.start("/absent"), CannotRun).value
        self.assertEqual(error.exit_status, 127)
        self.assertEqual((self.sandbox.views, self.ca_dir.exists()), ([], False))

    def test_no_sandbox(self) -> None:
        self.patch(self.sandbox, "start", lambda *_: fail(CannotIsolate("because")))
        self.failureResultOf(self.start(), CannotIsolate)
        self.assertFalse(self.ca_dir.exists())

    def test_a_proxy_that_cannot_start(self) -> None:
        self.ca_dir.mkdir()
        (self.ca_dir / "ca.pem").write_text("nonsense")
        self.failureResultOf(self.start(), Exception)
        self.assertTrue(self.sandbox.closed)
        self.assertTrue(all(each.closed for each in self.sandbox.made if each.fileno() >= 0))
