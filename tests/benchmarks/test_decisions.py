"""Tests for L{benchmarks.decisions} and the modules below it: they measure what they claim to measure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import decisions, native
from benchmarks.contestants import KIND, Case, check, cpu_seconds, metrics_in
from benchmarks.decisions import CASES, PLAIN, lines
from benchmarks.in_process import figures
from benchmarks.keep_alive import HOST, Unproven, receive
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, DecisionRequest, Stage, Verdict
from egress.policy.parse.load import parse_policy

ASKED = DecisionRequest(
    "id",
    Stage.REQUEST,
    "GET",
    Origin.of("http", Authority(HOST, 8080)),
    "/token/7?x=1",
    (),
    ClientIdentity("127.0.0.1", 1),
)


def pieces(*data: bytes) -> Callable[[int], bytes]:
    """Return a C{recv} that returns these pieces, and then the end."""
    left: Iterator[bytes] = iter(data)
    return lambda _: next(left, b"")


class CaseTests(SynchronousTestCase):
    """The cases, and the checks that they ran."""

    def test_policies(self) -> None:
        """The last rule decides, as the case says."""
        for case in CASES:
            if case.policy is None:
                continue
            policy = parse_policy(case.policy, "p.toml", "policy")
            decision = policy.decide(ASKED)
            with self.subTest(case.title):
                if decision.rule_id == "default":
                    # It is about the content, which this request does not have.
                    self.assertTrue(case.sends)
                else:
                    self.assertEqual(decision.rule_id, "last")
                    self.assertEqual(decision.verdict is Verdict.ALLOW, "observe" not in case.options)
                self.assertEqual(bool(decision.obligations.secret_headers), bool(case.sees))
                self.assertEqual(decision.obligations.max_bytes is not None, case.bounded)

    def test_titles(self) -> None:
        self.assertEqual(len({case.title for case in CASES}), len(CASES))
        self.assertIs(CASES[0], PLAIN)

    def test_request(self) -> None:
        """Its content has the length of the case, and satisfies the rule about the content."""
        head, _, content = Case("x", sends=1024).request(8080).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST http://localhost:8080/token/7?x=1 HTTP/1.1\r\n"))
        self.assertIn(b"\r\nContent-Length: 1024", head)
        self.assertEqual((len(content), json.loads(content)["kind"]), (1024, KIND))
        head, _, content = PLAIN.request(8080).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"GET "))
        self.assertEqual(content, b"")

    def test_intercepted(self) -> None:
        """A request in a tunnel has the origin form."""
        self.assertTrue(Case("x", intercepted=True).request(8080).startswith(b"GET /token/7?x=1 HTTP/1.1\r\n"))

    def test_authorization_request(self) -> None:
        """The service gets the same authorization request as from a proxy."""
        content = Case("x", is_service=True).request(8080).partition(b"\r\n\r\n")[2]
        self.assertEqual(json.loads(content)["url"], "http://localhost:8080/token/7?x=1")

    def test_check(self) -> None:
        check({"a": 5, "authorization requests to the service": 5}, 5, True)
        check({"a": 5, "authorization requests to the service": 0}, 5, False)
        for grown, asked in (({"a": 4}, True), ({"authorization requests to the service": 4}, True)):
            self.assertRaises(Unproven, check, grown, 5, asked)
        self.assertRaises(Unproven, check, {"authorization requests to the service": 1}, 5, False)


class ReadingTests(SynchronousTestCase):
    """Parsing of responses, metrics and CPU clocks."""

    def test_receive(self) -> None:
        """The response may arrive in any pieces."""
        recv = pieces(b"HTTP/1.1 200 OK\r\nContent-", b"length: 4\r\n\r\n<", b">\n\n")
        self.assertEqual(receive(recv), (200, b"<>\n\n"))
        self.assertEqual(receive(pieces(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))[0], 403)
        self.assertRaises(Unproven, receive, pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<"))

    def test_metrics(self) -> None:
        text = '# HELP a b\na_total{b="c d",e="f"} 3.0\ng 4.5\n\n'
        self.assertEqual(metrics_in(text), {'a_total{b="c d",e="f"}': 3.0, "g": 4.5})

    def test_cpu(self) -> None:
        """The CPU time of this process increases with its work."""
        begin = cpu_seconds(os.getpid())
        sum(range(200_000))
        self.assertGreater(cpu_seconds(os.getpid()), begin)


class TableTests(SynchronousTestCase):
    """The printed tables."""

    def test_ratios(self) -> None:
        """Each result is compared with the plain case of the same round."""
        *_, plain, other = lines([("plain", [100.0, 200.0, 300.0]), ("other", [150.0, 200.0, 900.0])])
        self.assertEqual(plain, "| plain | 200 | 1.00 | 1.00 to 1.00 |")
        self.assertEqual(other, "| other | 200 | 1.50 | 1.00 to 3.00 |")

    def test_steps(self) -> None:
        found = dict(figures(5))
        self.assertEqual(len(found), 6)
        self.assertTrue(all(one > 0 for one in found.values()))

    def test_missing(self) -> None:
        """Without the programs nothing is started."""
        self.patch(native, "missing", lambda: ["gcc"])
        self.assertEqual(decisions.main(["--quick"]), 2)
