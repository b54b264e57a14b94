"""Tests for L{egress.policy.rules}."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Stage, Verdict
from egress.policy.match.hosts import compile_host
from egress.policy.match.paths import compile_path
from egress.policy.rule import Rule
from egress.policy.rules import RuleSet
from tests.policy.policies import parse, request

ALLOW, DENY, ADDRESSES = Verdict.ALLOW, Verdict.DENY, Verdict.NEED_ADDRESSES
_JSON = ("Content-Type", "application/json")
# A path with more interpretations than the limit.
UNREADABLE = "/%" + "25" * 100 + "41"


def rule(verdict: Verdict, rule_id: str = "one", **conditions: Any) -> Rule:
    """Create a rule, and compile its hosts and paths."""
    hosts = tuple(map(compile_host, conditions.pop("hosts", ())))
    paths = tuple(compile_path(path, broad=verdict is not ALLOW) for path in conditions.pop("paths", ()))
    sets: dict[str, Any] = {key: frozenset(value) for key, value in conditions.items()}
    return Rule(rule_id, verdict, f"because of {rule_id}", hosts=hosts, paths=paths, **sets)


class DecideTestCase(SynchronousTestCase):
    """Base class of tests that evaluate rule sets."""

    def check(self, rules: list[Rule], cases: dict[str, str], default: Verdict = DENY) -> None:
        """Assert the ids of the rules that decide; C{default} if no rule matches.

        @param cases: the expected id for each C{METHOD URL}.
        """
        policy = RuleSet("policy test", tuple(rules), default=default)
        for text, expected in cases.items():
            with self.subTest(text):
                self.assertEqual(policy.decide(request(*text.split(" "))).rule_id, expected)
                # The second decision uses the cache of origins.
                self.assertEqual(policy.decide(request(*text.split(" "))).rule_id, expected)


class DecideTests(DecideTestCase):
    """The first rule that matches decides."""

    def test_withheld_addresses(self) -> None:
        """A request that is denied regardless of its addresses is denied without a DNS lookup."""
        head = "version = 1\n"
        public = '[[rules]]\nid = "{0}"\naction = "{0}"\nreason = "x"\naddresses = ["public"]\n'
        plain = '[[rules]]\nid = "plain-{0}"\naction = "{0}"\nreason = "x"\n'
        other = '[[rules]]\naction = "allow"\nhosts = ["other.test"]\naddresses = ["public"]\n'
        for text, default, expected in (
            (public.format("deny"), "deny", (DENY, "default")),
            (public.format("deny"), "allow", (ADDRESSES, "deny")),
            (public.format("allow"), "deny", (ADDRESSES, "allow")),
            (public.format("ask"), "deny", (ADDRESSES, "ask")),
            (public.format("allow") + plain.format("allow"), "deny", (ADDRESSES, "allow")),
            (public.format("deny") + plain.format("allow"), "deny", (ADDRESSES, "deny")),
            (public.format("deny") + plain.format("ask"), "deny", (ADDRESSES, "deny")),
            (public.format("deny") + plain.format("deny"), "allow", (DENY, "plain-deny")),
            (public.format("deny") + public.format("allow") + plain.format("deny"), "deny", (ADDRESSES, "allow")),
            (public.format("deny") + public.format("ask") + public.format("allow"), "deny", (ADDRESSES, "ask")),
            (plain.format("deny") + public.format("allow"), "allow", (DENY, "plain-deny")),
            (plain.format("allow") + public.format("deny"), "deny", (ALLOW, "plain-allow")),
            (other, "deny", (DENY, "default")),
            (other + plain.format("ask"), "deny", (Verdict.ASK, "plain-ask")),
        ):
            with self.subTest(text, default=default):
                policy = parse(f"{head}default = '{default}'\n{text}")
                withheld = request("GET", "http://a.test/", addresses_withheld=True)
                for authz_request in (
                    withheld,
                    attrs.evolve(withheld, stage=Stage.TUNNEL, method="CONNECT", path=""),
                ):
                    decision = policy.decide(authz_request)
                    self.assertEqual((decision.verdict, decision.rule_id), expected)
                    self.assertEqual(policy.trace(authz_request)[-1].verdict, decision.verdict)
                if expected[0] is ADDRESSES:
                    self.assertIn("needs the addresses", decision.reason)

    @given(
        st.lists(
            st.tuples(st.sampled_from(["allow", "deny", "ask"]), st.sampled_from(["", "public", "private"])),
            max_size=4,
        ),
        st.sampled_from(["allow", "deny"]),
    )
    def test_final_decision_holds_for_all_addresses(self, rules: list[tuple[str, str]], default: str) -> None:
        text = "".join(
            f'[[rules]]\naction = "{action}"\nreason = "x"\n' + (f'addresses = ["{kind}"]\n' if kind else "")
            for action, kind in rules
        )
        policy = parse(f"version = 1\ndefault = '{default}'\n{text}")
        found = policy.decide(request("GET", "http://a.test/", addresses_withheld=True))
        with_addresses = [
            policy.decide(request("GET", "http://a.test/", addresses=tuple(map(ip_address, addresses))))
            for addresses in (["8.8.8.8"], ["10.0.0.1"], ["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["fe80::1"])
        ]
        verdicts = {decision.verdict for decision in with_addresses}
        if found.verdict is DENY:
            self.assertEqual(verdicts, {DENY})
        elif found.verdict is ADDRESSES:
            self.assertTrue(any(kind for _, kind in rules))
        else:
            self.assertEqual(set(with_addresses), {found})

    def test_decision(self) -> None:
        policy = RuleSet("policy test", (rule(DENY, "no", hosts=["bad.test"]), rule(ALLOW, "yes")))
        self.assertEqual(
            policy.decide(request("GET", "http://bad.test/")),
            Decision(DENY, "because of no", "policy test", "no"),
        )
        self.assertEqual(
            policy.decide(request("GET", "http://good.test/")),
            Decision(ALLOW, "because of yes", "policy test", "yes"),
        )

    def test_default(self) -> None:
        self.assertEqual(
            RuleSet("policy test", ()).decide(request("PUT", "https://example.com:444/x")),
            Decision(DENY, "no rule allows PUT https://example.com:444", "policy test", "default"),
        )
        self.assertEqual(
            RuleSet("policy test", (), default=ALLOW).decide(request("CONNECT", "https://example.com")),
            Decision(ALLOW, "no rule denies CONNECT https://example.com", "policy test", "default"),
        )
        self.assertFalse(RuleSet("policy test", ()).blocks_private)

    def test_version(self) -> None:
        """Each decision has the version of the policy; rules without a text have none."""
        policy = parse(
            "version = 1\n[[rules]]\nname = 'a'\naction = 'allow'\nhosts = ['a.test']\n"
            "[[rules]]\nname = 'b'\naction = 'deny'\nreason = 'no'\nhosts = ['b.test']\n"
        )
        self.assertEqual(policy.policy_version, policy.digest[:12])
        for host in ("a.test", "c.test"):
            decision = policy.decide(request("GET", f"http://{host}/"))
            self.assertEqual(decision.policy_version, policy.policy_version, host)
        self.assertIsNone(RuleSet("policy test", ()).decide(request("GET", "http://a.test/")).policy_version)
        bundled = attrs.evolve(policy, version=7)
        self.assertEqual(bundled.policy_version, f"7-{policy.policy_version}")

    def test_first_match_decides(self) -> None:
        self.check(
            [
                rule(ALLOW, "hole", hosts=["a.example.com"], paths=["/open/**"]),
                rule(DENY, "wall", hosts=["*.example.com"]),
                rule(ALLOW, "rest"),
            ],
            {
                "GET http://a.example.com/open/x": "hole",
                "GET http://a.example.com/shut": "wall",
                "GET http://b.example.com/open/x": "wall",
                "GET http://example.com/": "rest",
            },
        )

    def test_all_conditions_must_match(self) -> None:
        self.check(
            [
                rule(
                    ALLOW,
                    hosts=["a.test", "b.test"],
                    ports=[443, 8443],
                    schemes=["https"],
                    methods=["GET", "PUT"],
                    paths=["/x", "/y"],
                )
            ],
            {
                "GET https://a.test/x": "one",
                "PUT https://b.test:8443/y?q=1": "one",
                "GET https://c.test/x": "default",
                "GET https://a.test:444/x": "default",
                "GET http://a.test:443/x": "default",
                "HEAD https://a.test/x": "default",
                "GET https://a.test/z": "default",
                # A path in the query does not count.
                "GET https://a.test/z?/x": "default",
            },
        )

    def test_methods(self) -> None:
        """A denial ignores case; a permission matches only the exact method."""
        self.check(
            [rule(DENY, "writes", methods=["DELETE"]), rule(ALLOW, "reads", methods=["GET"])],
            {
                "DELETE http://a.test/": "writes",
                "delete http://a.test/": "writes",
                "GET http://a.test/": "reads",
                "get http://a.test/": "default",
            },
        )

    def test_asterisk_is_not_a_path(self) -> None:
        asterisk = DecisionRequest(
            "id", Stage.REQUEST, "OPTIONS", Origin("http", Authority("a.test", 80)), "*", (), ClientIdentity("::1", 1)
        )
        rules = (rule(ALLOW, "paths", paths=["/**"]), rule(ALLOW, "none"))
        self.assertEqual(RuleSet("policy test", rules).decide(asterisk).rule_id, "none")


class PathTests(DecideTestCase):
    """A denial matches any interpretation of a path, a permission requires all to match."""

    # Some server interprets each of these as /admin/x.
    TO_ADMIN = (
        "/admin/x",
        "/ADMIN/x",
        "/admin",
        "/admin/",
        "/%61dmin/x",
        "//admin/x",
        "/./admin/x",
        "/public/../admin/x",
        "/public/%2e%2e/admin/x",
        "/public/.%2E/admin/x",
        "/public/..;/admin/x",
        "/public/..;a=b/admin/x",
        "/public//../../admin/x",
        "/public/x/..%2f..%2fadmin/x",
        "/public/..%5cadmin%5cx",
        "/public/%252e%252e/admin/x",
        "/public/..%252fadmin/x",
        "/public%2f..%2fadmin/x",
        "/public/%c0%ae%c0%ae/admin/x",
        "/public/..%c0%afadmin/x",
        "/public/..%u002fadmin/x",
        "/public/..%EF%BC%8Fadmin/x",
        "/admin;x=y/x",
        "/admin%00.png",
        "/admin%3fx",
        "/admin%23",
        "/admin%20/x",
        "/admin./x",
    )

    def test_no_spelling_bypasses_a_denial(self) -> None:
        rules = [rule(DENY, "no", paths=["/admin/**"]), rule(ALLOW, "yes")]
        self.check(rules, {f"GET http://a.test{UNREADABLE}": "default"})
        self.check(rules, {f"GET http://a.test{path}": "no" for path in self.TO_ADMIN})
        self.check(rules, dict.fromkeys(("GET http://a.test/administrator", "GET http://a.test/x/admin"), "yes"))

    def test_no_spelling_extends_a_permission(self) -> None:
        rules = [rule(ALLOW, "yes", paths=["/public/**"])]
        self.check(rules, {f"GET http://a.test{path}": "default" for path in (*self.TO_ADMIN, UNREADABLE)})
        self.check(
            rules,
            dict.fromkeys(
                (
                    "GET http://a.test/public/x",
                    "GET http://a.test/public//x/../y",
                    "GET http://a.test/%70ublic/a%2Fb;v=1/c%20d",
                    "GET http://a.test/public?x=/../admin",
                ),
                "yes",
            ),
        )

    def test_several_patterns_can_cover_the_interpretations(self) -> None:
        url = "GET http://a.test/projects/group%2Fname/issues"
        for paths, expected in (
            (["/projects/group%2Fname/issues"], "default"),
            (["/projects/group/name/issues"], "default"),
            (["/projects/group%2Fname/issues", "/projects/group/name/issues"], "one"),
        ):
            with self.subTest(paths=paths):
                self.check([rule(ALLOW, paths=paths)], {url: expected})

    @given(st.lists(st.sampled_from("admin/.;%\\?#AX0125eEfFcC "), max_size=12).map("".join))
    def test_no_interpretation_is_both_denied_and_allowed(self, path: str) -> None:
        """For one pattern, a permission never allows a path that a denial matches."""
        pattern = "/a*/**"
        denial = RuleSet("policy test", (rule(DENY, paths=[pattern]),), default=ALLOW)
        permission = RuleSet("policy test", (rule(ALLOW, paths=[pattern]),))
        authz_request = request("GET", f"http://a.test/a{path}")
        if permission.decide(authz_request).allowed:
            self.assertFalse(denial.decide(authz_request).allowed)


class TunnelTests(DecideTestCase):
    """The content of a tunnel is not visible to rules."""

    DENIED: dict[str, dict[str, Any]] = {
        "host": {"hosts": ["a.test"]},
        "port": {"ports": [443]},
        "method": {"methods": ["POST"]},
        "tunnels": {"methods": ["CONNECT"]},
        "path": {"paths": ["/admin/**"]},
        "scheme": {"schemes": ["http"]},
    }

    def test_denial_applies_to_possible_content(self) -> None:
        for name, conditions in self.DENIED.items():
            for verdict in (DENY, Verdict.ASK):
                with self.subTest(name, verdict=verdict):
                    rules = [rule(verdict, "no", **conditions), rule(ALLOW, "yes")]
                    self.check(rules, {"CONNECT https://a.test": "no"})
                    tunnel = request("CONNECT", "https://a.test")
                    self.assertIs(RuleSet("policy test", tuple(rules)).decide(tunnel).verdict, verdict)

    def test_denials_of_other_authorities(self) -> None:
        rules = [
            rule(DENY, "host", hosts=["b.test"]),
            rule(DENY, "port", ports=[80]),
            rule(ALLOW, "yes"),
        ]
        self.check(rules, {"CONNECT https://a.test": "yes", "CONNECT https://b.test": "host"})

    PERMITTED: dict[str, tuple[dict[str, Any], str]] = {
        "host and port": ({"hosts": ["a.test"], "ports": [443]}, "one"),
        "tunnels": ({"methods": ["CONNECT"]}, "one"),
        "tunnels and reads": ({"methods": ["GET", "CONNECT"]}, "one"),
        "tunnels and a scheme": ({"methods": ["CONNECT"], "schemes": ["https"]}, "one"),
        "method": ({"methods": ["GET"]}, "default"),
        "path": ({"paths": ["/**"]}, "default"),
        "path and tunnels": ({"paths": ["/**"], "methods": ["CONNECT"]}, "default"),
        "scheme": ({"schemes": ["https"]}, "default"),
        "other host": ({"hosts": ["b.test"]}, "default"),
    }

    def test_permission_needs_certainty(self) -> None:
        for name, (conditions, expected) in self.PERMITTED.items():
            with self.subTest(name):
                self.check([rule(ALLOW, **conditions)], {"CONNECT https://a.test": expected})

    def test_permission_before_the_denial(self) -> None:
        """A permission for CONNECT before a denial of writes opens the tunnel."""
        self.check(
            [
                rule(ALLOW, "pinned", hosts=["pinned.test"], methods=["CONNECT"]),
                rule(DENY, "writes", methods=["POST"]),
                rule(ALLOW, "rest"),
            ],
            {
                "CONNECT https://pinned.test": "pinned",
                "POST https://pinned.test/": "writes",
                "GET https://pinned.test/": "rest",
                "CONNECT https://a.test": "writes",
            },
        )


class WorkTests(SynchronousTestCase):
    """A request that exceeds the work budget is denied, regardless of the rules."""

    def decision(self, policy: str, authz_request: DecisionRequest, *words: str) -> None:
        """Evaluate a policy that allows every request that no other rule matches."""
        rules = parse(f"version = 1\ndefault = 'allow'\n{policy}\n[[rules]]\nname = 'last'\naction = 'allow'\n")
        decision = rules.decide(authz_request)
        self.assertEqual((decision.verdict, decision.rule_id, decision.ttl), (DENY, "default", None))
        for word in ("takes too much work to compare with the rule one: its", *words):
            self.assertIn(word, decision.reason)
        self.assertNotIn("hunter2", decision.reason)
        *evaluated, last = rules.trace(authz_request)
        self.assertEqual((last.rule_id, last.verdict), ("default", DENY))
        self.assertEqual([(one.rule_id, one.failed) for one in evaluated], [("one", "work")])
        # An earlier rule without such a condition decides.
        before = parse("version = 1\n[[rules]]\naction = 'allow'\n")
        self.assertTrue(before.decide(authz_request).allowed)

    def test_after_a_rule_with_addresses(self) -> None:
        """With the addresses known, an earlier rule can decide first; if it denies, the result is the same."""
        authz_request = request("GET", f"http://a.test{UNREADABLE}", addresses_withheld=True)
        for action, expected in (("allow", ADDRESSES), ("ask", ADDRESSES), ("deny", DENY)):
            with self.subTest(action):
                rules = parse(
                    f"version = 1\n[[rules]]\naction = '{action}'\nreason = 'x'\naddresses = ['public']\n"
                    "[[rules]]\naction = 'allow'\npaths = ['/x']\n"
                )
                self.assertIs(rules.decide(authz_request).verdict, expected)
                self.assertIs(rules.trace(authz_request)[-1].verdict, expected)

    def test_each_part(self) -> None:
        json = [_JSON]
        for action in ("deny", "allow", "ask"):
            head = f"[[rules]]\nname = 'one'\naction = '{action}'\nreason = 'x'\n"
            for condition, authz_request, words in (
                ("paths = ['/x']", request("GET", f"http://a.test{UNREADABLE}hunter2"), ["more than 32 ways"]),
                ("paths = ['/x']", request("GET", "http://a.test/hunter2" + "a%2f" * 3000), ["12,008 characters"]),
                (
                    f"paths = [{', '.join(repr(f'/**/{number}/**') for number in range(50))}]",
                    request("GET", "http://a.test/hunter2" + "/a" * 4000),
                    ["8,008 characters is compared with many patterns"],
                ),
                ("query = { a = true }", request("GET", "http://a.test/?" + "a=hunter2&" * 501), ["500 parameters"]),
                (
                    "query = { a = 'x' }",
                    request("GET", "http://a.test/?" + "a=hunter2%20b;" * 400),
                    ["many or long values"],
                ),
                (
                    "headers = { X-A = 'x' }",
                    request("GET", "http://a.test/", headers=[("X-A", "hunter2," * 501)]),
                    ["x-a has more than 500 members"],
                ),
                (
                    "headers = { X-A = ['x', 'y'] }",
                    request("GET", "http://a.test/", headers=[("X-A", "hunter2" * 80_000)]),
                    ["x-a has many or long values"],
                ),
                (
                    "json = { a = 'x' }",
                    request("PUT", "http://a.test/", headers=json, body=b'"hunter2' + b"x" * 2_000_000 + b'"'),
                    ["2,000,009 bytes"],
                ),
            ):
                with self.subTest(condition[:30], action=action):
                    self.decision(head + condition, authz_request, *words)

    def test_long_paths(self) -> None:
        """A long path is compared if only few patterns can match it."""
        patterns = [f"/{number}/**" for number in range(300)]
        rules = RuleSet("policy test", (rule(ALLOW, "yes", paths=[*patterns, "/a/**"]),))
        self.assertEqual(rules.decide(request("GET", "http://a.test" + "/a" * 1500)).rule_id, "yes")


class DecisionAttributeTests(SynchronousTestCase):
    """The attributes of a decision other than its verdict."""

    def test_content_is_requested_last(self) -> None:
        policy = parse(
            """version = 1
