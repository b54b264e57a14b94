"""Tests for L{egress.doctor.own_proxy}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.config.model import ProxyConfig
from egress.doctor.own_proxy import DenyAll, with_own_proxy
from egress.interfaces import IAuthorizer
from tests.files import make_directory
from tests.proxy.fakes import Wire, content_of, request, status_of
from tests.threads import ThreadlessReactor, at_once


class OwnProxyTests(SynchronousTestCase):
    """A proxy in memory."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = ThreadlessReactor()
        self.examined: list[tuple[str, Mapping[str, str]]] = []
        self.done: Deferred[str] = Deferred()

    def examine(self, url: str, environ: Mapping[str, str]) -> Deferred[str]:
        self.examined.append((url, environ))
        return self.done

    def start(self) -> Any:
        # The policy does not decide: the proxy denies everything.
        config = ProxyConfig(ca_dir=make_directory(self) / "ca", authz_url="http://service.test")
        self.files = make_directory(self)
        return with_own_proxy(self.reactor, config, {"NO_PROXY": "*", "A": "b"}, self.files, self.examine)

    def connect(self) -> Wire:
        factory = self.reactor.tcpServers[0][1]
        return Wire(self.reactor).connect(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))

    def test_environment(self) -> None:
        """It is that of egress run; the proxy stops afterwards."""
        running = self.start()
        ((url, environ),) = self.examined
        self.assertEqual((environ["HTTPS_PROXY"], environ["A"], environ.get("NO_PROXY")), (url, "b", None))
        self.assertEqual(environ["NODE_EXTRA_CA_CERTS"], str(self.files / "ca.pem"))
        self.assertIn("--ignore-certificate-errors-spki-list=", environ["EGRESS_CHROMIUM_FLAGS"])
        self.assertNoResult(running)
        self.done.callback("result")
        self.reactor.advance(1.0)
        self.assertEqual(self.successResultOf(running), "result")

    def test_requests(self) -> None:
        """It responds to requests for its own address only."""
        running = self.start()
        for host, status, words in (
            ("egressproxy.invalid", 200, b"proxy-addressed"),
            ("a.test", 403, b"egress doctor forwards no request"),
        ):
            client = self.connect()
            client.feed(request("GET", f"http://{host}/", host=host))
            received = client.take()
            self.assertEqual(status_of(received), status)
            self.assertIn(words, content_of(received))
            client.lose()
        self.done.callback("result")
        self.reactor.advance(1.0)
        self.successResultOf(running)

    def test_failure(self) -> None:
        running = self.start()
        self.done.errback(ValueError("x"))
        self.reactor.advance(1.0)
        self.failureResultOf(running, ValueError)

    def test_authorizer(self) -> None:
        authorizer = DenyAll()
        verifyObject(IAuthorizer, authorizer)
        self.successResultOf(authorizer.check_ready())
