"""Tests for L{egress.cli.approvals}."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

from egress.cli import approvals as module
from egress.cli import main as cli
from egress.cli.admin_client import AdminFailed
from egress.cli.approvals import in_lines
from tests.cli.fake_api import AdminCommandTestCase

HELD = {
    "id": "abc",
    "stage": "request",
    "method": "GET",
    "url": "https://a.test/x",
    "contentLength": 0,
    "client": "192.0.2.1",
    "identity": None,
    "ruleId": "r",
    "reason": "somebody looks",
    "decidedBy": "policy x",
    "count": 1,
    "since": 100.0,
    "until": 400.0,
}
PREVIEW: dict[str, Any] = {
    "headers": [["Host", "a.test"], ["Authorization", "Bearer REDACTED"]],
    "moreHeaders": 3,
    "content": {"type": "text/plain", "text": "one\ntwo", "truncated": True},
}
PERMISSION = {
    "id": "p1",
    "stage": "request",
    "method": "OPTIONS",
    "url": "https://a.test",
    "client": "192.0.2.1",
    "identity": "ci",
    "ruleId": "r",
    "until": 4000.0,
    "by": "ann",
    "reason": "",
}


class ApprovalsCommandTests(AdminCommandTestCase):
    """The output of the command, and its requests."""

    module = module

    def run_approvals(self, *arguments: str, answer: Any) -> tuple[int, str, str]:
        self.api.answers.append(answer)
        out, err = io.StringIO(), io.StringIO()
        status = cli.main(["approvals", *arguments], {}, out, err)
        return status, out.getvalue(), err.getvalue()

    def test_lines(self) -> None:
        self.assertEqual(
            in_lines({"pending": [HELD], "grants": [PERMISSION]}, 130.0).splitlines(),
            [
                "abc  GET https://a.test/x",
                "  from    192.0.2.1",
                "  reason  rule r: somebody looks",
                "  pending 30 s, expires in 4 min",
                "",
                "Grants:",
                "p1  OPTIONS https://a.test  from ci at 192.0.2.1  until 1970-01-01 01:06 UTC (64 min) by ann",
            ],
        )
        other = {**HELD, "count": 2, "identity": "ci", "ruleId": None, "contentLength": 7, "until": 9000.0}
        text = in_lines({"pending": [other], "grants": []}, 130.0)
        for part in (
            "GET https://a.test/x (2 requests)",
            "ci at 192.0.2.1, with 7 bytes",
            "reason  somebody",
            "expires in 2 h",
        ):
            self.assertIn(part, text)
        self.assertIn("with content\n", in_lines({"pending": [{**HELD, "contentLength": None}], "grants": []}, 0))
        permission = {**PERMISSION, "by": "", "url": "https://a.test/a"}
        text = in_lines({"pending": [], "grants": [permission]}, 0)
        self.assertTrue(text.startswith("No pending approvals.\n\nGrants:\n"))
        self.assertTrue(
            text.endswith("OPTIONS https://a.test/a  from ci at 192.0.2.1  until 1970-01-01 01:06 UTC (66 min)\n")
        )

    def test_replicas(self) -> None:
        """The list names the replicas on which requests wait; a result names those that did not confirm."""
        text = in_lines({"pending": [{**HELD, "nodes": ["web-1", "web-2"]}], "grants": []}, 130.0)
        self.assertIn("  pending 30 s, expires in 4 min, on web-1, web-2\n", text)
        found = {"resolved": 1, "grant": None, "unconfirmed": ["web-1", "web-2"]}
        missing = "; not confirmed by web-1, web-2\n"
        self.assertEqual(self.run_approvals("allow", "abc", answer=found)[1], f"abc: one request allowed once{missing}")
        self.assertEqual(self.run_approvals("deny", "abc", answer=found)[1], f"abc: one request denied{missing}")
        out = self.run_approvals("allow", "abc", "--for", "1h", answer={**found, "grant": PERMISSION})[1]
        self.assertIn(f"until 1970-01-01 01:06:40 UTC{missing}", out)

    def test_control_characters(self) -> None:
        """Clients choose their URLs and names."""
        held = {**HELD, "url": "https://a.test/\x9b2J", "identity": "\x1b[31mroot"}
        text = in_lines({"pending": [held], "grants": [{**PERMISSION, "identity": "\u202ex"}]}, 0)
        self.assertTrue(text.replace("\n", "").isprintable())

    def test_list(self) -> None:
        found: dict[str, Any] = {"pending": [HELD], "grants": []}
        status, out, _ = self.run_approvals(answer=found)
        self.assertEqual((status, out.splitlines()[0]), (0, "abc  GET https://a.test/x"))
        self.assertEqual(json.loads(self.run_approvals("--json", answer=found)[1]), found)
        self.assertEqual(self.api.asked[0], ("GET", "/approvals", None))

    def show(self, name: str, **changes: Any) -> str:
        self.patch(time, "time", lambda: 130.0)
        held = {**HELD, "preview": PREVIEW, **changes}
        status, out, err = self.run_approvals("show", name, answer={"pending": [held], "grants": [PERMISSION]})
        self.assertEqual(status == 0, not err)
        return out or err

    def test_show(self) -> None:
        self.assertEqual(
            self.show("abc", contentLength=9, count=2).splitlines(),
            [
                "abc  GET https://a.test/x (2 requests)",
                "  from    192.0.2.1, with 9 bytes of content",
                "  reason  rule r: somebody looks",
                "  pending 30 s, expires in 4 min",
                "  decided policy x",
                "  header fields",
                "    Host: a.test",
                "    Authorization: Bearer REDACTED",
                "    and 3 more",
                "  content (text/plain), the beginning",
                "    one",
                "    two",
            ],
        )
        self.assertEqual(self.api.asked, [("GET", "/approvals", None)])

    def test_show_content(self) -> None:
        """Content that is not text, or was not read; and a list that is too long."""
        content = PREVIEW["content"]
        for preview, length, expected in (
            ({**PREVIEW, "content": {**content, "text": None}}, 9, "  content (text/plain), which is not text\n"),
            ({**PREVIEW, "content": {**content, "truncated": False, "type": ""}}, 9, "  content\n    one\n"),
            ({**PREVIEW, "content": None}, 9, "  content, which the proxy did not read\n"),
            ({**PREVIEW, "content": None, "moreHeaders": 0}, 0, "    Authorization: Bearer REDACTED\n"),
            (None, 9, "  The list is too long for header fields and content.\n"),
        ):
            with self.subTest(expected):
                self.assertIn(expected, self.show("abc", preview=preview, contentLength=length))

    def test_show_grant(self) -> None:
        self.assertEqual(
            self.show("p1").splitlines(),
            [
                "p1  OPTIONS https://a.test  from ci at 192.0.2.1  until 1970-01-01 01:06 UTC (64 min) by ann",
                "  rule    r",
            ],
        )

    def test_show_nothing(self) -> None:
        self.assertEqual(
            self.show("fff"),
            "egress: fff: no pending approval or grant with this id (already allowed, denied, revoked, or expired)\n",
        )

    def test_show_json(self) -> None:
        found = self.run_approvals("show", "abc", "--json", answer={"pending": [HELD], "grants": []})
        self.assertEqual(json.loads(found[1]), HELD)

    def test_show_control_characters(self) -> None:
        """Clients choose the header fields and the content."""
        hostile = {
            "headers": [["X-\x1b[2J", "\u202e\x9b"]],
            "moreHeaders": 0,
            "content": {"type": "\x1b]0;x", "text": "\x1b[31m\r\nx", "truncated": False},
        }
        text = self.show("abc", preview=hostile, contentLength=1, decidedBy="\x07")
        self.assertTrue(text.replace("\n", "").isprintable())

    def test_watch(self) -> None:
        """Each pending approval is printed once, and again when it comes again."""
        other = {**HELD, "id": "def"}
        for held in ([HELD], [HELD, other], [other], [HELD, other]):
            self.api.answers.append({"pending": held})
        self.api.answers.append(KeyboardInterrupt())
        out = io.StringIO()
        slept: list[float] = []
        self.patch(time, "sleep", slept.append)
        self.assertEqual(cli.main(["approvals", "--watch", "--json"], {}, out), 0)
        self.assertEqual([json.loads(line)["id"] for line in out.getvalue().splitlines()], ["abc", "def", "abc"])
        self.assertEqual(slept, [1.0] * 4)
        self.api.answers += [{"pending": [HELD]}, KeyboardInterrupt()]
        out = io.StringIO()
        self.assertEqual(cli.main(["approvals", "--watch"], {}, out), 0)
        self.assertEqual(out.getvalue().splitlines()[0], "abc  GET https://a.test/x")

    def test_allow(self) -> None:
        status, out, _ = self.run_approvals("allow", "abc", answer={"resolved": 1, "grant": None})
        self.assertEqual((status, out), (0, "abc: one request allowed once\n"))
        document = {"answer": "allow", "for": None, "reason": None, "by": "bob"}
        self.assertEqual(self.api.asked, [("POST", "/approvals/abc", document)])

    def test_allow_for_a_time(self) -> None:
        arguments = ("allow", "abc", "--for", "1h", "--reason", "fine", "--by", "ann")
        _, out, _ = self.run_approvals(*arguments, answer={"resolved": 2, "grant": PERMISSION})
        self.assertEqual(
            out,
            "abc: 2 requests allowed, with a grant until 1970-01-01 01:06:40 UTC\n"
            "To revoke the grant: egress approvals revoke p1\n",
        )
        document = {"answer": "allow", "for": 3600.0, "reason": "fine", "by": "ann"}
        self.assertEqual(self.api.asked, [("POST", "/approvals/abc", document)])

    def test_deny(self) -> None:
        found = self.run_approvals("deny", "abc", "--reason", "no", answer={"resolved": 1, "grant": None})
        self.assertEqual(found, (0, "abc: one request denied\n", ""))
        self.assertEqual(self.api.asked, [("POST", "/approvals/abc", {"answer": "deny", "reason": "no", "by": "bob"})])

    def test_revoke(self) -> None:
        self.assertEqual(self.run_approvals("revoke", "p1", answer={})[1], "p1: grant revoked\n")
        self.assertEqual(self.api.asked, [("DELETE", "/approvals/p1", None)])

    def test_json(self) -> None:
        """The response of the API."""
        answer = {"resolved": 2, "grant": PERMISSION}
        for arguments in (["allow", "abc", "--json"], ["--json", "allow", "abc"], ["deny", "abc", "--json"]):
            with self.subTest(arguments):
                self.assertEqual(json.loads(self.run_approvals(*arguments, answer=answer)[1]), answer)
        self.assertEqual(json.loads(self.run_approvals("revoke", "p1", "--json", answer={})[1]), {"revoked": "p1"})

    def test_wrong(self) -> None:
        found = self.run_approvals("allow", "abc", answer=AdminFailed("nobody waits", 404))
        self.assertEqual(found, (1, "", "egress: nobody waits\n"))
        self.assertEqual(self.run_approvals("allow", "../x", answer={})[0], 1)
        self.patch(sys, "stderr", io.StringIO())
        self.assertRaises(SystemExit, self.run_approvals, "allow", "abc", "--for", "ever", answer={})

    def test_position_of_the_option(self) -> None:
        """The option is accepted before and after the action."""
        for arguments in (("--admin", "unix:/a", "revoke", "p1"), ("revoke", "p1", "--admin", "unix:/a")):
            self.run_approvals(*arguments, answer={})
        self.assertEqual(self.given, ["unix:/a", "unix:/a"])
