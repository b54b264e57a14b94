"""Tests for L{egress.notify.setup}."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError, Limits, ProxyConfig
from egress.config.notify import NotifySettings
from egress.model.authority import Authority, UpstreamProxy
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.webhook import signature
from egress.notify.setup import check_upstream, proxy_name
from egress.runtime.role import DRY_RUN
from egress.service import EgressProxyService
from egress.testing import MemoryProxy
from egress.testing.origin import OriginRequest, OriginResponse
from egress.testing.reactor import MemoryReactor
from tests.authz.fakes import FixedAuthorizer, Scripted
from tests.files import make_directory
from tests.threads import at_once

SECRET = bytes(range(32))
URL = "https://hooks.test/egress"


def settings(**given: Any) -> Any:
    """Make the settings of notifications for a receiver in memory."""
    return NotifySettings(**{"url": (URL,), "secret": (SECRET,), "interval": 60.0, **given})


class ProxyTestCase(SynchronousTestCase):
    """Base: a whole proxy in memory, and a receiver with TLS."""

    def setUp(self) -> None:
        self.status = 204

    def make(self, authorizer: Any = None, **options: Any) -> MemoryProxy:
        """Make a proxy."""
        notify = options.pop("notify", settings())
        proxy = MemoryProxy(authorizer, notify=notify, limits=Limits(drain_timeout=1.0), **options)
        self.addCleanup(proxy.close)
        self.receiver = proxy.origin("hooks.test", lambda request: OriginResponse(status=self.status))
        return proxy

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that were received, and verify their signatures."""
        return [self.verified(request) for request in self.receiver.requests]

    def verified(self, request: OriginRequest) -> dict[str, Any]:
        """Verify the signature of a message."""
        time = int(request.field("webhook-timestamp") or "")
        expected = signature([SECRET], request.field("webhook-id") or "", time, request.body)
        self.assertEqual(request.field("webhook-signature"), expected)
        message: dict[str, Any] = json.loads(request.body)
        self.assertEqual(message["id"], request.field("webhook-id"))
        return message


class DeliveryTests(ProxyTestCase):
    """A proxy sends messages about what happens in it."""

    def test_denials(self) -> None:
        denies = FixedAuthorizer(Decision(Verdict.DENY, "not here", "the test", rule_id="no-a"))
        proxy = self.make(denies)
        for number in range(20):
            response = proxy.request("GET", f"http://a.test/{number}?token=hunter2")
            self.assertEqual(response.status, 403)
            proxy.pass_time(0.5)
        proxy.pass_time(61.0)
        first, summary = self.messages()
        self.assertEqual((first["type"], summary["type"]), ("denial.first", "denial.summary"))
        total = first["data"]["count"] + summary["data"]["count"]
        self.assertEqual(total, 20)
        self.assertEqual((first["data"]["ruleId"], first["data"]["host"]), ("no-a", "a.test"))
        self.assertEqual(first["proxy"], proxy_name())
        self.assertNotIn(b"hunter2", self.receiver.requests[0].body + self.receiver.requests[1].body)
        self.assertTrue(self.receiver.requests[0].is_tls)

    def test_breaker(self) -> None:
        failing = True

        def decide() -> Any:
            if failing:
                raise AuthorizerUnavailable("down", AuthzFailure.CONNECTION)
            return Decision(Verdict.ALLOW, "", "the test")

        proxy = self.make(Scripted(lambda: maybeDeferred(decide)))
        proxy.origin("a.test")
        for _ in range(6):
            self.assertEqual(proxy.request("GET", "http://a.test/").status, 503)
        proxy.pass_time(1.0)
        self.assertEqual([message["type"] for message in self.messages()], ["breaker.opened"])
        failing = False
        proxy.pass_time(30.0)
        self.assertEqual(proxy.request("GET", "http://a.test/").status, 200)
        proxy.pass_time(1.0)
        self.assertEqual([message["type"] for message in self.messages()], ["breaker.opened", "breaker.closed"])

    def test_off(self) -> None:
        """Without a target there are neither metrics nor timers."""
        proxy = self.make(FixedAuthorizer(Decision(Verdict.DENY, "no", "the test")), notify=NotifySettings())
        proxy.request("GET", "http://a.test/")
        proxy.pass_time(61.0)
        self.assertEqual(self.receiver.requests, [])
        self.assertNotIn(b"egress_notifications", proxy.service.metrics.render()[0])

    def test_hanging_receiver(self) -> None:
        """A receiver that does not respond delays neither requests nor, for long, the stop."""
        never: Deferred[OriginResponse] = Deferred()
        proxy = self.make(FixedAuthorizer(Decision(Verdict.DENY, "no", "the test")))
        self.receiver.respond = lambda request: never
        self.assertEqual(proxy.request("GET", "http://a.test/").status, 403)
        proxy.pass_time(1.0)
        self.assertEqual(len(self.receiver.requests), 1)
        self.assertEqual(proxy.request("GET", "http://b.test/").status, 403)
        begun = proxy.reactor.seconds()
        stopped: list[None] = []
        proxy.service.stopService().addCallback(stopped.append)
        proxy.pass_time(2.5)
        self.assertEqual((stopped, proxy.reactor.seconds() - begun < 3.0), ([None], True))


