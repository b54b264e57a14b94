"""Tests for L{egress.checks.server}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.checks import machine, network
from egress.checks.contact import Contact
from egress.checks.finding import Status, ok
from egress.checks.server import NAMES, SECONDS, ServerChecks
from egress.config.model import ProxyConfig
from egress.model.authority import Authority, UpstreamProxy
from tests.files import make_directory
from tests.threads import Later, immediately


class ServerCheckTests(SynchronousTestCase):
    """All checks end, and there is one run at a time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ahead = 0.5
        self.patch(network, "server_contact", lambda url, seconds: Contact(status=404, ahead=self.ahead))
        self.patch(network, "upstream_contact", lambda upstream, seconds: Contact(status=200, ahead=0.0))
        self.patch(network, "check_dns", lambda *_: succeed(ok("dns", "respond")))
        self.patch(network, "check_authorizer", self.authorizer)
        self.decided: Any = succeed(ok("authorizer", "decided"))
        self.config = ProxyConfig(
            ca_dir=make_directory(self) / "ca",
            authz_url="http://service.test",
            upstream_https=UpstreamProxy("http", Authority("proxy.test", 3128)),
        )

    def authorizer(self, reactor: Any, config: Any, dry_run: Any) -> Any:
        self.assertIs(config, self.config)
        self.assertEqual(dry_run(config), "dry run")
        return self.decided

    def checks(self, in_thread: Any = immediately) -> ServerChecks:
        make: Any = lambda config: "dry run"  # noqa: E731
        return ServerChecks(self.clock, self.config, make, in_thread)

    def test_results(self) -> None:
        findings = self.successResultOf(self.checks().run())
        self.assertEqual([each.name for each in findings], list(NAMES))
        self.assertEqual(
            {each.name: each.status.value for each in findings},
            {
                **dict.fromkeys(("clock", "dns", "authorizer", "upstream", "versions"), "ok"),
                "ca": "skipped",
                "descriptors": findings[5].status.value,
            },
        )
        self.assertIn("of the authorization service and of", findings[1].text)

    def test_clock(self) -> None:
        self.ahead = 600.0
        finding = self.successResultOf(self.checks().run())[1]
        self.assertEqual(finding.status, Status.FAULT)
        self.assertIn("10 minutes behind", finding.text)

    def test_failed_check(self) -> None:
        """A check that fails is a finding, and the others are made."""

        def broken() -> Any:
            raise ValueError("broken")

        self.patch(machine, "versions", broken)
        self.patch(network, "check_dns", lambda *_: broken())
        findings = self.successResultOf(self.checks().run())
        failed = {each.name: each.text for each in findings if each.status is Status.ERROR}
        text = "could not be checked: ValueError: broken"
        self.assertEqual(failed, {"dns": text, "versions": text})

    def test_timeout(self) -> None:
        self.decided = Deferred()
        running = self.checks().run()
        self.clock.advance(SECONDS - 1)
        self.assertNoResult(running)
        self.clock.advance(1)
        found = self.successResultOf(running)[3]
        self.assertEqual((found.status, found.text), (Status.ERROR, "no result within 15 seconds"))

    def test_one_run(self) -> None:
        """A second caller gets the results of the run in progress; one that leaves does not stop it."""
        later = Later()
        checks = self.checks(later)
        one, other, gone = checks.run(), checks.run(), checks.run()
        begun = len(later.begun)
        gone.addErrback(lambda _: None)
        gone.cancel()
        self.assertTrue(checks.is_running)
        while later.begun:
            later.begun.pop(0)()
        self.assertIs(self.successResultOf(one), self.successResultOf(other))
        self.assertFalse(checks.is_running)
        checks.run()
        self.assertEqual(len(later.begun), begun)

    def test_stop(self) -> None:
        self.decided = Deferred()
        checks = self.checks()
        checks.stop()
        running = checks.run()
        checks.stop()
        self.assertEqual(self.successResultOf(running)[3].text, "was stopped")
        self.assertEqual(self.clock.getDelayedCalls(), [])