[[rules]]
action = "allow"
hosts = ["a.test"]
methods = ["GET"]
[[rules]]
action = "deny"
reason = "x"
hosts = ["a.test"]
headers = { X-A = "1" }
json = { a = 1 }
[[rules]]
action = "allow"
"""
        )
        for method, headers, expected in (
            ("GET", [("X-A", "1")], (ALLOW, "rule-1")),
            ("PUT", [("X-A", "1"), _JSON], (Verdict.NEED_BODY, "rule-2")),
            # The head alone shows that servers can interpret the content differently.
            ("PUT", [("X-A", "1")], (DENY, "rule-2")),
            ("PUT", [("X-A", "1"), _JSON, ("Content-Encoding", "br")], (Verdict.NEED_BODY, "rule-2")),
            ("PUT", [("X-A", "1"), _JSON, ("Content-Encoding", "xz")], (DENY, "rule-2")),
            ("PUT", [("X-A", "2")], (ALLOW, "rule-3")),
        ):
            authz_request = request(method, "http://a.test/", headers=headers, body_withheld=True, content_length=None)
            decision = policy.decide(authz_request)
            self.assertEqual((decision.verdict, decision.rule_id), expected)
            self.assertEqual(decision.allowed, expected[0] is ALLOW)
            self.assertEqual(policy.trace(authz_request)[-1].verdict, expected[0])
        authz_request = request("PUT", "http://a.test/", headers=[("X-A", "1"), _JSON], body=b'{"a":2}')
        self.assertEqual(policy.decide(authz_request).rule_id, "rule-3")

    def test_enforce_in_observe(self) -> None:
        """Denials of addresses are enforced in observe mode."""
        for condition, enforced in (
            ('hosts = ["private"]', True),
            ('hosts = ["10.0.0.0/8", "a.test"]', True),
            ('addresses = ["private"]', True),
            ('hosts = ["*"]', False),
            ("ports = [80]", False),
        ):
            for action in ("deny", "allow"):
                policy = parse(f"version = 1\n[[rules]]\naction = '{action}'\nreason = 'x'\n{condition}")
                decision = policy.decide(request("GET", "http://10.0.0.1/"))
                self.assertEqual(decision.rule_id, "rule-1")
                self.assertIs(decision.enforce_in_observe, enforced and action == "deny", condition)

    def test_ttl(self) -> None:
        """A decision is cacheable for equal request attributes, until a time window begins or ends."""
        policy = parse(
            """version = 1
