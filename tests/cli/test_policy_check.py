"""Tests for L{egress.cli.policy_check}."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from tests.grpc.descriptor_sets import descriptor_set

POLICY = """version = 1
[[rules]]
name = "all"
action = "allow"
hosts = ["*.test"]
[[rules]]
name = "late"
action = "deny"
reason = "never"
hosts = ["a.test"]
[[test]]
request = "GET http://a.test/"
expect = "allow"
"""
FAILING = """[[test]]
name = "no"
request = "GET http://a.test/"
expect = "deny"
rule = "late"
"""


class CheckTests(SynchronousTestCase):
    """C{egress policy check}."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def check(self, text: str, *arguments: str) -> tuple[int, str, str]:
        self.path.write_text(text)
        out, err = io.StringIO(), io.StringIO()
        status = cli.main(["policy", "check", *arguments, str(self.path)], {}, out, err)
        return (
            status,
            out.getvalue().replace(str(self.path), "p.toml"),
            err.getvalue().replace(str(self.path), "p.toml"),
        )

    def test_grpc(self) -> None:
        policy = 'version = 1\n[[rules]]\nname = "one"\naction = "allow"\ngrpc = { fields = { name = "a" } }\n'
        types = Path(self.mktemp())
        types.write_bytes(descriptor_set())
        self.assertEqual(
            self.check(policy, "--grpc-descriptors", str(types)), (0, "p.toml: 1 rule, it has no tests\n", "")
        )
        status, _, err = self.check(policy)
        self.assertEqual(status, 2)
        self.assertIn("p.toml:2: rule one: grpc 'fields': needs the types of the messages; set --grpc-desc", err)
        status, _, err = self.check(policy, "--grpc-descriptors", str(self.path))
        self.assertIn("is not a descriptor set", err)

    def test_passed(self) -> None:
        warning = "p.toml:6: warning: late never decides: all matches first, at p.toml:2\n"
        self.assertEqual(
            self.check(POLICY),
            (0, f"{warning}p.toml:11: ok: GET http://a.test/\np.toml: 2 rules, 1 test passed\n", ""),
        )
        self.assertEqual(self.check(POLICY, "--quiet"), (0, warning, ""))

    def test_failed(self) -> None:
        expected = (
            "p.toml:14: FAILED: no\n"
            "    expected deny by late\n"
            "    got allow by all: allowed by the rule all\n"
            "    late comes after all, and was not evaluated\n"
            "    all decided, at p.toml:2\n"
        )
        status, out, err = self.check(POLICY + FAILING, "-q")
        self.assertEqual((status, err), (1, "egress: p.toml: 1 test of 2 failed\n"))
        self.assertTrue(out.endswith(expected), out)
        status, out, err = self.check(POLICY + FAILING.replace('rule = "late"', "") * 2)
        self.assertEqual((status, err), (1, "egress: p.toml: 2 tests of 3 failed\n"))
        self.assertIn("    expected deny\n", out)

    def test_json(self) -> None:
        status, out, err = self.check(POLICY + FAILING, "--json")
        self.assertEqual((status, err), (1, "egress: p.toml: 1 test of 2 failed\n"))
        found = json.loads(out)
        passed, failed = found.pop("tests")
        self.assertEqual(
            found,
            {
                "file": "p.toml",
                "rules": 2,
                "unreachable": [{"ruleId": "late", "where": "p.toml:6", "by": "all", "byWhere": "p.toml:2"}],
            },
        )
        self.assertEqual((passed["passed"], passed["where"], passed["why"]), (True, "p.toml:11", []))
        self.assertEqual(failed["expected"], {"verdict": "deny", "ruleId": "late"})
        self.assertEqual(failed["got"], {"verdict": "allow", "ruleId": "all"})
        self.assertEqual((failed["name"], failed["passed"]), ("no", False))

    def test_colors(self) -> None:
        self.path.write_text(POLICY + FAILING)
        out = io.StringIO()
        cli.main(["policy", "check", str(self.path)], {"FORCE_COLOR": "1"}, out, io.StringIO())
        for text in (": \x1b[33mwarning\x1b[0m: late", ": \x1b[32mok\x1b[0m: GET", ": \x1b[31mFAILED\x1b[0m: no\n"):
            self.assertIn(text, out.getvalue())

    def test_no_tests(self) -> None:
        self.assertEqual(self.check("version = 1"), (0, "p.toml: 0 rules, it has no tests\n", ""))

    def test_refused(self) -> None:
        self.assertEqual(
            self.check("version = 1\nrule = []"),
            (2, "", "egress: p.toml:2: 'rule' is not known here; did you mean 'rules'?\n"),
        )

    def test_standard_input(self) -> None:
        for data, status, words in (
            (b"version = 1", 0, "-: 0 rules, it has no tests\n"),
            (b"version = 1\nrule = []", 2, "egress: -:2: 'rule' is not known here"),
            (b"\xff", 2, "egress: -: is not UTF-8"),
        ):
            self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
            out, err = io.StringIO(), io.StringIO()
            self.assertEqual(cli.main(["policy", "check", "-"], {}, out, err), status)
            self.assertIn(words, out.getvalue() + err.getvalue())
