"""Tests for L{egress.policy.parse.load}."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import Decision, Verdict
from egress.policy.bundle import Bundle, encode_bundle
from egress.policy.check.case_runner import run_case
from egress.policy.match.header_fields import MAX_MEMBERS
from egress.policy.match.paths import MAX_READINGS
from egress.policy.match.query import MAX_PARAMETERS
from egress.policy.match.work_budget import MAX_WORK
from egress.policy.parse.load import (
    PolicyError,
    load_content,
    load_policy,
    load_starter,
    load_texts,
    no_policy,
    parse_policy,
)
from egress.policy.parse.rule_parser import KEYS
from egress.policy.rules import RuleSet
from egress.policy.source_text import SourceText
from tests.files import make_directory
from tests.policy.match.test_multipart import form, part
from tests.policy.policies import PolicyTestCase, parse, request

FULL = """
version = 1
default = "allow"
private_addresses = "deny"

[[rules]]
id = "no-writes"
action = "deny"
reason = "nobody writes there"
hosts = ["example.com", "*.example.com"]
ports = [443, 8443]
schemes = ["https"]
methods = ["PUT", "POST"]
paths = ["/api/**"]

[[rules]]
action = "allow"
hosts = ["10.0.0.0/8"]
"""


class ParseTests(SynchronousTestCase):
    """Valid policies."""

    def test_everything(self) -> None:
        policy = parse(FULL)
        self.assertEqual(policy.name, "policy p.toml")
        self.assertTrue(policy.blocks_private)
        self.assertIs(policy.default, Verdict.ALLOW)
        denial, permission = policy.rules
        self.assertEqual((denial.rule_id, denial.verdict), ("no-writes", Verdict.DENY))
        self.assertEqual(denial.reason.text(request("GET", "http://a.test/"), "x"), "nobody writes there")
        self.assertEqual(denial.ports, {443, 8443})
        self.assertEqual(denial.schemes, {"https"})
        self.assertEqual(denial.methods, {"PUT", "POST"})
        self.assertEqual((permission.rule_id, permission.verdict), ("rule-2", Verdict.ALLOW))
        self.assertEqual(permission.reason.text(request("GET", "http://a.test/"), "x"), "allowed by the rule rule-2")

    def test_decisions(self) -> None:
        policy = parse(FULL)
        for text, expected in {
            "PUT https://a.example.com/api/x": "no-writes",
            # A denial ignores case.
            "put https://a.example.com/API": "no-writes",
            "GET https://a.example.com/api/x": "default",
            "GET http://10.0.0.1/": "rule-2",
        }.items():
            with self.subTest(text):
                self.assertEqual(policy.decide(request(*text.split())).rule_id, expected)

    def test_permissions_match_exactly(self) -> None:
        policy = parse('version = 1\n[[rules]]\naction = "allow"\npaths = ["/api"]\n')
        for path, allowed in {"/api": True, "/API": False, "/api/": False}.items():
            with self.subTest(path):
                self.assertIs(policy.decide(request("GET", f"http://a.test{path}")).allowed, allowed)

    def test_minimal(self) -> None:
        policy = parse("version = 1")
        self.assertEqual(policy.rules, ())
        self.assertFalse(policy.blocks_private)
        self.assertIs(policy.default, Verdict.DENY)
        policy = parse('version = 1\ndefault = "deny"\nprivate_addresses = "allow"')
        self.assertFalse(policy.blocks_private)
        self.assertIs(policy.default, Verdict.DENY)

    def test_both_schemes_do_not_restrict(self) -> None:
        """A rule with both schemes matches tunnels, whose scheme is unknown."""
        policy = parse('version = 1\n[[rules]]\naction = "allow"\nschemes = ["http", "https"]')
        self.assertTrue(policy.decide(request("CONNECT", "https://a.test")).allowed)


class RejectionTests(PolicyTestCase):
    """Invalid policies are rejected, with one line that names the position and the fix."""

    # A document, and the whole error after the name of the file.
    DOCUMENTS = {
        "version = 1\nrules = []": "2: 'rules' is empty; write [[rules]] before each of them, or remove it",
        "version = 1\n[rules]\nid = 'x'": "2: 'rules' must be a list; write [[rules]] before each of them",
        "version = 1\nrules = ['x']": "2: rule 1: must be a table; write [[rules]] before it",
        "version = 1\ndefault = 'no'": "2: 'default' must be \"allow\" or \"deny\", not 'no'",
        "version = 1\ndefault = 'ask'": "2: 'default' must be \"allow\" or \"deny\", not 'ask'",
        "version = 1\ndefault = 0": "2: 'default' must be a string",
        "version = 1\nprivate_addresses = 'Deny'": ("2: 'private_addresses' must be \"allow\" or \"deny\", not 'Deny'"),
        "version = 1\n[[rules]]\nid='x'\naction='allow'\n[[rules]]\nname='x'\naction='allow'": (
            "5: two rules have the name 'x', the other one at p.toml:2; use different names"
        ),
        "version = 1\n[[rules]]\nid='rule-2'\naction='allow'\n[[rules]]\naction='allow'": (
            "5: two rules have the name 'rule-2', the other one at p.toml:2; use different names"
        ),
        "version = 1\nttl = 'soon'": (
            '2: \'ttl\': a duration is a number of seconds, or a number and a unit as in "90s", "15m" or "8h"'
        ),
        "version = 1\nttl = 0": (
            '2: \'ttl\': a duration is a number of seconds, or a number and a unit as in "90s", "15m" or "8h"'
        ),
        "version = 1\ntimezone = 'Mars'": (
            "2: 'timezone': is not a time zone that this machine knows; write one as in Europe/Berlin, or UTC"
        ),
        "version = 1\ntimezone = 1": "2: 'timezone': write the name of a time zone, as in Europe/Berlin",
        "version = 1\ntest = []": "2: 'test' is empty; write [[test]] before each of them, or remove it",
        "version = 1\ntest = 1": "2: 'test' must be a list; write [[test]] before each of them",
        "version = 1\ntest = ['x']": "2: test 1: must be a table; write [[test]] before it",
    }

    def test_documents(self) -> None:
        self.refuses_documents(self.DOCUMENTS)

    def test_line_of_a_syntax_error(self) -> None:
        error = self.assertRaises(PolicyError, parse, "version = 1\n[[rules]\n")
        self.assertTrue(error.reason.startswith("p.toml:2: is not TOML: "), error.reason)

    def test_invalid_toml(self) -> None:
        """Not every TOML parser reports huge numbers and deep nesting as syntax errors."""
        for text in ("version = ", "version = 1\nversion = 1", "version = " + "9" * 5000, "version = " + "[" * 10_000):
            with self.subTest(text[:30]):
                error = self.assertRaises(PolicyError, parse, text)
                self.assertTrue(error.reason.startswith("p.toml: "), error.reason)
                self.assertNotIn("\n", error.reason)


class FileTests(SynchronousTestCase):
    """Policies in files."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_file(self) -> None:
        self.path.write_text('version = 1\n[[rules]]\naction = "allow"\nreason = "très bien"\n', "utf-8")
        policy = load_policy(self.path)
        self.assertEqual(policy.name, f"policy {self.path}")
        self.assertEqual(policy.decide(request("GET", "http://a.test/")).reason, "très bien")
        self.assertEqual(policy.files, (self.path,))

    def test_error_names_the_file(self) -> None:
        self.path.write_text("version = 3")
        error = self.assertRaises(PolicyError, load_policy, self.path)
        self.assertTrue(error.reason.startswith(f"{self.path}:1: 'version' is 3"), error.reason)

    def test_missing(self) -> None:
        error = self.assertRaises(PolicyError, load_policy, self.path)
        self.assertEqual(error.reason, f"{self.path}: cannot be read: No such file or directory")

    def test_not_utf8(self) -> None:
        self.path.write_bytes(b"version = 1 # \xff")
        error = self.assertRaises(PolicyError, load_policy, self.path)
        self.assertEqual(error.reason, f"{self.path}: is not UTF-8; save it as UTF-8 text")


