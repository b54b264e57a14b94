"""Tests for L{egress.policy.learn.suggest}."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.model.decision import Stage
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.replay import Recorded
from egress.policy.learn.suggest import MAX_RULES, SuggestedRule, Suggestion, names_of
from egress.policy.learn.writer import write_policy
from egress.policy.parse.load import parse_policy
from egress.policy.rules import RuleSet
from tests.policy.audit import audit_line, read


def suggest(lines: list[AuditLine]) -> Suggestion:
    suggestion = Suggestion()
    for line in lines:
        suggestion.add(line)
    return suggestion


def index_lines(names: list[str]) -> list[bytes]:
    """Return the requests of pip to a package index."""
    lines = []
    for name in names:
        digest = hashlib.sha256(name.encode()).hexdigest()
        store = f"https://files.index.test/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}"
        lines.append(audit_line("GET", f"https://index.test/simple/{name}/"))
        lines += [audit_line("GET", f"{store}/{name}-1.0-py3-none-any.whl{end}") for end in ("", ".metadata")]
    return lines


def grpc_line(service: str, method: str, host: str = "api.test") -> bytes:
    """Return the record of a gRPC call."""
    call = {"service": service, "method": method, "status": "OK"}
    return audit_line("POST", f"https://{host}/{service}/{method}", grpc=call)


class SuggestTests(SynchronousTestCase):
    """Suggestions for typical traffic."""

    def rules(self, *lines: bytes, most: int = MAX_RULES) -> list[SuggestedRule]:
        return suggest(read(*lines)).rules(most)

    def summary(self, rules: list[SuggestedRule]) -> list[tuple[list[str], list[str], list[str]]]:
        return [(sorted(rule.hosts), sorted(rule.methods), list(rule.paths)) for rule in rules]

    def test_an_index(self) -> None:
        names = ["attrs", "idna", "six"]
        self.assertEqual(
            self.summary(self.rules(*index_lines(names))),
            [
                (["index.test"], ["GET"], [f"/simple/{name}/" for name in names]),
                (["files.index.test"], ["GET"], ["/packages/*/*/*/*.whl", "/packages/*/*/*/*.whl.metadata"]),
            ],
        )
        many = [f"package-{letter}" for letter in "abcdefghij"]
        self.assertEqual(self.rules(*index_lines(many))[0].paths, ("/simple/*/",))

    def test_an_api(self) -> None:
        lines = []
        for number in range(1, 30):
            item = f"https://api.test/v1/items/{number}"
            lines += [audit_line(method, item) for method in ("GET", "HEAD", "PUT", "DELETE")]
            lines.append(audit_line("GET", f"https://api.test/v1/items?page={number}"))
        lines.append(audit_line("POST", "https://api.test/v1/items"))
        rules = self.rules(*lines)
        self.assertEqual(
            self.summary(rules),
            [
                (["api.test"], ["GET", "HEAD"], ["/v1/items", "/v1/items/*"]),
                (["api.test"], ["DELETE", "POST", "PUT"], ["/v1/items", "/v1/items/*"]),
            ],
        )
        self.assertEqual([rule.count for rule in rules], [87, 59])
        self.assertEqual(rules[0].example, "https://api.test/v1/items")
        self.assertEqual(list(names_of(rules)), ["api.test-read", "api.test-write"])

    def test_few_methods(self) -> None:
        """Each unsafe method has a rule of its own, if this makes at most three rules."""
        lines = [audit_line("GET", "http://a.test/x"), audit_line("POST", "http://a.test/y")]
        rules = self.rules(*lines, audit_line("DELETE", "http://a.test/z"))
        self.assertEqual(
            self.summary(rules),
            [(["a.test"], ["GET"], ["/x"]), (["a.test"], ["DELETE"], ["/z"]), (["a.test"], ["POST"], ["/y"])],
        )
        self.assertEqual(list(names_of(rules)), ["a.test-read", "a.test-delete", "a.test-post"])
        same = self.rules(audit_line("GET", "http://a.test/x"), audit_line("POST", "http://a.test/x"))
        self.assertEqual(self.summary(same), [(["a.test"], ["GET", "POST"], ["/x"])])

    def test_calls(self) -> None:
        """A gRPC call has its service and its method, and no path."""
        calls = [grpc_line("users.v1.Users", name) for name in ("Get", "Delete", "Get")]
        rules = self.rules(*calls, grpc_line("users.v1.Admin", "Purge"), audit_line("GET", "https://api.test/x"))
        self.assertEqual(
            [(rule.services, rule.calls, rule.paths, rule.count) for rule in rules],
            [
                ((), (), ("/x",), 1),
                (("users.v1.Admin",), ("Purge",), (), 1),
                (("users.v1.Users",), ("Delete", "Get"), (), 3),
            ],
        )
        self.assertEqual(list(names_of(rules)), ["api.test-read", "api.test-Admin", "api.test-Users"])
        text = write_policy(suggest(read(*calls)), MAX_RULES)
        self.assertIn('\ngrpc = { service = "users.v1.Users", method = ["Delete", "Get"] }\n', text)
        self.assertIn('reason = "learned from traffic: gRPC calls to api.test"', text)
        self.assertNotIn("\npaths", text)
        self.assertNotIn("\nmethods", text)
        rules_of_text = parse_policy(text, "x", "x")
        for line, allowed in (
            (calls[0], True),
            (grpc_line("users.v1.Users", "Other"), False),
            (grpc_line("users.v1.Admin", "Delete"), False),
            (audit_line("POST", "https://api.test/users.v1.Users/Get"), False),
        ):
            (found,) = read(line)
            self.assertIs(rules_of_text.decide(Recorded.of(found).question()).allowed, allowed, found)

    def test_many_calls(self) -> None:
        """Fewer rules have several services, then only the service, and then other requests, too."""
        lines = [grpc_line(f"p{one}.S{two}", f"M{two}", f"h{one}.test") for one in range(3) for two in range(13)]
        lines += [audit_line("GET", f"https://h{number}.test/") for number in range(3)]
        for most in (40, 12, 5, 2):
            policy = parse_policy(write_policy(suggest(read(*lines)), most), "x", "x")
            self.assertLessEqual(len(policy.rules), most)
            for line in read(*lines):
                self.assertTrue(policy.decide(Recorded.of(line).question()).allowed, (most, line))
        (rule,) = self.rules(*[grpc_line("a.B", f"M{number}") for number in range(13)])
        self.assertEqual((rule.services, rule.calls), (("a.B",), ()))
        (rule,) = self.rules(*[grpc_line(f"a.B{number}", "M") for number in range(13)], most=2)
        self.assertEqual((rule.services, rule.calls, list(names_of([rule]))), (("*",), ("M",), ["api.test"]))
        services = [f"a.rather.long.{letter * 20}" for letter in "ABC"]
        calls = [grpc_line(each, "M") for each in services]
        folded = self.rules(*calls, audit_line("GET", "https://api.test/"), most=2)
        self.assertEqual(list(names_of(folded)), ["api.test-read", "api.test-grpc"])
        text = write_policy(suggest(read(*calls)), 2)
        self.assertIn("\n\n[rules.grpc]\nservice = [\n", text)
        self.assertIn('\nmethod = ["M"]\n', text)

    def test_hosts_with_equal_requests(self) -> None:
        """Several hosts with equal requests share one rule."""
        (rule,) = self.rules(*(audit_line("GET", f"https://{host}/") for host in ("a.test", "b.test")))
        self.assertEqual((rule.hosts, rule.paths), ({"a.test", "b.test"}, ("/",)))
        self.assertEqual(list(names_of([rule])), ["a.test-and-1-more"])
        (rule,) = self.rules(*(audit_line("GET", f"https://{name}.cdn.test/") for name in "abc"))
        self.assertEqual((rule.hosts, list(names_of([rule]))), ({"*.cdn.test"}, ["cdn.test"]))

    def test_schemes_and_ports(self) -> None:
        (rule,) = self.rules(audit_line("GET", "https://a.test/"), audit_line("GET", "http://a.test:8080/"))
        self.assertEqual((rule.schemes, rule.ports), ({"http", "https"}, {443, 8080}))
        self.assertEqual(rule.example, "https://a.test/")

    def test_tunnels(self) -> None:
        rules = self.rules(
            audit_line("CONNECT", "https://db.test:5432"),
            audit_line("CONNECT", "https://db.test:5433"),
            audit_line("CONNECT", "https://other.test:5432"),
            audit_line("GET", "https://z.test/"),
        )
        self.assertEqual([rule.tunnels for rule in rules], [False, True, True])
        self.assertEqual([sorted(rule.hosts) for rule in rules[1:]], [["db.test"], ["db.test", "other.test"]])

    def test_no_pattern(self) -> None:
        """If no pattern certainly matches a path, the rule has no paths; nor methods that no rule can name."""
        many_readings = "/" + "%252e;a/..%5C" * 40
        for method, url in (
            ("GET", f"http://a.test{many_readings}"),
            ("GET", f"http://a.test/%{'25' * 40}41"),
            ("OPTIONS", "http://a.test"),
            ("get", "http://a.test/x"),
        ):
            lines = read(audit_line(method, url), audit_line("GET", "http://a.test/y"))
            policy = parse_policy(write_policy(suggest(lines), MAX_RULES), "x", "x")
            for line in lines:
                self.assertTrue(policy.decide(Recorded.of(line).question()).allowed, line)

    def test_deep(self) -> None:
        (rule,) = self.rules(audit_line("GET", "http://a.test" + "/a" * 5000))
        self.assertEqual(rule.paths, ("/a" * 24 + "/**",))

    def test_fewer_rules(self) -> None:
        """The rules with the most requests stay separate."""
        lines = [audit_line("GET", f"https://h{number}x.test/p{number}x") for number in range(20)]
        lines += [audit_line("GET", "https://busy.test/x")] * 5
        lines += [audit_line("CONNECT", f"https://t{number}x.test:{5000 + number}") for number in range(3)]
        for most in (12, 5, 3, 2):
            rules = self.rules(*lines, most=most)
            self.assertLessEqual(len(rules), most)
            self.assertEqual(sum(rule.count for rule in rules), 28)
            self.assertEqual(any(rule.hosts == {"busy.test"} for rule in rules), most > 2)
        self.assertEqual(len(self.rules(*lines[-3:], most=2)), 1)

    def test_order_does_not_matter(self) -> None:
        lines = read(*index_lines(["attrs", "idna"]), *(audit_line("PUT", f"http://h{n}.test/{n}") for n in range(30)))
        first = write_policy(suggest(lines), 5)
        shuffled = lines[:]
        random.Random(1).shuffle(shuffled)
        self.assertEqual(write_policy(suggest(shuffled), 5), first)

    def test_names(self) -> None:
        """Each rule has a unique name, regardless of the hosts."""
        lines = [audit_line("GET", f"http://{host}/") for host in ("[::1]:81", "default:82", "a_b.test:83")]
        lines += [audit_line("GET", f"http://{'x' * 60}.{name}.test:9{number}/") for number, name in enumerate("abc")]
        names = list(names_of(self.rules(*lines)))
        self.assertEqual(len(set(names)), 6)
        self.assertIn("default-2", names)
        self.assertIn("1", names)
        anything = self.rules(audit_line("get", "http://a.test/"), audit_line("POST", "http://a.test/b"))
        self.assertEqual(len(set(names_of(anything))), len(anything))


_SEGMENTS = st.one_of(
    st.sampled_from(
        ["a", "b", "items", "17", "4d7f9f00", "x.tar.gz", "", ".", "..", "%2e%2e", "a%2Fb", "a;b", "é", "*"]
    ),
    st.text(st.sampled_from("ab1.%5C;\\?~é"), max_size=6),
)
_HOSTS = st.sampled_from(
    [
        *("a.test", "b.test", "a_b.test", "xn--bcher-kva.test", "localhost", "192.0.2.1", "::1"),
        *("a.c.test", "b.c.test", "d.c.test", "x.github.io", "y.github.io", "z.github.io"),
    ]
)
_METHODS = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PATCH", "PROPFIND", "get"])


@st.composite
def _lines(draw: st.DrawFn) -> AuditLine:
    authority = Authority(draw(_HOSTS), draw(st.sampled_from([80, 443, 8443])))
    tunnel = draw(st.integers(0, 5)) == 0
    path = "/" + "/".join(draw(st.lists(_SEGMENTS, max_size=5)))
    method, is_grpc = draw(_METHODS), not tunnel and draw(st.booleans())
    if is_grpc and draw(st.booleans()):
        method, path = "POST", f"/{draw(st.sampled_from(['a.B', 'a.C', 'd.E']))}/{draw(st.sampled_from('XYZ'))}"
    return AuditLine(
        "",
        Stage.TUNNEL if tunnel else Stage.REQUEST,
        "CONNECT" if tunnel else method,
        Origin("https" if tunnel else draw(st.sampled_from(["http", "https"])), authority),
        "" if tunnel else path,
        "allow",
        "forwarded",
        None,
        "",
        None,
        None,
        "",
        0,
        is_grpc,
    )


class CoverageTests(SynchronousTestCase):
    """Suggestions for arbitrary traffic."""

    def policy(self, lines: list[AuditLine], most: int) -> RuleSet:
        policy = parse_policy(write_policy(suggest(lines), most), "suggested.toml", "suggested")
        self.assertLessEqual(len(policy.rules), most)
        return policy

    @settings(max_examples=100, deadline=None)
    @given(st.lists(_lines(), min_size=1, max_size=40), st.integers(2, 14))
    def test_covered(self, lines: list[AuditLine], most: int) -> None:
        """Every recorded request is allowed, and no request to a host without records."""
        policy = self.policy(lines, most)
        for line in lines:
            recorded = Recorded.of(line)
            self.assertTrue(policy.decide(recorded.question()).allowed, line)
        for line in lines:
            replayed_request = Recorded.of(line).question()
            for host in ("never.seen.example", "c.test", "w.github.io", "com"):
                other = Recorded(
                    replayed_request.stage,
                    replayed_request.method,
                    Origin(replayed_request.origin.scheme, Authority(host, replayed_request.origin.authority.port)),
                    replayed_request.path,
                    None,
                    "",
                    False,
                    "",
                    None,
                )
                self.assertFalse(policy.decide(other.question()).allowed, (line, host))
