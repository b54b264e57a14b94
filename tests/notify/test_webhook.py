"""Tests for L{egress.notify.webhook}."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.model.authority import Authority, UpstreamProxy
from egress.model.errors import NameNotResolved
from egress.model.webhook import WebhookTarget, signature
from egress.notify.backoff import Result
from egress.notify.delivery import Delivery, Parcel, Response
from egress.notify.webhook import Webhook, WebhookRoute
from egress.testing.origin import MemoryOrigin, OriginRequest, OriginResponse
from egress.testing.origin_ca import OriginCa
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.reactor import IEgressReactor
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from tests.authz.servers import Endpoint
from tests.files import make_directory

ADDRESS = "11.0.0.9"
SECRETS = (bytes(range(32)), bytes(range(32, 64)))
NOW = 1_700_000_000.75
PATH = "/services/hunter2?sig=a%2Fb"


class WebhookTestCase(SynchronousTestCase):
    """Base: a receiver in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(FixedResolver({"hooks.test": [ADDRESS]}))
        self.response = OriginResponse(status=204)
        self.now = NOW
        self.receiver = MemoryOrigin(lambda request: self.response)
        self.reactor.listen(ADDRESS, 80, self.receiver.accept)
        self.ca = OriginCa()
        self.pem = self.ca.write(make_directory(self) / "ca.pem")

    def webhook(self, url: str = f"http://hooks.test{PATH}", *, trusting: bool = True, **route: Any) -> Webhook:
        """Make the client for a URL."""
        trust = ReloadableTrust(OriginTrust(self.pem if trusting else None))
        given = {
            "trust": trust,
            "resolver": self.resolver(),
            "behind_upstream": lambda upstream, authority: None,
            **route,
        }
        webhook = Webhook(
            cast(IEgressReactor, self.reactor),
            WebhookTarget.parse(url),
            WebhookRoute(**given),
            secrets=SECRETS,
            wall_clock=lambda: self.now,
        )
        self.addCleanup(webhook.close)
        return webhook

    def resolver(self) -> Resolver:
        """Return a resolver that uses the reactor."""
        reactor = cast(IEgressReactor, self.reactor)
        return Resolver(reactor, ReactorLookups(reactor), Limits())

    def send(self, webhook: Webhook, body: bytes = b'{"a": 1}', message_id: str = "msg_1") -> Deferred[Response]:
        """Send a message."""
        response = webhook.send(Parcel(message_id, body, lambda result: None))
        self.reactor.pass_time(0.5)
        return response

    def failed(self, webhook: Webhook) -> str:
        """Send a message that fails, and return the description."""
        failure = self.failureResultOf(self.send(webhook))
        return webhook.explain(failure)


class RequestTests(WebhookTestCase):
    """A message is one request, signed as the Standard Webhooks specification requires."""

    def test_request(self) -> None:
        webhook = self.webhook()
        self.assertEqual(self.successResultOf(self.send(webhook)), Response(204))
        (request,) = self.receiver.requests
        self.assertEqual((request.method, request.target, request.body), ("POST", PATH, b'{"a": 1}'))
        self.assertEqual(request.field("host"), "hooks.test")
        self.assertEqual(request.field("content-type"), "application/json")
        self.assertEqual(request.field("webhook-id"), "msg_1")
        self.assertEqual(request.field("webhook-timestamp"), "1700000000")
        expected = signature(SECRETS, "msg_1", 1_700_000_000, b'{"a": 1}')
        self.assertEqual(request.field("webhook-signature"), expected)
        self.assertIn("egressproxy/", request.field("user-agent") or "")

    def test_large_messages(self) -> None:
        body = json.dumps({"a": "x" * 300_000}).encode()
        self.successResultOf(self.send(self.webhook(), body))
        self.assertEqual(self.receiver.requests[0].body, body)

    def test_unsigned(self) -> None:
        webhook = Webhook(
            cast(IEgressReactor, self.reactor),
            WebhookTarget.parse("slack:http://hooks.test/x"),
            WebhookRoute(
                trust=ReloadableTrust(OriginTrust(None)),
                resolver=self.resolver(),
                behind_upstream=lambda *_: Endpoint(),
            ),
            secrets=(),
            wall_clock=lambda: NOW,
        )
        self.successResultOf(self.send(webhook))
        self.assertIsNone(self.receiver.requests[0].field("webhook-signature"))

    def test_one_connection(self) -> None:
        webhook = self.webhook()
        for number in range(3):
            self.successResultOf(self.send(webhook, message_id=str(number)))
        self.assertEqual((len(self.receiver.requests), self.receiver.connections), (3, 1))

    def test_cookies_are_not_sent(self) -> None:
        """A receiver cannot make the proxy store anything."""
        webhook = self.webhook()
        self.response = OriginResponse(status=200, headers=((b"Set-Cookie", b"a=b; Path=/"),))
        self.successResultOf(self.send(webhook))
        self.successResultOf(self.send(webhook))
        self.assertIsNone(self.receiver.requests[1].field("cookie"))

    def test_redirects_are_not_followed(self) -> None:
        self.response = OriginResponse(status=307, headers=((b"Location", b"http://hooks.test/other"),))
        self.assertEqual(self.successResultOf(self.send(self.webhook())).status, 307)
        self.assertEqual(len(self.receiver.requests), 1)

    def test_retry_after(self) -> None:
        self.response = OriginResponse(status=429, headers=((b"Retry-After", b"17"),))
        self.assertEqual(self.successResultOf(self.send(self.webhook())), Response(429, 17.0))