class StarterTests(SynchronousTestCase):
    """The packaged policy."""

    CASES = {
        "GET https://example.com/": "public",
        "POST http://postman-echo.com/post": "public",
        "DELETE https://api.example.org:8443/x": "public",
        "GET http://8.8.8.8/": "public",
        "CONNECT https://pinned.example.org": "public",
        "GET https://blocked.example.com/": "blocked-example",
        "GET https://a.blocked.example.com/": "blocked-example",
        "CONNECT https://blocked.example.com": "blocked-example",
        "GET http://10.0.0.1/": "private-address",
        "GET http://[fd00::1]/": "private-address",
        "GET http://[64:ff9b::a00:1]/": "private-address",
        "CONNECT https://192.168.1.1": "private-address",
        "GET http://localhost:8080/": "internal-name",
        "GET http://db/": "internal-name",
        "GET http://metadata.google.internal/": "internal-name",
        "GET http://printer.local/": "internal-name",
        "GET http://nas.home.arpa/": "internal-name",
        "GET http://example.com:22/": "default",
    }

    def test_decisions(self) -> None:
        policy = load_starter()
        for text, expected in self.CASES.items():
            with self.subTest(text):
                decision = policy.decide(request(*text.split()))
                self.assertEqual(decision.rule_id, expected)
                self.assertIs(decision.allowed, expected == "public")
                self.assertEqual(decision.decided_by, "policy starter")

    def test_readable_denial(self) -> None:
        """The example in the README."""
        self.assertEqual(
            load_starter().decide(request("GET", "https://blocked.example.com/")),
            Decision(
                Verdict.DENY,
                "blocked.example.com is on the blocked list, to show what a denial looks like",
                "policy starter",
                "blocked-example",
                policy_version=load_starter().policy_version,
            ),
        )

    def test_private_addresses_are_blocked_behind_names(self) -> None:
        self.assertTrue(load_starter().blocks_private)


