"""The example of an application that embeds the proxy, run in memory."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.config.model import ProxyConfig
from egress.interfaces import IAuditSink, IAuthorizer
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from tests.proxy.fakes import Wire, content_of, request, response, status_of

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "embedding.py"


def load_example() -> ModuleType:
    """Import the example, which is in no package."""
    spec = importlib.util.spec_from_file_location("embedding", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@implementer(IHostnameResolver)
class OneAddress:
    """Every name has the same address."""

    def resolveHostName(  # type: ignore[override]
        self, receiver: Any, hostName: str, portNumber: int = 0, *args: Any, **more: Any
    ) -> Any:
        """See L{IHostnameResolver}."""
        receiver.resolutionBegan(None)
        receiver.addressResolved(IPv4Address("TCP", "1.1.1.1", portNumber))
        receiver.resolutionComplete()


def new_reactor() -> MemoryReactorClock:
    """Make a reactor in memory; by itself it would take every name for loopback."""
    reactor = MemoryReactorClock()
    reactor.installNameResolver(OneAddress())
    return reactor


class EmbeddingTests(SynchronousTestCase):
    """The application as a whole: its own web service, and the proxy."""

    def setUp(self) -> None:
        self.example = load_example()
        self.reactor = new_reactor()
        config = ProxyConfig(ca_dir=Path(self.mktemp()).absolute())
        self.application = self.example.Application(self.reactor, config)
        self.application.privilegedStartService()
        self.application.startService()

    def client_of(self, port: int) -> Wire:
        """Connect to one of the two ports."""
        (factory,) = (server[1] for server in self.reactor.tcpServers if server[0] == port)
        address = IPv4Address("TCP", "127.0.0.1", 54321)
        return Wire(self.reactor, address).connect(factory.buildProtocol(address))

    def ask_page(self, method: str, target: str) -> bytes:
        """One request to the application's own service."""
        wire = self.client_of(8081)
        wire.feed(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return wire.take()

    def permits(self) -> dict[str, int]:
        """What the service lists."""
        counts: dict[str, int] = json.loads(content_of(self.ask_page("GET", "/permits")))
        return counts

    def ask_proxy(self) -> Wire:
        """One request through the proxy."""
        return self.client_of(8080).feed(request("GET", "http://api.example.com/v1", host="api.example.com"))

    def test_interfaces(self) -> None:
        """The parts are what the proxy takes."""
        permits = self.example.Permits()
        verifyObject(IAuditSink, permits)
        authorizer = self.example.PermitAuthorizer(permits)
        verifyObject(IAuthorizer, authorizer)
        self.assertIsNone(self.successResultOf(authorizer.check_ready()))

    def test_listening(self) -> None:
        """Both ports are open, on loopback, and the proxy says so."""
        servers = sorted((server[0], server[3]) for server in self.reactor.tcpServers)
        self.assertEqual(servers, [(8080, "127.0.0.1"), (8081, "127.0.0.1")])
        self.assertEqual(len(self.successResultOf(self.application.proxy.listening())), 1)

    def test_no_permit(self) -> None:
        """The authorizer's denial and its reason reach the client; nothing is dialled."""
        data = self.ask_proxy().take()
        self.assertEqual(status_of(data), 403)
        problem = json.loads(content_of(data))
        self.assertEqual(problem["ruleId"], "no-permit")
        self.assertIn("PUT /permits/api.example.com", problem["reason"])
        self.assertEqual(self.reactor.tcpClients, [])

    def test_permit(self) -> None:
        """With a permit the request is forwarded, and counted; without it, the next one is not."""
        self.assertEqual(status_of(self.ask_page("PUT", "/permits/API.example.com")), 204)
        client = self.ask_proxy()
        ((host, port, factory, *_),) = self.reactor.tcpClients
        self.assertEqual((host, port), ("1.1.1.1", 80))
        origin = Wire(self.reactor).connect(factory.buildProtocol(IPv4Address("TCP", host, port)))
        self.assertTrue(origin.take().startswith(b"GET /v1 HTTP/1.1\r\n"))
        origin.feed(response(b"hello"))
        data = client.take()
        self.assertEqual((status_of(data), content_of(data)), (200, b"hello"))
        self.assertEqual(self.permits(), {"api.example.com": 1})

        self.assertEqual(status_of(self.ask_page("DELETE", "/permits/api.example.com")), 204)
        self.assertEqual(self.permits(), {})
        self.assertEqual(status_of(self.ask_proxy().take()), 403)

    def test_page_itself(self) -> None:
        """The application's own port is on loopback, where the proxy sends nobody, whatever permits there are."""
        self.ask_page("PUT", "/permits/127.0.0.1")
        client = self.client_of(8080).feed(request("GET", "http://127.0.0.1:8081/permits", host="127.0.0.1:8081"))
        self.assertEqual(json.loads(content_of(client.take()))["stage"], "address")

    def test_not_a_host(self) -> None:
        """What is no host gets no permit."""
        for target in ("/permits", "/permits/a..b", "/permits/a/b"):
            self.assertEqual(status_of(self.ask_page("PUT", target)), 400)
        self.assertEqual(self.permits(), {})

    def test_stop(self) -> None:
        """Stopping the application stops the proxy with it."""
        client = self.client_of(8080)
        stopped = self.application.stopService()
        self.reactor.advance(FIRST_REQUEST_SECONDS)
        self.successResultOf(stopped)
        self.assertTrue(client.disconnected)

    def test_main(self) -> None:
        """Run as a program, it says where it listens and goes on until it is interrupted."""
        said: list[str] = []
        # A name of its own, before the builtin one.
        self.example.__dict__["print"] = said.append
        self.patch(self.example, "ProxyConfig", lambda: ProxyConfig(ca_dir=Path(self.mktemp()).absolute()))
        running = self.example.main(new_reactor())
        self.assertNoResult(running)
        (line,) = said
        self.assertIn("8080", line)
