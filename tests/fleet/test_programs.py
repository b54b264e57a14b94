"""Tests for the parts of L{tests.fleet} that need no other program."""

from __future__ import annotations

from itertools import islice

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.__main__ import parser
from tests.fleet.authorizer import decision
from tests.fleet.balancer import Server, configuration, sessions_in
from tests.fleet.joined import Verdict
from tests.fleet.load import addresses, identity
from tests.fleet.observations import id_in, path_of
from tests.fleet.report import render
from tests.fleet.schedule import KILL, Step
from tests.fleet.spenders import LIMITS, POLICY
from tests.policy.policies import parse


class ProgramTests(SynchronousTestCase):
    """Ids, decisions, addresses, the configuration of HAProxy, and the report."""

    def test_ids(self) -> None:
        for url, id_, path in (
            ("http://127.0.0.2:80/kept/1?id=c1-2", "c1-2", "/kept/1"),
            ("http://127.0.0.2/kept/1?a=b&id=c1", "c1", "/kept/1"),
            ("https://127.0.0.3:443", "", "/"),
        ):
            self.assertEqual((id_in(url), path_of(url)), (id_, path))

    def test_decisions(self) -> None:
        kept = {"ttl": 3.0, "cacheKey": ["method", "path"]}
        self.assertEqual(decision("/kept/1", 3.0), {"allowed": True, "ruleId": "kept", **kept})
        self.assertEqual(decision("/once/1", 3.0), {"allowed": True, "ruleId": "once"})
        self.assertEqual(decision("/denied/1", 3.0), {"allowed": False, "ruleId": "denied"})
        self.assertEqual(decision("/asked/1", 3.0), {"allowed": False, "ruleId": "asked", "ask": True})
        self.assertEqual(decision("/", 3.0), {"allowed": True, "ruleId": "tunnels"})

    def test_addresses(self) -> None:
        found = list(islice(addresses(), 70_000))
        self.assertEqual(len(set(found)), 70_000)
        self.assertEqual((found[0], found[255], found[65_535]), ("127.64.0.1", "127.64.1.0", "127.65.0.0"))
        self.assertEqual(identity(3), "holder-3")
        self.assertEqual(next(addresses(160)), "127.160.0.1")

    def test_configuration(self) -> None:
        servers = [Server("one", 1001, 1002), Server("two", 1003, 1004)]
        text = configuration("/run/x", 1000, servers, 2000, [Server("one", 2001, 2002)])
        self.assertEqual(
            text.count("    server one 127.0.0.1:1001 port 1002\n    server two 127.0.0.1:1003 port 1004"), 2
        )
        self.assertEqual(text.count("    server one 127.0.0.1:2001 port 2002\n"), 1)
        for port in (1000, 2000):
            self.assertIn(f"bind 127.0.0.1:{port}\n", text)
        self.assertIn("    server alive-two 127.0.0.1:1003 no-check track alive/two backup\n", text)

    def test_sessions(self) -> None:
        log = "Server ready/one is DOWN\nsession 127.64.0.1 one\nsession 127.64.0.2 <NOSRV>\n[NOTICE] session x\n"
        log += "session 127.64.0.3 alive-two\n"
        self.assertEqual(sessions_in(log), {"127.64.0.1": "one", "127.64.0.2": "<NOSRV>", "127.64.0.3": "two"})

    def test_policy(self) -> None:
        """It has the budgets that are judged."""
        for limit, rule in zip(LIMITS, parse(POLICY).rules, strict=True):
            (budget,) = rule.obligations.budgets
            self.assertEqual(limit.path, f"/{budget.rule_id}/")
            self.assertEqual((budget.amount, budget.per, budget.capacity), (limit.amount, limit.per, limit.capacity))

    def test_report(self) -> None:
        verdict = Verdict()
        verdict.count("requests", "complete", 1200)
        verdict.count("requests", "cut")
        verdict.figures["ratio"] = 1.05
        steps = [Step(1.0, KILL, "two", 2.0)]
        text = render("python -m tests.fleet", 90.0, steps, verdict)
        self.assertIn(
            "`python -m tests.fleet`: 1.5 minutes, passed\n\n- requests: complete 1,200, cut 1\n- ratio: 1.05\n", text
        )
        self.assertIn("kill two for 2.0 s", text)
        self.assertNotIn("violations", text)
        verdict.failures += [f"failure {number}" for number in range(60)]
        text = render("python -m tests.fleet", 90.0, steps, verdict)
        self.assertIn("minutes, FAILED", text)
        self.assertIn("60 violations:\n\n- failure 0\n", text)
        self.assertNotIn("failure 50", text)

    def test_options(self) -> None:
        options = parser().parse_args(["--minutes", "2", "--seed", "9", "--without-redis"])
        self.assertEqual((options.minutes, options.seed, options.without_redis), (2.0, 9, True))
        self.assertEqual(parser().parse_args([]).minutes, 15.0)
