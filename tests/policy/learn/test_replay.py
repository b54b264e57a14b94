"""Tests for L{egress.policy.learn.replay}."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import Decision, Stage, Verdict
from egress.policy.learn.replay import Change, Recorded, Recording, Report, replay, replayed
from egress.policy.parse.load import parse_policy
from egress.policy.rules import RuleSet
from tests.policy.audit import audit_line, read

POLICY = parse_policy(
    """
version = 1
[[rules]]
id = "items"
action = "allow"
hosts = ["api.test"]
paths = ["/items/**"]
""",
    "x",
    "x",
)


KEYS = """
version = 1
[[rules]]
name = "timed"
action = "allow"
hosts = ["api.test"]
paths = ["/timed"]
times = ["mon-fri 08:00-18:00"]
[[rules]]
name = "fields"
action = "allow"
hosts = ["api.test"]
paths = ["/fields"]
headers = { X-Key = "*" }
[[rules]]
name = "no-fields"
action = "allow"
hosts = ["api.test"]
paths = ["/no-fields"]
headers = { X-Key = false }
[[rules]]
name = "content"
action = "allow"
hosts = ["api.test"]
paths = ["/content"]
max_body = 10
[[rules]]
name = "parameter"
action = "allow"
hosts = ["api.test"]
paths = ["/parameter"]
query = { token = "x" }
[[rules]]
name = "inside"
action = "deny"
reason = "nobody goes inside"
hosts = ["inside.test"]
addresses = ["private"]
[[rules]]
name = "person"
action = "ask"
hosts = ["api.test"]
paths = ["/person"]
"""


class RecordedTests(SynchronousTestCase):
    """The authorization request of an audit record."""

    def recorded(self, method: str = "GET", **more: Any) -> Recorded:
        (line,) = read(audit_line(method, "http://api.test/items/1?a", **more))
        return Recorded.of(line)

    def test_authorization_request(self) -> None:
        replayed_request = self.recorded(identity="ci").question()
        self.assertEqual((replayed_request.url, replayed_request.client.identity), ("http://api.test/items/1?a", "ci"))
        self.assertEqual((replayed_request.client.address, replayed_request.headers), ("127.0.0.1", ()))
        self.assertEqual((replayed_request.body_withheld, replayed_request.content_length), (False, 0))

    def test_content(self) -> None:
        """The log has no content; the number of bytes shows whether there was content, if the request was forwarded."""
        for method, more, has_content in (
            ("POST", {"bytesSent": 5}, True),
            ("POST", {}, False),
            ("POST", {"verdict": "deny", "outcome": "denied"}, True),
            ("POST", {"outcome": "connect-failed"}, True),
            ("POST", {"outcome": "decided"}, True),
            ("GET", {"verdict": "deny", "outcome": "denied"}, False),
        ):
            replayed_request = self.recorded(method, **more).question()
            self.assertEqual(replayed_request.body_withheld, has_content)
            self.assertEqual(replayed_request.content_length, None if has_content else 0)

    def test_grpc(self) -> None:
        """The log has the call; an audit store does not."""
        policy = parse_policy(
            'version = 1\n[[rules]]\nid = "get"\naction = "allow"\ngrpc = { service = "a.B", method = "C" }', "x", "x"
        )
        url, call = "http://api.test/a.B/C", {"service": "a.B", "method": "C", "status": "OK"}
        for method, where, more, change in (
            ("POST", url, {"grpc": call, "ruleId": "get"}, Change.SAME),
            ("POST", f"{url}D", {"grpc": call}, Change.NEWLY_DENIED),
            ("POST", url, {}, Change.UNDECIDED),
            ("POST", "http://api.test/c", {}, Change.NEWLY_DENIED),
            ("GET", url, {}, Change.NEWLY_DENIED),
        ):
            (found,) = replay(policy, read(audit_line(method, where, **more))).results
            self.assertIs(found.change, change, (method, where, more))

    def test_urls(self) -> None:
        for method, url, expected in (
            ("CONNECT", "https://db.test:5432", "db.test:5432"),
            ("OPTIONS", "http://a.test", "http://a.test"),
            ("GET", "http://a.test/", "http://a.test/"),
        ):
            (line,) = read(audit_line(method, url))
            self.assertEqual(Recorded.of(line).url, expected)

    def test_recording(self) -> None:
        recording = Recording()
        lines = [audit_line("GET", "http://a.test/")] * 3 + [audit_line("GET", "http://a.test/", observed="deny")]
        lines += [audit_line("GET", "http://a.test/", verdict="unavailable")]
        lines += [audit_line("GET", "http://a.test/", observed="unavailable")]
        for line in read(*lines):
            recording.add(line)
        self.assertEqual(list(recording.counts.values()), [3, 1])
        self.assertEqual(recording.undecided, 2)


class ReplayTests(SynchronousTestCase):
    """The effect of a replay on each request."""

    def decide(self, rules: RuleSet, line: bytes) -> tuple[Change, str]:
        (found,) = replay(rules, read(line)).results
        return found.change, found.reason

    def test_by_rules(self) -> None:
        for url, more, change in (
            ("http://api.test/items/1", {"ruleId": "items"}, Change.SAME),
            ("http://api.test/items/1", {"ruleId": "other"}, Change.OTHER_RULE),
            ("http://api.test/items/1", {"observed": "deny"}, Change.NEWLY_ALLOWED),
            ("http://api.test/items/1", {"verdict": "deny"}, Change.NEWLY_ALLOWED),
            ("http://api.test/other", {}, Change.NEWLY_DENIED),
            ("http://api.test/other", {"verdict": "deny", "ruleId": "default"}, Change.SAME),
        ):
            self.assertIs(self.decide(POLICY, audit_line("GET", url, **more))[0], change, (url, more))

    def test_not_decidable(self) -> None:
        """A rule with conditions on data that the log lacks makes the result undecided."""
        rules = parse_policy(KEYS, "x", "x")
        for method, url, more, key in (
            ("GET", "http://api.test/fields", {}, "headers"),
            ("GET", "http://api.test/no-fields", {}, "headers"),
            ("GET", "http://api.test/parameter?token=REDACTED", {}, "query"),
            ("GET", "http://inside.test/", {}, "addresses"),
            ("GET", "http://api.test/timed", {"time": "yesterday"}, "times"),
            ("GET", "http://api.test/timed", {"time": "2026-11-25T12:00:00"}, "times"),
        ):
            with self.subTest(url):
                change, reason = self.decide(rules, audit_line(method, url, **more))
                self.assertIs(change, Change.UNDECIDED)
                self.assertIn(f" has a condition on {key}, which the log does not contain", reason)
        self.assertIs(
            self.decide(rules, audit_line("POST", "http://api.test/content", bytesSent=5))[0], Change.UNDECIDED
        )

    def test_decidable(self) -> None:
        """Conditions on data in the log decide."""
        rules = parse_policy(KEYS, "x", "x")
        for url, change in (
            ("http://api.test/content", Change.OTHER_RULE),
            ("http://api.test/parameter?token=x", Change.OTHER_RULE),
            ("http://api.test/parameter?page=1", Change.NEWLY_DENIED),
            ("http://api.test/person", Change.NEWLY_ASKED),
        ):
            with self.subTest(url):
                self.assertIs(self.decide(rules, audit_line("GET", url))[0], change)

    def test_own_time(self) -> None:
        """Each request is evaluated at its recorded time; requests with equal results are counted together."""
        rules = parse_policy(KEYS, "x", "x")
        times = ("2026-11-25T12:00:00.000Z", "2026-11-25T13:00:00.000Z", "2026-11-25T18:00:00.000Z")
        report = replay(rules, read(*(audit_line("GET", "http://api.test/timed", time=time) for time in times)))
        self.assertEqual(
            [(one.change, one.count) for one in report.results], [(Change.OTHER_RULE, 2), (Change.NEWLY_DENIED, 1)]
        )

    def test_of_a_service(self) -> None:
        """The log of a service contains requests that required an approval."""
        rules = parse_policy(KEYS, "x", "x")
        for url, change in (
            ("http://api.test/person", Change.OTHER_RULE),
            ("http://api.test/other", Change.NEWLY_DENIED),
            ("http://api.test/content", Change.NEWLY_ALLOWED),
        ):
            line = audit_line("GET", url, verdict="ask", outcome="decided")
            self.assertIs(self.decide(rules, line)[0], change)

    def test_other_verdicts(self) -> None:
        (line,) = read(audit_line("POST", "http://api.test/other"))
        recorded = Recorded.of(line)
        for verdict, change in ((Verdict.NEED_BODY, Change.UNDECIDED), (Verdict.ASK, Change.NEWLY_ASKED)):
            self.assertIs(replayed(recorded, 1, Decision(verdict, "x", "x")).change, change)
        found = replayed(recorded, 1, None, "it is down")
        self.assertEqual((found.change, found.reason), (Change.UNAVAILABLE, "it is down"))


class ReportTests(SynchronousTestCase):
    """The report as a table and as JSON."""

    def report(self, *lines: bytes) -> Report:
        return replay(POLICY, read(*lines))

    def test_lines(self) -> None:
        lines = [audit_line("GET", f"http://other.test/things/{number}", ruleId="old") for number in range(1, 40)]
        lines += [audit_line("GET", "http://api.test/items/1"), audit_line("OPTIONS", "http://a.test")]
        lines += [audit_line("GET", "http://a.test/", verdict="unavailable")]
        report = self.report(*lines, audit_line("GET", "http://api.test/items/2", ruleId="items"))
        self.assertTrue(report.differs)
        self.assertEqual(
            list(report.in_lines()),
            [
                "Newly denied: 40 requests",
                "  COUNT  METHOD   URL                         WAS          NOW",
                "     39  GET      http://other.test/things/1  allow (old)  deny (default)  "
                "no rule allows GET http://other.test",
                "      1  OPTIONS  http://a.test               allow (r)    deny (default)  "
                "no rule allows OPTIONS http://a.test",
                "",
                "With the same decision by another rule: 1 request",
                "  COUNT  METHOD  URL                      WAS        NOW",
                "      1  GET     http://api.test/items/1  allow (r)  allow (items)",
                "",
                "40 requests newly denied, 1 request with the same decision by another rule, 1 request unchanged.",
                "1 more had no recorded decision, and are not compared.",
                "The audit log, and thus the replay, has no header fields, no content, and no secrets in queries.",
            ],
        )

    def test_same(self) -> None:
        """Another rule with the same verdict is not a difference."""
        report = self.report(audit_line("GET", "http://api.test/items/1"))
        self.assertFalse(report.differs)
        self.assertFalse(self.report().differs)
        self.assertEqual(next(iter(self.report().in_lines())), "No requests to compare.")

    def test_repeated(self) -> None:
        """Repeated requests are one result with a count."""
        (found,) = self.report(*[audit_line("GET", "http://other.test/")] * 3).results
        self.assertEqual((found.change, found.count), (Change.NEWLY_DENIED, 3))

    def test_many_kinds(self) -> None:
        report = self.report(*(audit_line("GET", f"http://h{number}.test/{'x' * 90}") for number in range(50)))
        lines = list(report.in_lines())
        self.assertIn("  and 10 more kinds of requests; --json lists them", lines)
        self.assertIn("xxx...", lines[2])

    def test_undecided(self) -> None:
        (line,) = read(audit_line("GET", "http://a.test/"))
        report = Report((replayed(Recorded.of(line), 1, None, "it is down"),), 0)
        self.assertIn("allow (r)  -    it is down", list(report.in_lines())[2])

    def test_json(self) -> None:
        report = self.report(audit_line("GET", "http://other.test/"), audit_line("GET", "http://api.test/items/1"))
        found = json.loads(json.dumps(report.as_json()))
        self.assertEqual(found["requests"]["newly denied"], 1)
        self.assertEqual(found["withoutDecision"], 0)
        self.assertEqual(
            found["differences"][0],
            {
                "change": "newly denied",
                "count": 1,
                "stage": Stage.REQUEST.value,
                "method": "GET",
                "url": "http://other.test/",
                "identity": None,
                "was": {"verdict": "allow", "ruleId": "r"},
                "now": {"verdict": "deny", "ruleId": "default", "reason": "no rule allows GET http://other.test"},
            },
        )
        self.assertEqual(len(found["differences"]), 2)
