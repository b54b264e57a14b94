"""Tests for L{egress.notify.trial}."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, Limits, ProxyConfig
from egress.config.notify import NotifySettings
from egress.notify.delivery import ATTEMPT_SECONDS
from egress.notify.trial import TrialResult, send_test
from egress.notify.webhook import WebhookRoute
from egress.testing.origin import MemoryOrigin, OriginResponse
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.reactor import IEgressReactor
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from tests.authz.servers import Endpoint

JSON, SLACK = "http://localhost:9001/json", "slack:http://localhost:9002/hunter2"


class TrialTests(SynchronousTestCase):
    """Each target receives one message, and its response is the result."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(FixedResolver({"localhost": ["127.0.0.1"]}))
        self.receivers = [MemoryOrigin(lambda request: OriginResponse(status=204)) for _ in range(2)]
        for port, receiver in zip((9001, 9002), self.receivers, strict=True):
            self.reactor.listen("127.0.0.1", port, receiver.accept)

    def send(self, *urls: str, **options: Any) -> Deferred[list[TrialResult]]:
        """Send a test message to each target."""
        settings = NotifySettings(url=urls, secret=(bytes(32),), **options)  # type: ignore[arg-type]
        config = ProxyConfig(notify=settings)
        reactor = cast(IEgressReactor, self.reactor)
        route = WebhookRoute(
            trust=ReloadableTrust(OriginTrust()),
            resolver=Resolver(reactor, ReactorLookups(reactor), Limits()),
            behind_upstream=lambda *_: Endpoint(),
        )
        results = send_test(reactor, config, route)
        self.reactor.pass_time(0.5)
        return results

    def test_accepted(self) -> None:
        results = self.successResultOf(self.send(JSON, SLACK))
        self.assertEqual(
            [(each.target, each.format) for each in results],
            [("http://localhost:9001", "json"), ("http://localhost:9002", "slack")],
        )
        self.assertTrue(all(each.accepted and each.status == 204 for each in results))
        first, second = (receiver.requests[0] for receiver in self.receivers)
        self.assertEqual(json.loads(first.body)["type"], "test")
        self.assertIsNotNone(first.field("webhook-signature"))
        self.assertIn("blocks", json.loads(second.body))
        self.assertIsNone(second.field("webhook-signature"))

    def test_not_accepted(self) -> None:
        self.receivers[1].respond = lambda request: OriginResponse(status=403)
        (result,) = self.successResultOf(self.send(SLACK))
        self.assertEqual((result.accepted, result.status), (False, 403))
        self.assertIn("check the URL", result.text)
        self.assertEqual(len(self.receivers[1].requests), 1)

    def test_no_response(self) -> None:
        """A target that does not respond does not hide the results of the others."""
        never: Deferred[OriginResponse] = Deferred()
        self.receivers[0].respond = lambda request: never
        sending = self.send(JSON, SLACK, "slack:http://localhost:9003/hunter2")
        self.assertNoResult(sending)
        self.reactor.pass_time(ATTEMPT_SECONDS)
        hanging, accepted, refused = self.successResultOf(sending)
        self.assertEqual((hanging.accepted, accepted.accepted, refused.accepted), (False, True, False))
        self.assertEqual((hanging.text, refused.text), ("no response within 10 s", "the connection was refused"))
        self.assertNotIn("hunter2", repr((hanging, accepted, refused)))

    def test_no_upstream(self) -> None:
        self.assertRaises(ConfigError, self.send, JSON, via_upstream=True)
