"""Tests for L{benchmarks.worst_case}."""

from __future__ import annotations

import json
import random
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import worst_case
from benchmarks.worst_case import Case, corpus, policy, process
from egress.model.decision import Decision
from egress.model.errors import EgressError

_LINE = " HTTP/1.1\r\nHost: api.example.com\r\n"
_PLAIN = Case("plain", (("GET http://api.example.com/v1/", 1), ("a", 3), (_LINE, 1)))


class WorstCaseTests(SynchronousTestCase):
    """The benchmark measures the work of the proxy up to the decision."""

    def test_process(self) -> None:
        """Each request of a connection is decided, the second time with its content."""
        rules = policy()
        deploy = '{"steps":[{"kind":"build"}]}'
        line = (
            "POST http://deploy.example.com/ HTTP/1.1\r\nHost: deploy.example.com\r\nContent-Type: application/json\r\n"
        )
        for case, expected in (
            (_PLAIN, ["read"]),
            (attrs.evolve(_PLAIN, requests=3), ["read"] * 3),
            (Case("body", ((line, 1),), ((deploy, 1),), requests=2), ["deploy"] * 2),
            (Case("body", ((line, 1),), (("{}", 1),)), ["default"]),
            (Case("body", (("POST http://x.example.com/ HTTP/1.1\r\nHost: x\r\n", 1),), (("{}", 1),)), ["default"]),
            (Case("bad", (("GET http://api.example.com/ HTTP/1.1\r\n", 1),)), [None]),
        ):
            found = process(rules, case.data)
            self.assertEqual([one.rule_id if isinstance(one, Decision) else None for one in found], expected)
        self.assertIsInstance(found[-1], EgressError)

    def test_corpus(self) -> None:
        """Each case has a unique name, and reaches a decision or a rejection."""
        cases = corpus()
        rules = policy()
        self.assertEqual(len({case.name for case in cases}), len(cases))
        self.assertGreater(len(cases), 30)
        for case in cases:
            with self.subTest(case.name):
                self.assertTrue(worst_case.outcome(rules, case))
                self.assertEqual(len(process(rules, case.data)), case.requests)

    def test_search(self) -> None:
        """The result is a case of the same kind, within the limits."""
        rand = random.Random(1)
        cases = [_PLAIN, Case("body", _PLAIN.head, (("{}", 1),))]
        for case in cases:
            for _ in range(200):
                other = worst_case.varied(case, rand)
                self.assertEqual((other.head[0], other.head[-1]), (case.head[0], case.head[-1]))
                self.assertEqual(bool(other.body), bool(case.body))
        for found in worst_case.search(policy(), cases, 0.2, rand):
            self.assertTrue(process(policy(), found.data))

    def test_main(self) -> None:
        """The table, the cases over the bound, and the exit status."""
        path = Path(self.mktemp())
        path.write_text(json.dumps([_PLAIN.to_json(), attrs.evolve(_PLAIN, name="other").to_json()]), "utf-8")
        self.patch(worst_case, "corpus", lambda: corpus(path))
        for arguments, status, lines in (
            (["--runs", "1", "--bound", "10000"], 0, 4),
            (["--runs", "1", "--bound", "0", "--only", "other"], 1, 4),
        ):
            said: list[str] = []
            self.assertEqual(worst_case.main(arguments, said.append), status)
            self.assertEqual(len(said), lines)
        self.assertEqual(said[-1], "FAILED: other takes more than 0 ms")
        said = []
        worst_case.main(["--search", "0.05", "--runs", "1", "--bound", "10000"], said.append)
        self.assertIsInstance(json.loads(said[0]), list)
