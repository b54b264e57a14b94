"""Tests for L{egress.launch.summary}."""

from __future__ import annotations

from typing import Any
from unittest import mock

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import IAuditSink
from egress.launch import summary as module
from egress.launch.policy_source import PolicySource
from egress.launch.summary import Summary
from egress.policy.parse.load import parse_policy
from egress.runtime.colors import Color
from tests.observability.records import ALLOWED, REFUSED

DENIED = attrs.evolve(
    ALLOWED,
    method="GET",
    url="https://blocked.test/a?token=hunter2",
    verdict="deny",
    outcome="denied",
    reason="no rule allows it",
    rule_id="default",
)


POLICY = PolicySource("policy.toml", {})


class SummaryTests(SynchronousTestCase):
    """The summary of the requests of one command."""

    def setUp(self) -> None:
        self.summary = Summary(policy=POLICY)

    def lines(self, *records: Any) -> list[str]:
        for record in records:
            self.summary.write(record)
        return list(self.summary.lines())

    def test_sink(self) -> None:
        verifyObject(IAuditSink, self.summary)
        self.summary.close()

    def test_nothing(self) -> None:
        self.assertEqual(self.lines(), ["0 requests, 0 allowed, 0 refused"])

    def test_requests_for_the_proxy_itself(self) -> None:
        """They are not counted."""
        record = attrs.evolve(REFUSED, outcome="proxy-addressed", url="https://egressproxy.invalid/")
        self.assertEqual(self.lines(record), ["0 requests, 0 allowed, 0 refused"])

    def test_allowed(self) -> None:
        other = attrs.evolve(ALLOWED, url="http://b.test/", outcome="origin-timeout", reason="the origin is slow")
        self.assertEqual(
            self.lines(ALLOWED, ALLOWED, other),
            [
                "3 requests, 3 allowed, 0 refused, 1 failed",
                "  failed, origin-timeout: POST http://b.test/",
                "    reason: the origin is slow",
                "  destinations: api.example.com:443, b.test:80",
            ],
        )

    def test_unresolved(self) -> None:
        """A name without an address is no destination, and no policy allows it."""
        lost = attrs.evolve(ALLOWED, url="http://typo.test/", outcome="name-not-resolved")
        lines = self.lines(lost)
        self.assertEqual(lines[1], "  failed, name-not-resolved: POST http://typo.test/")
        self.assertNotIn("destinations", lines[-1])
        self.assertEqual(self.summary.traffic.requests, 0)

    def test_denied(self) -> None:
        """It has the reason, and the rule that would allow the request, but no query."""
        lines = self.lines(DENIED, DENIED)
        self.assertEqual(
            lines[:7],
            [
                "2 requests, 0 allowed, 2 refused",
                "  denied: GET https://blocked.test/a (2 times)",
                "    reason: no rule allows it",
                "    rule: default, because no rule matches",
                "  To allow this, review it, and add it to policy.toml:",
                "",
                "    [[rules]]",
            ],
        )
        self.assertNotIn("hunter2", "\n".join(lines))
        self.assertNotIn("#", "\n".join(lines))
        rules = parse_policy("version = 1\n" + "\n".join(lines[5:]), "p.toml", "p")
        self.assertEqual(len(rules.rules), 1)

    def test_denied_by_a_service(self) -> None:
        """Rules would have no effect."""
        self.summary = Summary()
        lines = self.lines(attrs.evolve(DENIED, rule_id="r1"))
        self.assertEqual(
            lines[1:], ["  denied: GET https://blocked.test/a", "    reason: no rule allows it", "    rule: r1"]
        )

    def test_rejected(self) -> None:
        """No rule allows a request that the proxy itself rejects."""
        userinfo = attrs.evolve(REFUSED, url="http://me:hunter2@a.test/b?c")
        lines = self.lines(userinfo)
        self.assertNotIn("hunter2", lines[1])
        self.summary = Summary(policy=POLICY)
        forbidden = attrs.evolve(DENIED, outcome="address-forbidden", reason="the address is private")
        lines = self.lines(REFUSED, forbidden)
        self.assertEqual(len(lines), 5)
        self.assertIn("bad-request", lines[1] + lines[3])
        self.assertIsNone(self.summary.fix())

    def test_style(self) -> None:
        """Each line that is not empty is styled, and has no line break."""
        self.summary.write(DENIED)
        styled: list[str] = []

        def style(text: str, color: Color | None) -> str:
            styled.append(text)
            return text if color is None else f"<{color.name}>{text}"

        lines = list(self.summary.lines(style))
        self.assertEqual(len(styled), sum(map(bool, lines)))
        self.assertNotIn("\n", "".join(styled))
        self.assertEqual(lines[1], "<RED>  denied: GET https://blocked.test/a")
        self.assertEqual(lines[2], "    reason: no rule allows it")

    def test_unused_tunnels(self) -> None:
        """They tell of a client that does not accept the CA, unless it sends requests in other tunnels to the host."""
        unused = attrs.evolve(
            REFUSED, method="CONNECT", url="https://a.test", outcome="tunnel-without-request", reason="none was sent"
        )
        used = attrs.evolve(ALLOWED, url="https://b.test/")
        for record in (
            unused,
            attrs.evolve(unused, url="https://b.test"),
            used,
            attrs.evolve(unused, url="https://[::1"),
        ):
            self.summary.write(record)
        self.summary.close()
        lines = self.lines()
        self.assertEqual(lines[0], "3 requests, 1 allowed, 2 refused")
        self.assertEqual(lines[1], "  tunnel-without-request: CONNECT https://a.test")
        self.assertNotIn("CONNECT https://b.test", "\n".join(lines))
        # A second time, there is nothing to count.
        self.summary.close()
        self.assertEqual(self.summary.requests, 3)

    def test_observed(self) -> None:
        observed = attrs.evolve(ALLOWED, observed="deny")
        self.assertEqual(
            self.lines(ALLOWED, observed)[0],
            "2 requests, 2 allowed, 0 refused, 1 would be denied without observe mode",
        )
        self.assertEqual(self.summary.traffic.requests, 2)

    def test_learned_requests_are_bounded(self) -> None:
        with mock.patch.object(module, "MAX_LEARNED", 1):
            self.lines(ALLOWED, ALLOWED)
        self.assertEqual(self.summary.traffic.requests, 1)

    def test_bounds(self) -> None:
        """Its memory does not depend on the number of URLs."""
        with mock.patch.object(module, "MAX_STORED", 3):
            for number in range(5):
                self.summary.write(attrs.evolve(DENIED, url=f"https://h{number}.test/"))
                self.summary.write(attrs.evolve(ALLOWED, url=f"https://h{number}.test/"))
        self.assertEqual((len(self.summary.refusals), len(self.summary.destinations)), (3, 3))
        self.assertEqual((self.summary.requests, self.summary.not_stored), (10, 4))

    def test_shown(self) -> None:
        for number in range(15):
            self.summary.write(attrs.evolve(DENIED, url=f"https://h{number}.test/"))
            self.summary.write(attrs.evolve(ALLOWED, url=f"https://h{number:02}.test/"))
        lines = list(self.summary.lines())
        self.assertIn("  and 5 other refusals", lines)
        for number in range(15):
            failed = attrs.evolve(ALLOWED, url=f"https://h{number:02}.test/", outcome="origin-timeout")
            self.summary.write(failed)
            self.summary.write(failed)
        lines = list(self.summary.lines())
        self.assertIn("  and 5 other failures", lines)
        self.assertIn("  failed, origin-timeout: POST https://h09.test/ (2 times)", lines)
        self.assertTrue(lines[-1].endswith(", h09.test:443 and 5 more"), lines[-1])