class ReloadTests(ProxyTestCase):
    """A policy that cannot be loaded is reported, and also the next one that can."""

    def test_policy(self) -> None:
        policy = Path(self.mktemp())
        policy.write_text('version = 1\ndefault = "allow"\n', encoding="utf-8")
        proxy = self.make(policy=policy)
        policy.write_text("version = 1\nrules = 7\n", encoding="utf-8")
        self.assertRaises(ConfigError, proxy.reactor.wait_for, proxy.service.reload())
        policy.write_text('version = 1\ndefault = "deny"\n', encoding="utf-8")
        proxy.reactor.wait_for(proxy.service.reload())
        proxy.pass_time(0.5)
        failed, loaded = self.messages()
        self.assertEqual((failed["type"], loaded["type"]), ("policy.failed", "policy.loaded"))
        self.assertIn("rules", failed["data"]["error"])


class FileTests(ProxyTestCase):
    """The files with webhooks and secrets are read again by a reload."""

    def setUp(self) -> None:
        super().setUp()
        directory = make_directory(self)
        self.urls, self.secret = directory / "urls.txt", directory / "secret.txt"
        self.urls.write_text(f"{URL}\n", "ascii")
        self.write_secrets(SECRET)
        arguments = {"notify-url-file": [str(self.urls)], "notify-secret-file": [str(self.secret)]}
        notify = load_config(arguments, {}).notify
        denies = FixedAuthorizer(Decision(Verdict.DENY, "no", "the test"))
        self.proxy = self.make(denies, notify=notify)
        self.other = self.proxy.origin("other.test", lambda request: OriginResponse(status=204))

    def write_secrets(self, *secrets: bytes) -> None:
        lines = [f"whsec_{base64.b64encode(each).decode()}\n" for each in secrets]
        self.secret.write_text("".join(lines), "ascii")

    def deny(self, host: str) -> None:
        self.proxy.request("GET", f"http://{host}/")
        self.proxy.pass_time(1.0)

    def reload(self) -> None:
        self.proxy.reactor.wait_for(self.proxy.service.reload())

    def test_targets(self) -> None:
        self.deny("a.test")
        self.urls.write_text(f"# two\n{URL}\nhttps://other.test/hook\n", "ascii")
        self.reload()
        self.deny("b.test")
        self.assertEqual((len(self.messages()), len(self.other.requests)), (2, 1))
        self.urls.write_text("https://other.test/hook\n", "ascii")
        self.reload()
        self.deny("c.test")
        self.assertEqual((len(self.messages()), len(self.other.requests)), (2, 2))

    def test_secrets(self) -> None:
        new = bytes(range(1, 33))
        self.write_secrets(new, SECRET)
        self.reload()
        self.deny("a.test")
        (request,) = self.receiver.requests
        time = int(request.field("webhook-timestamp") or "")
        expected = signature([new, SECRET], request.field("webhook-id") or "", time, request.body)
        self.assertEqual(request.field("webhook-signature"), expected)

    def test_a_bad_file(self) -> None:
        """The previous files stay in use, and a message reports the error."""
        self.urls.write_text("ftp://hunter2\n", "ascii")
        self.write_secrets(bytes(range(1, 33)))
        error = self.assertRaises(ConfigError, self.proxy.reactor.wait_for, self.proxy.service.reload())
        self.assertEqual(error.option, "--notify-url-file")
        self.proxy.pass_time(1.0)
        self.deny("a.test")
        failed, denied = self.messages()
        self.assertEqual((failed["type"], denied["type"]), ("policy.failed", "denial.first"))
        self.assertIn("--notify-url-file", failed["data"]["error"])
        self.assertNotIn("hunter2", str(failed))


class ConfigurationTests(SynchronousTestCase):
    """Errors of the configuration are found when the proxy is made."""

    def test_upstream(self) -> None:
        config = ProxyConfig(notify=settings(via_upstream=True))
        error = self.assertRaises(ConfigError, check_upstream, config)
        self.assertEqual((error.option, "set --upstream-proxy" in error.remedy), ("--notify-via-upstream", True))
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        check_upstream(ProxyConfig(notify=settings(via_upstream=True), upstream_http=upstream))

    def test_dry_run(self) -> None:
        """A dry run sends nothing, but finds the same errors."""
        at_once(self)
        reactor = MemoryReactor()
        config = ProxyConfig(ca_dir=Path(self.mktemp()), notify=settings(via_upstream=True))
        self.assertRaises(ConfigError, EgressProxyService, reactor, config, role=DRY_RUN)


class UpstreamTests(ProxyTestCase):
    """Messages are sent through the upstream proxy, unless the receiver is reached directly."""

    def test_upstream(self) -> None:
        for bypass, expected in (("", 1), ("hooks.test", 0)):
            with self.subTest(bypass):
                upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
                denies = FixedAuthorizer(Decision(Verdict.DENY, "no", "the test"))
                proxy = self.make(denies, notify=settings(via_upstream=True), upstream_https=upstream, bypass=bypass)
                through = proxy.origin("proxy.test", lambda request: OriginResponse(status=502), http_ports=(3128,))
                proxy.request("GET", "http://a.test/")
                proxy.pass_time(0.5)
                self.assertEqual([request.method for request in through.requests], ["CONNECT"] * expected)
                self.assertEqual(len(self.receiver.requests), 1 - expected)
