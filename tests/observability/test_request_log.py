"""Tests for L{egress.observability.request_log}."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import IAuditSink
from egress.model.decision import ClientIdentity
from egress.model.tls_alert import CLOSED_IN_HANDSHAKE
from egress.observability.request_log import DISTRUST_PERIOD, MOST_LINES, MOST_OF_A_PAIR, PERIOD, RequestLog
from egress.runtime.log_lines import record_of
from tests.observability.records import ALLOWED, REFUSED

DENIED = attrs.evolve(
    ALLOWED, verdict="deny", outcome="denied", reason="writes are not allowed", status=403, rule_id="no-writes"
)
DISTRUST = attrs.evolve(
    ALLOWED,
    url="https://api.example.com",
    method="CONNECT",
    verdict="rejected",
    outcome="client-tls-failed",
    reason="the client aborted the TLS handshake with the alert unknown_ca",
    rule_id=None,
)


class RequestLogTestCase(SynchronousTestCase):
    """Base: the lines about records."""

    every = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.log = RequestLog(self.clock, every=self.every)
        self.events: list[Any] = []

    def write(self, *records: Any) -> list[str]:
        """Write records, and return the lines about them."""
        with capturedLogs() as events:
            for record in records:
                self.log.write(record)
        self.events = list(events)
        return [formatEvent(event) for event in events]

    def advance(self, seconds: float = PERIOD) -> list[str]:
        """Let time pass, and return the lines that are written."""
        with capturedLogs() as events:
            self.clock.advance(seconds)
        return [formatEvent(event) for event in events]


class DeniedTests(RequestLogTestCase):
    """By default, requests that were not forwarded have lines."""

    def test_interface(self) -> None:
        verifyObject(IAuditSink, self.log)

    def test_line(self) -> None:
        """The URL is redacted; the fields have the names of the keys of audit records."""
        (line,) = self.write(DENIED)
        self.assertEqual(
            line,
            "deny 403 POST https://api.example.com/v1/items?page=2&token=REDACTED from runner-7 at 127.0.0.1:52314: "
            "writes are not allowed (denied, rule no-writes, HTTP 2 to 1.1, 100.0 ms)",
        )
        (event,) = self.events
        self.assertEqual(event["log_level"], LogLevel.warn)
        fields = record_of(event)["fields"]
        self.assertEqual(
            fields,
            {
                "verdict": "deny",
                "status": 403,
                "method": "POST",
                "url": "https://api.example.com/v1/items?page=2&token=REDACTED",
                "identity": "runner-7",
                "client": "127.0.0.1:52314",
                "reason": "writes are not allowed",
                "outcome": "denied",
                "ruleId": "no-writes",
                "clientHttp": "2",
                "originHttp": "1.1",
                "durationMs": 100.0,
            },
        )
        self.assertEqual(event["requestId"], "abc123")

    def test_missing_values(self) -> None:
        record = attrs.evolve(REFUSED, client=ClientIdentity("2001:db8::7", 40000))
        self.assertEqual(
            self.write(record),
            ["rejected - - - from [2001:db8::7]:40000: two Host fields (bad-request, rule -, HTTP - to -, 100.0 ms)"],
        )
        fields = json.loads(json.dumps(record_of(self.events[0])["fields"]))
        self.assertEqual((fields["status"], fields["url"], fields["ruleId"]), (None, None, None))

    def test_which_requests(self) -> None:
        for changes, expected in (
            ({}, False),
            ({"outcome": "client-disconnected"}, False),
            ({"outcome": "origin-unreachable", "status": 502}, True),
            ({"observed": "deny"}, True),
            ({"verdict": "deny", "outcome": "denied"}, True),
            ({"verdict": "unavailable", "outcome": "authorizer-unavailable"}, True),
            ({"verdict": "rejected", "outcome": "bad-request"}, True),
            ({"verdict": "failed", "outcome": "internal-error"}, True),
            ({"verdict": "rejected", "outcome": "tunnel-without-request"}, False),
            ({"verdict": "rejected", "outcome": "client-disconnected"}, False),
            ({"verdict": "rejected", "outcome": "client-tls-failed", "reason": "no shared cipher"}, True),
        ):
            log = RequestLog(Clock(), every=False)
            with self.subTest(**changes), capturedLogs() as events:
                log.write(attrs.evolve(ALLOWED, **changes))
                self.assertEqual(len(events), expected)

    def test_observe_mode(self) -> None:
        (line,) = self.write(attrs.evolve(ALLOWED, observed="deny"))
        self.assertTrue(line.startswith("observed-deny 201 POST https://"), line)

    def test_long_text(self) -> None:
        (line,) = self.write(attrs.evolve(DENIED, url=f"https://a.test/{'x' * 9000}", reason="y" * 9000))
        self.assertLess(len(line), 1000)


class LimitTests(RequestLogTestCase):
    """A flood of denied requests does not fill the log."""

    def test_one_pair(self) -> None:
        self.assertEqual(len(self.write(*[DENIED] * 100)), MOST_OF_A_PAIR)
        self.assertEqual(
            self.advance(), ["95 more requests from 127.0.0.1 to api.example.com were denied or failed in 10 seconds"]
        )
        self.assertEqual(len(self.write(DENIED)), 1)
        self.assertEqual((self.advance(), self.clock.getDelayedCalls()), ([], []))

    def test_other_pairs_are_not_affected(self) -> None:
        self.write(*[DENIED] * 100)
        other = ClientIdentity("192.0.2.7", 1)
        for record in (attrs.evolve(DENIED, client=other), attrs.evolve(DENIED, url="https://b.test/")):
            self.assertEqual(len(self.write(record)), 1)

    def test_many_pairs(self) -> None:
        records = [attrs.evolve(DENIED, url=f"https://h{number}.test/") for number in range(5000)]
        self.assertEqual(len(self.write(*records, records[-1], records[-1], records[60], records[60])), MOST_LINES)
        lines = self.advance()
        self.assertEqual(len(lines), 6)
        self.assertEqual(lines[0], "3 more requests from 127.0.0.1 to h60.test were denied or failed in 10 seconds")
        self.assertEqual(lines[-1], "4947 more requests of other clients or hosts were denied or failed in 10 seconds")
        written = MOST_LINES + sum(int(line.split()[0]) for line in lines)
        self.assertEqual(written, 5004)

    def test_invalid_url(self) -> None:
        self.write(*[attrs.evolve(REFUSED, url="http://[::1")] * 6)
        self.assertEqual(
            self.advance(), ["1 more requests from 2001:db8::/64 to - were denied or failed in 10 seconds"]
        )

    def test_close(self) -> None:
        """The summaries of a period are written at the end."""
        self.write(*[DENIED] * 7)
        with capturedLogs() as events:
            self.log.close()
        self.assertEqual([event["number"] for event in events], [2])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        RequestLog(self.clock, every=True).close()


class AllTests(RequestLogTestCase):
    """Every request has a line."""

    every = True

    def test_levels(self) -> None:
        lines = self.write(ALLOWED, DENIED, attrs.evolve(ALLOWED, client=ClientIdentity("192.0.2.7", 1)))
        self.assertEqual([event["log_level"].name for event in self.events], ["info", "warn", "info"])
        self.assertTrue(lines[2].startswith("allow 201 POST https://api.example.com/v1/items"), lines)

    def test_no_limit(self) -> None:
        self.assertEqual(len(self.write(*[DENIED] * 100, *[ALLOWED] * 100)), 200)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unremarkable_requests(self) -> None:
        self.assertEqual(len(self.write(attrs.evolve(DENIED, outcome="client-disconnected"))), 1)


class DistrustTests(RequestLogTestCase):
    """A client that does not trust the CA."""

    def test_line(self) -> None:
        """It names the client, the host, and the fix; one line for each client and host in ten minutes."""
        (line,) = self.write(*[DISTRUST] * 20)
        self.assertEqual(
            line,
            "127.0.0.1 does not trust the CA for api.example.com (alert unknown_ca). Run egress trust there, or set "
            "the variables of egress env. If it pins certificates, use --passthrough api.example.com. See "
            "docs/how-to/clients.md",
        )
        self.assertEqual(self.events[0]["log_level"], LogLevel.warn)
        self.assertEqual(len(self.write(attrs.evolve(DISTRUST, url="https://other.test"))), 1)
        self.clock.advance(DISTRUST_PERIOD)
        self.assertEqual(len(self.write(*[DISTRUST] * 20)), 1)

    def test_closed_in_the_handshake(self) -> None:
        record = attrs.evolve(DISTRUST, reason=f"{CLOSED_IN_HANDSHAKE}; it offered the protocols h2")
        (line,) = self.write(record, record)
        self.assertIn("127.0.0.1 closed the connection in the TLS handshake for api.example.com", line)

    def test_memory(self) -> None:
        self.log = RequestLog(self.clock, every=self.every, most_pairs=2)
        records = [attrs.evolve(DISTRUST, url=f"https://h{number}.test") for number in range(3)]
        self.assertEqual(len(self.write(*records)), 3)
        self.assertEqual(len(self.write(*records[1:])), 0)
        self.assertEqual(len(self.write(records[0])), 1)
