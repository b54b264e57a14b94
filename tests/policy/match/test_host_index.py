"""Tests for L{egress.policy.match.host_index}."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.decision import Decision, Verdict
from egress.policy.match.host_index import HostIndex
from egress.policy.match.hosts import compile_host
from egress.policy.rules import RuleSet
from tests.policy.policies import parse, request

_PATTERNS = (
    *("a.test", "b.a.test", "*.a.test", "*.test", "a.test:80", "*", "single-label", "db", "private"),
    *("10.0.0.1", "10.0.0.0/8", "10.0.0.0/24", "0.0.0.0/0", "::1", "2000::/3", "64:ff9b::/96", "re:.*a.*", "re:10.*"),
)
_HOSTS = (
    *("a.test", "b.a.test", "c.b.a.test", "c.test", "test", "db", "10.0.0.1", "10.1.0.1", "8.8.8.8"),
    *("[::1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "[2001:db8::1]", "xa.test"),
)
_LISTS = st.lists(st.sampled_from(_PATTERNS), max_size=3)


class IndexTests(SynchronousTestCase):
    """The index finds the same rules as a scan of all rules."""

    @given(st.lists(_LISTS, max_size=12), st.sampled_from(_HOSTS))
    def test_finds_all_matches(self, lists: list[list[str]], host: str) -> None:
        """Every matching rule is found once, in order."""
        hosts = [tuple(map(compile_host, patterns)) for patterns in lists]
        # Some host lists are the same object, as in a group.
        hosts += hosts[:3]
        authority = Authority.parse(host, 80)
        index = HostIndex(hosts)
        found = list(index.candidates(authority, index.wildcard))
        self.assertEqual(found, sorted(set(found)))
        matching = [
            position for position, tests in enumerate(hosts) if not tests or any(test(authority) for test in tests)
        ]
        self.assertLessEqual(set(matching), set(found))

    def test_finds_few_others(self) -> None:
        """Of many rules, only those for the host are found."""
        hosts = [(compile_host(f"h{number}.test"),) for number in range(1000)]
        hosts += [(compile_host(f"10.0.{number}.0/24"),) for number in range(200)]
        index = HostIndex(hosts)
        self.assertEqual(list(index.candidates(Authority("h7.test", 80), index.wildcard)), [7])
        self.assertEqual(list(index.candidates(Authority("10.0.7.1", 80), index.wildcard)), [1007])
        self.assertEqual(list(index.candidates(Authority("other.test", 80), index.wildcard)), [])


@st.composite
def _rules(draw: Any) -> str:
    action = draw(st.sampled_from(["allow", "deny", "ask"]))
    lines = [f'[[rules]]\naction = "{action}"\nreason = "x"']
    hosts = draw(_LISTS)
    if hosts:
        lines.append(f"hosts = {hosts!r}")
    for line in (
        'methods = ["GET", "PUT"]',
        'paths = ["/a/**"]',
        "ports = [80, '8000-8010']",
        'schemes = ["http"]',
        "query = { a = '1*' }",
        "json = { a = 1 }",
        'clients = ["ci"]',
        'times = ["mon-fri 08:00-18:00"]',
    ):
        if draw(st.integers(0, 5)) == 0:
            lines.append(line)
    return "\n".join(lines)


class EquivalenceTests(SynchronousTestCase):
    """A decision with the index equals the trace without it."""

    @given(
        st.lists(_rules(), max_size=10),
        st.sampled_from(_HOSTS),
        st.sampled_from(["GET", "get", "POST", "CONNECT"]),
        st.sampled_from(["", ":8001", ":443"]),
        st.sampled_from(["a?a=1", "A/x?a=1&a=2", "b", "%2561/"]),
        st.sampled_from([None, b'{"a":1}', b"?"]),
        st.sampled_from([None, 1772442000.0, 1772482000.0]),
    )
    def test_trace(
        self, rules: list[str], host: str, method: str, port: str, path: str, body: bytes | None, now: float | None
    ) -> None:
        policy = parse('version = 1\nttl = "5m"\n' + "\n".join(rules))
        authz_request = request(
            method, f"http://{host}{port}/{path}", body=body, body_withheld=body == b"?", identity="ci"
        )
        *evaluated, last = policy.trace(authz_request, now)
        for _ in range(2):
            decision = policy.decide(authz_request, now)
            self.assertEqual((decision.rule_id, decision.verdict), (last.rule_id, last.verdict))
        self.assertTrue(all(not one.matched and one.failed for one in evaluated))
        self.assertTrue(last.matched)


def _decide(policy: RuleSet, url: str) -> Decision:
    return policy.decide(request("GET", url))


class CacheTests(SynchronousTestCase):
    """The cache of rules per origin."""

    def test_more_rules_than_the_cache_limit(self) -> None:
        rules = "".join(f'[[rules]]\naction = "allow"\npaths = ["/{number}"]\n' for number in range(200))
        policy = parse(f"version = 1\n{rules}")
        for number in (0, 63, 64, 199):
            for _ in range(2):
                self.assertEqual(_decide(policy, f"http://a.test/{number}").rule_id, f"rule-{number + 1}")
        self.assertIs(_decide(policy, "http://a.test/200").verdict, Verdict.DENY)

    def test_old_policy_is_freed(self) -> None:
        """An old policy is large; it is freed without the garbage collector."""
        policy = parse('version = 1\n[[rules]]\naction = "allow"\nhosts = ["a.test"]\n[[rules]]\naction = "allow"\n')
        self.assertTrue(_decide(policy, "http://a.test/").allowed)
        host = weakref.ref(policy.rules[0].hosts[0])
        gc.disable()
        self.addCleanup(gc.enable)
        del policy
        self.assertIsNone(host())
