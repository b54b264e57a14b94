"""The example of an application that embeds the proxy, and the tests of the example."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress import testing
from egress.config.model import ProxyConfig
from egress.interfaces import IAuditSink, IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.testing import ClientResponse, MemoryClient, MemoryReactor, RecordingAuthorizer
from egress.testing.authorizer import allow, deny
from egress.testing.transport import MemoryTransport

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


def load_example(name: str) -> ModuleType:
    """Import an example, which is in no package, under its own name."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


example = load_example("embedding")


class ExampleTests(load_example("embedding_test").PermitTests):  # type: ignore[misc]
    """The tests in the documentation, as they are there."""

    def test_all(self) -> None:
        """They are found."""
        self.assertGreaterEqual(len([name for name in dir(self) if name.startswith("test_")]), 4)


class PageTests(SynchronousTestCase):
    """The short sample on the page."""

    def test_sample(self) -> None:
        text = (EXAMPLES.parent / "how-to" / "embedding.md").read_text("utf-8")
        (sample,) = re.findall(r"```python\n(with MemoryProxy.+?)```", text, re.DOTALL)

        def by_host(request: DecisionRequest) -> Decision:
            return allow() if request.authority.host == "api.example.com" else deny()

        made: list[RecordingAuthorizer] = []

        def my_authorizer() -> RecordingAuthorizer:
            made.append(RecordingAuthorizer(by_host))
            return made[0]

        exec(sample, {**vars(testing), "MyAuthorizer": my_authorizer})
        self.assertEqual(len(made[0].requests), 2)
        self.assertTrue(made[0].is_closed)

    def test_classes(self) -> None:
        """The table lists the classes that a test makes."""
        text = (EXAMPLES.parent / "how-to" / "embedding.md").read_text("utf-8")
        table = text.partition("## Test an embedding application")[2]
        listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
        results = {"ClientResponse", "PendingResponse", "OriginRequest", "OriginResponse"}
        self.assertEqual(sorted(listed), sorted(set(testing.__all__) - results))


class Idle:
    """A client that sends nothing."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.transport = transport

    def step(self) -> bool:
        """Do nothing."""
        return False


class EmbeddingTests(SynchronousTestCase):
    """The rest of the example."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.application = example.Application(self.reactor, ProxyConfig(ca_dir=Path(self.mktemp()).absolute()))
        self.application.privilegedStartService()
        self.application.startService()
        self.page = MemoryClient(self.reactor, 8081)

    def ask_proxy(self, url: str) -> ClientResponse:
        """Send one request through the proxy."""
        return MemoryClient(self.reactor, 8080).request("GET", url)

    def test_interfaces(self) -> None:
        """The parts have the interfaces that the proxy requires."""
        permits = example.Permits()
        verifyObject(IAuditSink, permits)
        authorizer = example.PermitAuthorizer(permits)
        verifyObject(IAuthorizer, authorizer)
        self.assertIsNone(self.successResultOf(authorizer.check_ready()))

    def test_listening(self) -> None:
        """Both ports are open, on loopback, and the proxy reports its address."""
        (address,) = self.successResultOf(self.application.proxy.listening())
        self.assertEqual((address.host, address.port), ("127.0.0.1", 8080))
        self.assertEqual(self.page.request("GET", "/permits").json(), {})

    def test_reason(self) -> None:
        self.assertIn("PUT /permits/api.example.com", self.ask_proxy("http://api.example.com/").json()["reason"])

    def test_page_itself(self) -> None:
        """The application's own port is on loopback, which the proxy never contacts, whatever permits there are."""
        self.page.request("PUT", "/permits/127.0.0.1")
        self.assertEqual(self.ask_proxy("http://127.0.0.1:8081/permits").json()["stage"], "address")

    def test_not_a_host(self) -> None:
        """An invalid host gets no permit."""
        for target in ("/permits", "/permits/a..b", "/permits/a/b"):
            self.assertEqual(self.page.request("PUT", target).status, 400)
        self.assertEqual(self.page.request("GET", "/permits").json(), {})

    def test_stop(self) -> None:
        """Stopping the application stops the proxy with it."""
        client = self.reactor.connect(8080, Idle)
        stopped = self.application.stopService()
        self.reactor.pass_time(FIRST_REQUEST_SECONDS)
        self.successResultOf(stopped)
        self.assertTrue(client.disconnected)

    def test_main(self) -> None:
        """As a program, it prints where it listens, and runs until it is interrupted."""
        said: list[str] = []
        # A name of its own, before the builtin one.
        example.__dict__["print"] = said.append
        self.addCleanup(example.__dict__.pop, "print")
        self.patch(example, "ProxyConfig", lambda: ProxyConfig(ca_dir=Path(self.mktemp()).absolute()))
        running = example.main(MemoryReactor())
        self.assertNoResult(running)
        (line,) = said
        self.assertIn("8080", line)
