"""Tests for L{egress.cli.revoke}."""

from __future__ import annotations

import io
import json
from typing import Any

from egress.cli import main as cli
from egress.cli import revoke as module
from egress.cli.admin_client import AdminFailed
from tests.cli.fake_api import AdminCommandTestCase

COUNTS = {"cached": 3, "grants": 0, "tunnels": 1, "requests": 2}


class RevokeCommandTests(AdminCommandTestCase):
    """The request and the output of the command."""

    module = module

    def revoke(self, *arguments: str, answer: Any = None) -> tuple[int, str, str]:
        self.api.answers.append(answer or COUNTS)
        out, err = io.StringIO(), io.StringIO()
        status = cli.main(["revoke", *arguments], {}, out, err)
        return status, out.getvalue(), err.getvalue()

    def test_kinds(self) -> None:
        for kind, value in (("client", "ci"), ("host", "*.a.test"), ("rule", "r1"), ("decision", "id-1")):
            with self.subTest(kind):
                done = self.revoke(kind, value)
                text = f"{kind} {value}: 3 cached decisions dropped, 1 tunnel and 2 requests ended\n"
                self.assertEqual(done, (0, text, ""))
                document = {"kind": kind, "value": value, "by": "bob"}
                self.assertEqual(self.api.asked.pop(), ("POST", "/revocations", document))

    def test_all(self) -> None:
        status, out, _ = self.revoke("all", "--by", "ann", "--admin", "unix:/x", answer={**COUNTS, "grants": 2})
        self.assertEqual(status, 0)
        self.assertTrue(out.startswith("all decisions: 3 cached decisions dropped, 2 grants revoked, "), out)
        self.assertEqual(self.api.asked, [("POST", "/revocations", {"kind": "all", "value": None, "by": "ann"})])
        self.revoke("--admin", "unix:/y", "all")
        self.assertEqual(self.given, ["unix:/x", "unix:/y"])

    def test_json(self) -> None:
        _, out, _ = self.revoke("rule", "r1", "--json")
        self.assertEqual(json.loads(out), COUNTS)

    def test_replicas(self) -> None:
        """A replica that did not confirm is an error: the decisions may still apply there."""
        confirmed = {**COUNTS, "confirmed": ["a", "b"], "unconfirmed": []}
        status, out, err = self.revoke("rule", "r1", answer=confirmed)
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.endswith("2 requests ended; confirmed by a, b\n"), out)
        missing = {**COUNTS, "confirmed": ["a"], "unconfirmed": ["b\x1b"]}
        status, out, err = self.revoke("rule", "r1", answer=missing)
        self.assertEqual(status, 1)
        self.assertIn("; confirmed by a; not confirmed by b", out)
        self.assertIn("repeat the revocation", err)
        self.assertNotIn("\x1b", out + err)
        status, out, _ = self.revoke("rule", "r1", "--json", answer=missing)
        self.assertEqual((status, json.loads(out)), (1, missing))

    def test_control_characters(self) -> None:
        _, out, _ = self.revoke("client", "\x1b[31mroot")
        self.assertNotIn("\x1b", out)

    def test_a_rejected_revocation(self) -> None:
        status, out, err = self.revoke("host", "a/b", answer=AdminFailed("not a host", 400))
        self.assertEqual((status, out, err), (1, "", "egress: not a host\n"))