class PageTests(PolicyTestCase):
    """C{docs/reference/policy.md} is correct."""

    def setUp(self) -> None:
        page = Path(__file__).parent.parent.parent.parent / "docs" / "reference" / "policy.md"
        self.text = page.read_text("utf-8")
        examples = re.findall(r"^```toml\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        self.policies = [parse(text if "version" in text else f"version = 1\n{text}") for text in examples]

    def test_examples(self) -> None:
        cases: list[dict[str, str]] = [
            {
                "GET https://shop.example.com/cart": "shop",
                "POST https://shop.example.com/Admin/x": "no-admin",
                "CONNECT https://shop.example.com": "no-admin",
                "GET http://shop.example.com/": "default",
                "HEAD http://a.partner.example/": "partners",
                "PUT http://a.partner.example/": "default",
            },
            {
                "GET https://git.example.com/api/projects/group%2Fname/issues": "rule-1",
                "GET https://git.example.com/api/projects/group%2Fother/issues": "default",
            },
            {
                "GET https://registry.npmjs.org/@scope%2fname": "npm",
                "GET https://registry.npmjs.org/@scope/name/-/name-1.0.0.tgz": "npm",
                "GET https://registry.npmjs.org/@other%2fname": "default",
            },
            {
                "GET https://api.example.com/?q=x&debug": "no-debugging",
                "GET https://api.example.com/?q=x&[debug]=1": "no-debugging",
                "GET https://api.example.com/?q=x&page=7": "default",
            },
            {"POST https://api.example.com/users.v1.Users/Get": "default"},
            {
                "POST https://api.example.com/users.v1.Users/Purge": "no-purge",
                "POST https://api.example.com/users.v1.Users/Get": "default",
            },
            {"POST https://api.example.com/users.v1.Users/Get": "default"},
            {"POST https://deploy.example.com/": "default"},
            {"POST https://api.payments.example/v1/payments": "default"},
            {"GET https://shop.example.com/": "default"},
            {"GET https://api.github.com/user": "github"},
            {"GET https://api.models.example/v1": "models", "CONNECT https://api.models.example": "models"},
            {"GET https://chat.example.com/socket": "chat", "CONNECT https://chat.example.com": "default"},
            {"GET https://api.example.com/": "default"},
            {"GET http://10.20.0.1/": "default"},
            {
                "CONNECT https://pinned.example.com": "pinned",
                "POST https://a.example.com/": "no-writes",
                "CONNECT https://a.example.com": "no-writes",
                "GET https://a.example.com/": "partners",
            },
        ]
        self.assertEqual(len(self.policies), len(cases))
        for policy, expectations in zip(self.policies, cases, strict=True):
            self.decides(policy, expectations)
            for case in policy.cases:
                self.assertTrue(run_case(policy, case).passed, case)

    def test_more_examples(self) -> None:
        """Examples that need more than a URL to match."""
        _, _, _, searching, calls, _, _, deploy, forms, hours, _, _, _, apis, *_ = self.policies
        self.decides(
            calls,
            {
                "POST https://api.example.com/users.v1.Users/Get": "users",
                "POST https://api.example.com/users.v1.Users/DeleteAll": "no-deletions",
                "POST https://api.example.com/users.v1.Users/Get?a": "no-deletions",
            },
            headers=[("Content-Type", "application/grpc")],
        )
        self.decides(
            searching,
            {"GET https://api.example.com/?q=x&page=7": "searching", "GET https://api.example.com/?q=x": "default"},
            headers=[("accept", "application/json")],
        )
        url = "POST https://deploy.example.com/"
        for body, expected in (
            (b'{"target":{"environment":"Production"}}', "no-production"),
            (b'{"steps":[{"kind":"build"},{"kind":"test"}]}', "deploy"),
            (b'{"steps":[{"kind":"build"},{"kind":"ship"}]}', "default"),
            (b"what?", "no-production"),
        ):
            self.decides(deploy, {url: expected}, body=body, headers=[("Content-Type", "application/json")])
        self.decides(deploy, {url: "no-production"}, body=b'{"steps":[{"kind":"build"}]}')
        url, kind = "POST https://api.payments.example/v1/payments", "application/x-www-form-urlencoded"
        for body, expected in (
            (b"amount=1999&currency=eur", "small-payments"),
            (b"amount=19990&currency=eur", "default"),
            (b"amount=1999&currency=eur&refund=1", "no-refunds"),
            (b"amount=1999&currency=eur&Refund[]=1", "no-refunds"),
        ):
            self.decides(forms, {url: expected}, body=body, headers=[("Content-Type", kind)])
        url, kind = "POST https://files.example.com/upload", "multipart/form-data; boundary=B"
        for name, expected in (("may.pdf", "invoices"), ("may.exe", "default")):
            body = form(
                part('Content-Disposition: form-data; name="purpose"', content="invoice"),
                part(
                    f'Content-Disposition: form-data; name="file"; filename="{name}"', "Content-Type: application/pdf"
                ),
            )
            self.decides(forms, {url: expected}, body=body, headers=[("Content-Type", kind)])
        authz_request = request("GET", "https://shop.example.com/")
        self.assertEqual(hours.decide(authz_request, 1772442000.0).rule_id, "working-hours")
        self.assertEqual(hours.decide(authz_request, 1772482000.0).rule_id, "default")
        self.decides(apis, {"GET https://x.partner.example/": "apis"}, identity="ci-1")

    def test_keys(self) -> None:
        """The page documents all keys."""
        for key in KEYS:
            self.assertIn(f"`{key}`", self.text)

    def test_starter_policy(self) -> None:
        """The page lists all rules of the starter policy, in their order."""
        table = self.text[self.text.index("## The starter policy") :]
        rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
        self.assertEqual(rows, [*(rule.rule_id for rule in load_starter().rules), "default"])

    def test_error(self) -> None:
        """The error on the page is the actual error."""
        error = self.assertRaises(
            PolicyError, parse_policy, 'version = 1\n[[rules]]\nid = "no-admin"\naction = "deny"', "policy.toml", ""
        )
        self.assertIn(f"egressproxy: --policy: {error.reason}\n", self.text)

    def test_limit(self) -> None:
        text = " ".join(self.text.split())
        self.assertIn(f"more than {MAX_READINGS} readings", text)
        self.assertIn(f"| query | {MAX_PARAMETERS} parameters |", text)
        self.assertIn(f"| field | {MAX_MEMBERS} members |", text)
        self.assertIn(f"about {MAX_WORK / 1e6:g} ms of CPU time", text)


class TextTests(SynchronousTestCase):
    """The texts of a policy, which outlive its files."""

    def test_texts(self) -> None:
        """The texts have the rules of the files that were loaded, whatever the files have now."""
        directory = Path(self.mktemp())
        directory.mkdir()
        root, part = directory / "root.toml", directory / "part.toml"
        root.write_text('version = 1\ninclude = ["part.toml"]\n[[rules]]\nname = "b"\naction = "allow"\n', "utf-8")
        part.write_text('version = 1\n[[rules]]\nname = "a"\naction = "allow"\n', "utf-8")
        policy = load_policy(root)
        self.assertEqual([text.where for text in policy.texts], [str(root), str(part)])
        self.assertEqual(policy.texts[1].text, part.read_text("utf-8"))
        part.write_text("not TOML", "utf-8")
        again = load_texts(policy.texts, policy.name)
        self.assertEqual((again, again.digest), (policy, policy.digest))

        changed = [policy.texts[0], SourceText.of(str(part), 'version = 1\n[[rules]]\nname = "c"\naction = "allow"\n')]
        found = load_texts(changed, policy.name)
        self.assertEqual([rule.rule_id for rule in found.rules], ["c", "b"])
        self.assertNotEqual(found.digest, policy.digest)
        error = self.assertRaises(PolicyError, load_texts, policy.texts[:1], policy.name)
        self.assertIn("part.toml:1: is not TOML", str(error))

    def test_without_a_file(self) -> None:
        starter = load_starter()
        (text,) = starter.texts
        self.assertEqual((text.where, load_texts(starter.texts, "x").rules), ("starter.toml", starter.rules))


class BundleTests(SynchronousTestCase):
    """A bundle contains all documents, and nothing outside of it is read."""

    def load(self, main: str, *, file: Path = Path("/none/policy.bundle"), **others: str) -> RuleSet:
        """Load a bundle."""
        documents = {"a/policy.toml": main, **{f"b/{name}.toml": text for name, text in others.items()}}
        content = encode_bundle(Bundle(7, "a/policy.toml", documents), [])
        return load_content(content, "https://policies.test/p", file)

    def test_documents(self) -> None:
        allow = 'version = 1\n[[rules]]\naction = "allow"\n'
        rules = self.load('version = 1\ninclude = ["../b/x.toml"]\n', x=allow)
        self.assertEqual((rules.version, rules.is_loaded), (7, True))
        self.assertEqual(rules.name, "policy https://policies.test/p version 7")
        self.assertEqual(rules.files, (Path("/none/policy.bundle"),))
        self.assertEqual(rules.rules[0].where, "https://policies.test/p/b/x.toml:2")
        again = load_texts(rules.texts, rules.name)
        self.assertEqual((again.rules, again.texts), (rules.rules, rules.texts))

    def test_outside(self) -> None:
        directory = make_directory(self).absolute()
        outside = directory / "x.toml"
        outside.write_text("version = 1\n")
        for name in ("../../x.toml", str(outside), "missing.toml"):
            with self.subTest(name):
                text = f'version = 1\ninclude = ["{name}"]\n'
                error = self.assertRaises(PolicyError, self.load, text, file=directory / "policy.bundle")
                self.assertIn("is not in the bundle", error.reason)

    def test_circle(self) -> None:
        text = 'version = 1\ninclude = ["../b/x.toml"]\n'
        error = self.assertRaises(PolicyError, self.load, text, x='version = 1\ninclude = ["../a/policy.toml"]\n')
        self.assertIn("in a circle", error.reason)

    def test_one_document(self) -> None:
        """A document that is not in a bundle includes nothing."""
        file = Path("/none/policy")
        rules = load_content(b"version = 1\n", "https://policies.test/p", file)
        self.assertEqual((rules.version, rules.files, rules.is_loaded), (None, (file,), True))
        for content, words in (
            (b'version = 1\ninclude = ["x.toml"]\n', "permitted only in a file"),
            (b"\xff", "is not UTF-8"),
            (b"{", "is not JSON"),
        ):
            error = self.assertRaises(PolicyError, load_content, content, "https://policies.test/p", file)
            self.assertTrue(error.reason.startswith("https://policies.test/p"), error.reason)
            self.assertIn(words, error.reason)

    def test_keys(self) -> None:
        directory = make_directory(self).absolute()
        path = directory / "policy"
        path.write_text("version = 1\n")
        self.assertIsNone(load_policy(path).version)
        error = self.assertRaises(PolicyError, load_policy, path, [])
        self.assertIn("is not signed", error.reason)
        path.write_bytes(encode_bundle(Bundle(1, "a", {"a": "version = 1\n"}), []))
        self.assertEqual(load_policy(path).version, 1)
        error = self.assertRaises(PolicyError, load_policy, path, [])
        self.assertIn("has no signature", error.reason)

    def test_placeholder(self) -> None:
        rules = no_policy("https://policies.test/p", Path("/none/policy"))
        self.assertEqual((rules.is_loaded, rules.files, len(rules.texts)), (False, (Path("/none/policy"),), 1))