class TlsTests(WebhookTestCase):
    """A receiver is verified with the trust store of the proxy."""

    def listen(self, name: str) -> None:
        """Listen with TLS, with the certificate of a name."""
        context = self.ca.context(Authority(name, 443))
        self.reactor.listen(ADDRESS, 443, partial(self.receiver.accept, tls=context))

    def test_trusted(self) -> None:
        self.listen("hooks.test")
        self.successResultOf(self.send(self.webhook(f"https://hooks.test{PATH}")))
        self.assertTrue(self.receiver.requests[0].is_tls)

    def test_not_trusted(self) -> None:
        for name, trusting in (("other.test", True), ("hooks.test", False)):
            with self.subTest(name):
                self.listen(name)
                reason = self.failed(self.webhook(f"https://hooks.test{PATH}", trusting=trusting))
                self.assertIn("TLS error: ", reason)
                self.assertIn("certificate", reason)
                self.assertNotIn("hunter2", reason)
        self.assertEqual(self.receiver.requests, [])


class UpstreamTests(WebhookTestCase):
    """Messages can be sent through the upstream proxy."""

    def test_endpoint(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        endpoint = Endpoint()
        asked: list[object] = []

        def behind(*given: object) -> Endpoint:
            asked.extend(given)
            return endpoint

        self.send(self.webhook(upstream=upstream, behind_upstream=behind))
        self.assertEqual(asked, [upstream, Authority("hooks.test", 80)])
        self.assertTrue(endpoint.last.take().startswith(b"POST /services/hunter2"))
        self.assertEqual(self.receiver.requests, [])


class ExplainTests(WebhookTestCase):
    """The description of a failure contains no part of the URL that is a secret."""

    def test_failures(self) -> None:
        webhook = self.webhook()
        for error, expected in (
            (DeadlinePassed(), "no response within 10 s"),
            (ConnectTimeout(), "no connection within 10 s"),
            (ConnectRefused(), "the connection was refused"),
            (NameNotResolved("hunter2"), "the host name does not resolve"),
            (ConnectionLost(), "the connection closed before the response was complete"),
            (ConnectError(), "the host cannot be reached"),
            (SSL.Error("hunter2"), "Error"),
            (ValueError("hunter2"), "ValueError"),
        ):
            with self.subTest(type(error).__name__):
                self.assertEqual(webhook.explain(Failure(error)), expected)

    def test_refused(self) -> None:
        self.assertEqual(self.failed(self.webhook("http://hooks.test:81/hunter2")), "the connection was refused")

    def test_unknown_name(self) -> None:
        self.assertEqual(self.failed(self.webhook("http://other.test/hunter2")), "the host name does not resolve")

    def test_large_responses(self) -> None:
        """A response is limited, so a receiver cannot use the memory of the proxy."""
        self.response = OriginResponse(b"x" * 1_000_000)
        self.assertIn("over 65536 bytes", self.failed(self.webhook()))


class DeliveryTests(WebhookTestCase):
    """A delivery over the client: the id stays the same in all attempts, and each is signed."""

    def test_retries(self) -> None:
        statuses = [503, 429, 200]

        def respond(request: OriginRequest) -> OriginResponse:
            return OriginResponse(status=statuses.pop(0))

        self.receiver.respond = respond
        webhook = self.webhook()
        results: list[Result] = []
        delivery = Delivery(
            cast(IEgressReactor, self.reactor), "x", webhook.send, explain=webhook.explain, jitter=lambda: 1.0
        )
        delivery.enqueue(Parcel("msg_7", b"{}", results.append))
        self.reactor.settle()
        for seconds in (1.0, 2.0):
            self.now += seconds
            self.reactor.pass_time(seconds)
        self.assertEqual(results, [Result.DELIVERED])
        requests = self.receiver.requests
        self.assertEqual([request.field("webhook-id") for request in requests], ["msg_7"] * 3)
        times = [int(request.field("webhook-timestamp") or "") for request in requests]
        self.assertEqual(times, [1_700_000_000, 1_700_000_001, 1_700_000_003])
        for request, time in zip(requests, times, strict=True):
            self.assertEqual(request.field("webhook-signature"), signature(SECRETS, "msg_7", time, b"{}"))
        self.successResultOf(delivery.close(1.0))

    def test_hanging_receiver(self) -> None:
        """A stop while a receiver hangs closes the connection."""
        never: Deferred[OriginResponse] = Deferred()
        self.receiver.respond = lambda request: never
        webhook = self.webhook()
        results: list[Result] = []
        delivery = Delivery(
            cast(IEgressReactor, self.reactor), "x", webhook.send, explain=webhook.explain, jitter=lambda: 1.0
        )
        delivery.enqueue(Parcel("msg_7", b"{}", results.append))
        self.reactor.settle()
        closed = delivery.close(1.0)
        self.reactor.pass_time(1.0)
        self.successResultOf(closed)
        self.assertEqual(results, [Result.DROPPED])
        webhook.close()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
