"""Tests for L{egress.policy.terms}."""

from __future__ import annotations

from egress.model.decision import NO_TERMS, Terms
from tests.policy.policies import PolicyTestCase, parse, request


class TermsTests(PolicyTestCase):
    """What else a rule says of requests that it allows."""

    # What is in the second rule of a document, and the whole error after the name of the file.
    RULES = {
        "action = 'deny'\nreason = 'x'\nmax_bytes = 1": (
            "7: rule 2: 'max_bytes' says how a request is let through; leave it out of a denial"
        ),
        "action = 'allow'\nset_headers = {host = 'x'}": (
            "6: rule 2: set_headers 'host': this field is the proxy's own; no rule can set or remove it"
        ),
        "action = 'allow'\nset_headers = {Transfer_Encoding = 'x'}": (
            "6: rule 2: set_headers 'Transfer_Encoding': this field is the proxy's own; no rule can set or remove it"
        ),
        "action = 'allow'\nset_headers = {'a b' = 'x'}": ("6: rule 2: set_headers 'a b': is no name of a header field"),
        "action = 'allow'\nset_headers = {a = 1}": (
            "6: rule 2: set_headers 'a': the value must be a string of printable ASCII, on one line"
        ),
        "action = 'allow'\nset_headers = {a = \"x\\ny\"}": (
            "6: rule 2: set_headers 'a': the value must be a string of printable ASCII, on one line"
        ),
        "action = 'allow'\nset_headers = {a = '${secret:a b}'}": (
            "6: rule 2: set_headers 'a': no secret has such a name; write ${secret:NAME}"
        ),
        "action = 'allow'\nset_headers = {a = '${secret:a'}": (
            "6: rule 2: set_headers 'a': a secret is written ${secret:NAME}, with its brace"
        ),
        "action = 'allow'\nset_headers = {a = '$${secret:a}'}": (
            "6: rule 2: ${secret:a} stands in values of 'set_headers' alone"
        ),
        "action = 'allow'\nremove_headers = ['TE']": (
            "6: rule 2: remove_headers 'TE': this field is the proxy's own; no rule can set or remove it"
        ),
        "action = 'allow'\nmax_bytes = 'x'": (
            '6: rule 2: \'max_bytes\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nexpires_in = '10ms'": "6: rule 2: 'expires_in': write a second or more",
        "action = 'allow'\nexpires_in = 'x'": (
            "6: rule 2: 'expires_in': a duration is a number of seconds, or a number and a unit as in \"90s\", "
            '"15m" or "8h"'
        ),
    }

    def test_refused(self) -> None:
        self.refuses_rules(self.RULES)

    def test_too_many(self) -> None:
        fields = ", ".join(f"x{number} = ''" for number in range(65))
        self.refuses_rules(
            {f"action = 'allow'\nset_headers = {{ {fields} }}": "6: rule 2: 'set_headers' has more than 64 fields"}
        )

    def test_terms(self) -> None:
        policy = parse(
            """version = 1
[[rules]]
action = "ask"
hosts = ["a.test"]
remove_headers = ["Cookie", "x_y"]
max_bytes = "1MiB"
expires_in = "8h"
[rules.set_headers]
Authorization = "Bearer ${secret:a} ${secret:b.c}"
X-Empty = ""
[[rules]]
action = "allow"
"""
        )
        self.assertEqual(
            policy.decide(request("GET", "http://a.test/")).terms,
            Terms(
                ((b"Authorization", b"Bearer ${secret:a} ${secret:b.c}"), (b"X-Empty", b"")),
                (b"cookie", b"x_y"),
                1 << 20,
                8 * 3600.0,
            ),
        )
        self.assertEqual(policy.secrets, {"a", "b.c"})
        self.assertIs(policy.decide(request("GET", "http://b.test/")).terms, NO_TERMS)