ttl = "1h"
[[rules]]
action = "allow"
hosts = ["a.test"]
methods = ["GET"]
times = ["08:00-09:30"]
[[rules]]
action = "deny"
reason = "not {path}"
hosts = ["a.test"]
headers = { X = true }
[[rules]]
action = "allow"
hosts = ["b.test"]
"""
        )
        nine = 1772442000.0

        def cached(url: str, now: float | None, **given: Any) -> tuple[str | None, float | None, object]:
            decision = policy.decide(request("GET", url, **given), now)
            return decision.rule_id, decision.ttl, decision.cache_key

        self.assertEqual(cached("http://a.test/", nine), ("rule-1", 1800.0, ("method",)))
        self.assertEqual(cached("http://a.test/", nine - 3600), ("rule-1", 3600.0, ("method",)))
        self.assertEqual(
            cached("http://a.test/", nine + 3600, headers=[("X", "1")]),
            ("rule-2", 3600.0, ("header:x", "method", "path")),
        )
        self.assertEqual(cached("http://a.test/", nine + 3600), ("default", 3600.0, ("header:x", "method")))
        self.assertEqual(cached("http://b.test/", nine), ("rule-3", 3600.0, ()))
        # Without a clock, decisions that depend on the time have no time to live.
        self.assertEqual(cached("http://b.test/", None), ("rule-3", 3600.0, ()))
        self.assertEqual(cached("http://a.test/", None)[1:], (None, None))
        self.assertEqual(cached("http://c.test/", nine), ("default", 3600.0, ("method",)))

    def test_trace_names_the_host_first(self) -> None:
        """A rule for other hosts is not explained by its port: only the rule for this host almost matched."""
        rules = [
            rule(ALLOW, "other", hosts=["b.test"], ports=[443]),
            rule(ALLOW, "this", hosts=["a.test"], ports=[443]),
            rule(ALLOW, "every", ports=[443]),
        ]
        trace = RuleSet("policy test", tuple(rules)).trace(request("GET", "http://a.test:8080/"))
        self.assertEqual([one.failed for one in trace], ["hosts", "ports", "ports", None])

    def test_no_ttl(self) -> None:
        decision = parse("version = 1\n[[rules]]\naction = 'allow'").decide(request("GET", "http://a.test/"), 0.0)
        self.assertEqual((decision.ttl, decision.cache_key), (None, None))

    def test_trace(self) -> None:
        policy = parse(
            """version = 1
[[rules]]
action = "allow"
ports = [81]
[[rules]]
action = "allow"
schemes = ["https"]
hosts = ["a.test"]
[[rules]]
action = "deny"
reason = "x"
hosts = ["b.test"]
[[rules]]
action = "allow"
methods = ["PUT"]
[[rules]]
action = "allow"
paths = ["/x"]
[[rules]]
action = "allow"
clients = ["ci"]
"""
        )
        trace = policy.trace(request("GET", "http://a.test/"))
        self.assertEqual(
            [(one.rule_id, one.failed, one.matched) for one in trace],
            [
                ("rule-1", "ports", False),
                ("rule-2", "schemes", False),
                ("rule-3", "hosts", False),
                ("rule-4", "methods", False),
                ("rule-5", "paths", False),
                ("rule-6", "clients", False),
                ("default", None, True),
            ],
        )
        self.assertEqual((trace[2].where, trace[2].verdict, trace[-1].where), ("p.toml:9", DENY, ""))
