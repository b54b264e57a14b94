"""Tests for L{egress.cli.explain}."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.trial.unittest import SynchronousTestCase

from egress.cli import explain as module
from egress.cli import main as cli
from egress.cli.explain import explained, in_lines
from egress.config.model import ProxyConfig
from egress.model.explanation import MAX_BODY, ExplainRequest, Explanation, RuleTried, Step
from egress.model.message import Direction, Message, MessageKind
from egress.runtime.colors import Painter
from tests.transport.reactors import DialingReactor

RULES = (RuleTried("a", "deny", False, "hosts", "p.toml:1"), RuleTried("long", "allow", True, None, "p.toml:12"))
STEPS = (Step("request", "ok", "GET x", 0.0012), Step("decision", "ok", "allow", 0.1, ("more",), RULES))
ALLOWED = Explanation("GET", "http://a.test/", STEPS, "allow", "why", "policy x", "long")


class LinesTests(SynchronousTestCase):
    """The output as text."""

    def test_lines(self) -> None:
        self.assertEqual(
            in_lines(ALLOWED.to_json()).splitlines(),
            [
                "GET http://a.test/",
                "",
                "  request    ok        1.2 ms  GET x",
                "  decision   ok      100.0 ms  allow",
                "                               more",
                "                                 a     p.toml:1   no: hosts",
                "                               > long  p.toml:12  allow",
                "",
                "allow: why",
                "  by policy x, rule long",
            ],
        )

    def test_colors(self) -> None:
        """The decision has a color; text of the request cannot set one."""
        document = {**ALLOWED.to_json(), "reason": "w\x1b[1mhy"}
        for verdict, line in (
            ("allow", "\x1b[32mallow: w\\x1b[1mhy\x1b[0m"),
            ("deny", "\x1b[31mdeny: w\\x1b[1mhy\x1b[0m"),
            ("ask", "\x1b[33mrequires approval: w\\x1b[1mhy\x1b[0m"),
        ):
            with self.subTest(verdict):
                self.assertIn(f"\n{line}\n", in_lines({**document, "verdict": verdict}, Painter(True)))

    def test_doubt(self) -> None:
        """The differences in interpretation between servers are printed with the rule."""
        rule = RuleTried("npm", "allow", False, "paths", "p.toml:1", "its path contains %2F, which servers read in ...")
        document = Explanation(
            "GET", "x", (Step("decision", "no", "deny", 0.1, (), (rule,)),), "deny", "why", "p"
        ).to_json()
        self.assertIn(
            "  npm  p.toml:1  no: paths (its path contains %2F, which servers read in ...)\n", in_lines(document)
        )
        # A proxy that is older than the command does not report it.
        del document["steps"][0]["rules"][0]["doubt"]
        self.assertIn("no: paths\n", in_lines(document))

    def test_ends(self) -> None:
        for verdict, word in (("deny", "deny: why"), ("none", "no decision: why"), ("ask", "requires approval: why")):
            document = Explanation("GET", "x", (), verdict, "why", "proxy").to_json()
            self.assertTrue(in_lines(document).endswith(f"{word}\n  by proxy\n"))
            document |= {"status": 403, "code": "denied"}
            self.assertTrue(in_lines(document).endswith("  by proxy; the client gets 403 (denied)\n"))

    def test_no_scheme(self) -> None:
        """As in a browser, users leave out the scheme."""
        for url, hint in (("example.com/", True), ("https://[", False)):
            document = Explanation("GET", url, (), "deny", "why", "proxy", None, 400, "invalid-target").to_json()
            self.assertIs(in_lines(document).endswith("\n  Write an absolute URL, as in https://example.com/.\n"), hint)

    def test_failure_after_the_decision(self) -> None:
        for code, word in (("authorizer-unavailable", "no decision"), ("name-not-resolved", "would fail")):
            document = Explanation("GET", "x", (), "none", "why", "proxy", None, 502, code).to_json()
            self.assertIn(f"\n{word}: why\n", in_lines(document))

    def test_many_rules(self) -> None:
        rules = (RULES[0],) * 30 + RULES[1:]
        document = Explanation("GET", "x", (Step("decision", "ok", "allow", 0, (), rules),), "allow", "", "x").to_json()
        lines = in_lines(document).splitlines()
        self.assertIn("11 earlier rules did not match", lines[3])
        self.assertEqual(len([line for line in lines if "p.toml" in line]), 20)


class ExplainCommandTests(SynchronousTestCase):
    """The explain request, and the exit status."""

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.explanation: Any = ALLOWED
        self.patch(module, "run", self.run_reactor)
        self.patch(module, "admin_api", lambda given, environ: SimpleNamespace(call=self.call))

    def run_reactor(self, start: Any) -> Explanation:
        self.patch(module, "explained", lambda reactor, config, question: self.asked.append((config, question)))
        start(None)
        if isinstance(self.explanation, Exception):
            raise self.explanation
        found: Explanation = self.explanation
        return found

    def call(self, method: str, path: str, document: Any) -> dict[str, Any]:
        self.asked.append((method, path, document))
        return ALLOWED.to_json()

    def explain(self, *arguments: str, status: int = 0, **environ: str) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", err)
        self.assertEqual(cli.main(["explain", *arguments], environ, out, err), status, err.getvalue())
        return out.getvalue(), err.getvalue()

    def test_explain_request(self) -> None:
        self.explain(
            *("PUT", "http://a.test/", "-H", "A: b:c", "--header", "X:", "--body", "é", "--client", "ann"),
            *("--connect", "--no-ask", "--authz-url", "http://authz.test", "--authz-via-upstream"),
            *("--allow-ports", "1-9", "--allow-ports", "80", "--proxy", "http://proxy.test:3128"),
        )
        ((config, question),) = self.asked
        headers = ((b"A", b"b:c"), (b"X", b""))
        self.assertEqual(question, ExplainRequest("PUT", "http://a.test/", headers, "é".encode(), "ann", True, False))
        self.assertEqual((config.authz_url, config.authz_via_upstream), ("http://authz.test", True))
        self.assertEqual(config.allow_ports, (range(1, 10), range(80, 81)))
        self.assertEqual(str(config.upstream_https.authority), "proxy.test:3128")

    def test_message(self) -> None:
        facts = ("--message-kind", "sse", "--message-type", "add", "--message-direction", "origin")
        self.explain("GET", "http://a.test/", "--message", "hello", *facts)
        ((_, question),) = self.asked
        self.assertEqual(question.message, (Message(MessageKind.SSE, Direction.ORIGIN, "add", 1), b"hello"))

    def test_status(self) -> None:
        for verdict, status in (("allow", 0), ("deny", 1), ("none", 3), ("ask", 3)):
            self.explanation = Explanation("GET", "x", (), verdict, "why", "me")
            out, _ = self.explain("GET", "x", "--json", status=status)
            self.assertEqual(json.loads(out)["verdict"], verdict)

    def test_against_a_running_proxy(self) -> None:
        out, _ = self.explain("GET", "http://a.test/", "--admin", "unix:/a")
        self.assertTrue(out.startswith("GET http://a.test/\n"))
        self.assertEqual(self.asked, [("POST", "/explain", ExplainRequest("GET", "http://a.test/").to_json())])
        _, err = self.explain("GET", "x", "--admin", "unix:/a", "--policy", "x", status=2)
        self.assertIn("--policy: cannot be combined with --admin", err)

    def test_shell_of_a_client(self) -> None:
        """The proxy of the shell is not the upstream proxy of the proxy; another one is, and a note says so."""
        url = "http://127.0.0.1:8080"
        _, err = self.explain("GET", "http://a.test/", HTTP_PROXY=url, HTTPS_PROXY=url)
        self.assertIn("egress: HTTP_PROXY, HTTPS_PROXY: not used as the upstream proxy", err)
        _, err = self.explain("GET", "http://a.test/", HTTPS_PROXY="http://proxy.test:3128")
        self.assertIn("egress: HTTPS_PROXY: used as the upstream proxy", err)
        _, err = self.explain("GET", "http://a.test/")
        self.assertEqual(err, "")
        own, other, none = (config.upstream_https for config, _ in self.asked)
        self.assertEqual((own, str(other.authority), none), (None, "proxy.test:3128", None))

    def test_content(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"\xff")
        self.explain("PUT", "x", "--body", f"@{path}")
        self.patch(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"in")))
        self.explain("PUT", "x", "--body", "@-")
        self.assertEqual([question.body for _, question in self.asked], [b"\xff", b"in"])
        path.write_bytes(b"x" * (MAX_BODY + 1))
        self.assertIn("has more than", self.explain("PUT", "x", "--body", f"@{path}", status=2)[1])
        self.assertIn("No such file", self.explain("PUT", "x", "--body", "@/missing", status=2)[1])

    def test_wrong(self) -> None:
        """Status 1 is a denial, so errors have another status."""
        self.assertIn("write a name and a value", self.explain("GET", "x", "-H", "novalue", status=2)[1])
        self.assertIn("one line", self.explain("GET", "x\ny", status=2)[1])
        self.assertIn("--authz-timeout", self.explain("GET", "x", "--authz-timeout", "x", status=2)[1])
        self.explanation = TookTooLong()
        self.assertIn("was not complete within", self.explain("GET", "x", status=2)[1])

    def test_interrupted(self) -> None:
        def interrupt(start: object) -> None:
            raise KeyboardInterrupt

        self.patch(module, "run", interrupt)
        self.explain("GET", "x", status=130)


class DryRunTests(SynchronousTestCase):
    """A proxy is made, and its resources are released."""

    def test_explained(self) -> None:
        reactor = DialingReactor()
        reactor.names = {"a.test": ["1.2.3.4"]}
        config = ProxyConfig(ca_dir=Path(self.mktemp()))
        found = self.successResultOf(explained(reactor, config, ExplainRequest("GET", "http://a.test/")))
        self.assertEqual(found.verdict, "allow")
        asked = explained(reactor, config, ExplainRequest("GET", "http://slow.test/"))
        self.assertNoResult(asked)
        reactor.advance(10)
        self.assertEqual(self.successResultOf(asked).verdict, "none")
        self.assertEqual(reactor.getDelayedCalls(), [])
