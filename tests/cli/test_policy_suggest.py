"""Tests for L{egress.cli.policy_suggest}."""

from __future__ import annotations

import json
from pathlib import Path

from egress.policy.parse.load import load_policy, parse_policy
from tests.cli.running import CommandTestCase
from tests.policy.audit import audit_line

LINES = (
    audit_line("GET", "https://a.test/"),
    audit_line("GET", "https://b.test/", observed="deny"),
    audit_line("GET", "https://c.test/x", verdict="deny"),
)


class SuggestCommandTests(CommandTestCase):
    """The suggestion contains the forwarded requests."""

    def test_output(self) -> None:
        audit = self.write("audit", b"".join(LINES))
        status, out, err = self.run_egress("policy", "suggest", audit)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(len(parse_policy(out, "x", "x").rules), 1)
        self.assertIn('hosts = ["a.test", "b.test"]', out)
        path = str(self.directory / "policy.toml")
        status, said, _ = self.run_egress("policy", "suggest", audit, "--output", path)
        self.assertEqual((status, said), (0, f"{path}: covers 2 requests\n"))
        self.assertEqual(Path(path).read_text("utf-8"), out)
        self.assertEqual(self.run_egress("policy", "suggest", audit, "--output", "-"), (0, out, ""))
        load_policy(Path(path))

    def test_an_edited_policy(self) -> None:
        """It is replaced only with --force."""
        audit, path = self.write("audit", b"".join(LINES)), self.write("policy.toml", b"# mine")
        status, out, err = self.run_egress("policy", "suggest", audit, "--output", path)
        self.assertEqual((status, out), (2, ""))
        self.assertIn(f"{path}: exists, and has other rules: add --force", err)
        self.assertEqual(Path(path).read_bytes(), b"# mine")
        self.assertEqual(self.run_egress("policy", "suggest", audit, "--output", path, "--force")[0], 0)
        # The same suggestion again changes nothing.
        self.assertEqual(self.run_egress("policy", "suggest", audit, "--output", path)[0], 0)

    def test_json(self) -> None:
        audit = self.write("audit", b"".join(LINES))
        policy = self.run_egress("policy", "suggest", audit)[1]
        found = json.loads(self.run_egress("policy", "suggest", audit, "--json")[1])
        self.assertEqual(found, {"output": None, "requests": 2, "policy": policy})
        path = str(self.directory / "policy.toml")
        found = json.loads(self.run_egress("policy", "suggest", audit, "--json", "--output", path)[1])
        self.assertEqual(found, {"output": path, "requests": 2, "policy": policy})
        self.assertEqual(Path(path).read_text("utf-8"), policy)

    def test_only_allowed(self) -> None:
        _, out, _ = self.run_egress("policy", "suggest", self.write("audit", b"".join(LINES)), "--only-allowed")
        self.assertIn('hosts = ["a.test"]', out)

    def test_max_rules(self) -> None:
        audit = self.write("audit", b"".join(audit_line("GET", f"https://h{n}x.test/p{n}x") for n in range(9)))
        for given, number in ((["--max-rules", "3"], 3), ([], 9)):
            _, out, _ = self.run_egress("policy", "suggest", audit, *given)
            self.assertEqual(out.count("[[rules]]"), number)
        for text in ("1", "x", "-1", "99999"):
            self.assertEqual(self.run_egress("policy", "suggest", audit, f"--max-rules={text}")[0], 2)

    def test_unresolved(self) -> None:
        """A host whose name was never resolved is not allowed; one that was resolved later is."""
        lost = [audit_line("GET", f"https://{name}.test/", outcome="name-not-resolved") for name in ("a", "typo")]
        status, out, err = self.run_egress("policy", "suggest", self.write("audit", b"".join((*lost, *LINES))))
        self.assertEqual((status, err), (0, "egress: not allowed, because never resolved: typo.test\n"))
        self.assertNotIn("typo", out)
        self.assertIn('hosts = ["a.test", "b.test"]', out)
        many = [audit_line("GET", f"https://x{n}.test/", outcome="name-not-resolved") for n in range(12)]
        status, out, err = self.run_egress("policy", "suggest", self.write("audit", b"".join(many)))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("x7.test and 2 other hosts\n", err)
        self.assertIn("the audit log has no forwarded requests", err)

    def test_nothing(self) -> None:
        status, out, err = self.run_egress("policy", "suggest", self.write("audit", LINES[2]))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("the audit log has no forwarded requests", err)
