"""Tests for L{egress.policy.parse.obligation_parser}."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from egress.authz.secrets.table import SecretTableError, parse_secret_table, secret_names
from egress.http.obligations import UNTOUCHABLE, validate
from egress.model.decision import NO_OBLIGATIONS, Obligations
from egress.policy.parse import obligation_parser as module
from egress.policy.parse.load import PolicyError
from tests.policy.policies import PolicyTestCase, parse, request


class ObligationsTests(PolicyTestCase):
    """The obligations of a rule."""

    # The content of the second rule of a document, and the whole error after the name of the file.
    RULES = {
        "action = 'deny'\nreason = 'x'\nmax_bytes = 1": (
            "7: rule 2: 'max_bytes' applies only to allowed requests; remove it from a rule that denies"
        ),
        "action = 'allow'\nset_headers = {host = 'x'}": (
            "6: rule 2: set_headers 'host': the proxy controls this field; a rule cannot set or remove it"
        ),
        "action = 'allow'\nset_headers = {Transfer_Encoding = 'x'}": (
            "6: rule 2: set_headers 'Transfer_Encoding': the proxy controls this field; a rule cannot set or remove it"
        ),
        "action = 'allow'\nset_headers = {'a b' = 'x'}": (
            "6: rule 2: set_headers 'a b': is not the name of a header field"
        ),
        "action = 'allow'\nset_headers = {a = 1}": (
            "6: rule 2: set_headers 'a': the value must be a string of printable ASCII, on one line"
        ),
        "action = 'allow'\nset_headers = {a = \"x\\ny\"}": (
            "6: rule 2: set_headers 'a': the value must be a string of printable ASCII, on one line"
        ),
        "action = 'allow'\nset_headers = {a = '${secret:a b}'}": (
            "6: rule 2: set_headers 'a': not the name of a secret; write ${secret:NAME}"
        ),
        "action = 'allow'\nset_headers = {a = '${secret:a'}": (
            "6: rule 2: set_headers 'a': write a secret as ${secret:NAME}, with the closing brace"
        ),
        "action = 'allow'\nset_headers = {a = '$${secret:a}'}": (
            "6: rule 2: ${secret:a} is permitted only in values of 'set_headers'"
        ),
        "action = 'allow'\nremove_headers = ['TE']": (
            "6: rule 2: remove_headers 'TE': the proxy controls this field; a rule cannot set or remove it"
        ),
        "action = 'allow'\nremove_headers = ['Proxy-Anything']": (
            "6: rule 2: remove_headers 'Proxy-Anything': the proxy controls this field; a rule cannot set or remove it"
        ),
        "action = 'allow'\nset_headers = {X-Key = 'a', x_key = 'b'}": (
            "6: rule 2: set_headers 'x_key': some servers treat it as 'X-Key', which is also set; remove one of them"
        ),
        "action = 'allow'\nmax_bytes = 'x'": (
            '6: rule 2: \'max_bytes\': a size is a number of bytes, or a number and a unit as in "64KiB" or "10MB"'
        ),
        "action = 'allow'\nexpires_in = '10ms'": "6: rule 2: 'expires_in': must be at least one second",
        "action = 'allow'\nexpires_in = 'x'": (
            "6: rule 2: 'expires_in': a duration is a number of seconds, or a number and a unit as in \"90s\", "
            '"15m" or "8h"'
        ),
    }

    def test_rejected(self) -> None:
        self.refuses_rules(self.RULES)

    def test_too_many(self) -> None:
        fields = ", ".join(f"x{number} = ''" for number in range(65))
        names = ", ".join(f"'x{number}'" for number in range(64))
        values = ", ".join(f"x{number} = '{'A' * 8000}'" for number in range(5))
        self.refuses_rules(
            {
                f"action = 'allow'\nset_headers = {{ {values} }}": (
                    "6: rule 2: 'set_headers' has values of more than 32768 bytes in total"
                ),
                f"action = 'allow'\nset_headers = {{ {fields} }}": (
                    "6: rule 2: 'set_headers' and 'remove_headers' have more than 64 fields"
                ),
                f"action = 'allow'\nset_headers = {{ a = '' }}\nremove_headers = [{names}]": (
                    "6: rule 2: 'set_headers' and 'remove_headers' have more than 64 fields"
                ),
            }
        )

    def test_untouchable_fields(self) -> None:
        """The parser rejects the same header fields that the proxy rejects in the obligations of a decision."""
        self.assertEqual({name.encode("ascii") for name in module.RESERVED}, UNTOUCHABLE)
        for name in (*module.RESERVED, "proxy-anything", "x-a", "cookie", "forwarded"):
            for spelling in (name, name.upper(), name.replace("-", "_")):
                with self.subTest(spelling):
                    try:
                        parse(f"version = 1\n[[rules]]\naction = 'allow'\nremove_headers = ['{spelling}']")
                    except PolicyError:
                        is_rejected = True
                    else:
                        is_rejected = False
                    fault = validate(Obligations(remove_headers=(spelling.encode("ascii"),)))
                    self.assertIs(is_rejected, fault is not None)

    @given(
        st.dictionaries(
            st.sampled_from(["a", "A", "x-a", "X_A", "Authorization", "Host", "TE", "Proxy-X", "b c"]),
            st.sampled_from(["", "x", "x" * 8192, "x" * 8193, " x", "a\nb", "Bearer ${secret:a.b}", "${secret:}"]),
        ),
        st.lists(st.sampled_from(["a", "X-A", "cookie", "host", "proxy_b", "\u00e4"]), min_size=1, max_size=5),
        st.sampled_from([0, 1, 2**63, -1, "1MiB"]),
        st.sampled_from([0, 0.5, 1, 60, "8h"]),
    )
    def test_parsed_obligations_are_valid(
        self, fields: dict[str, str], removed: list[str], most: int | str, expiry: float | str
    ) -> None:
        """A rule is never accepted if the proxy would reject its obligations for every request."""
        table = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in fields.items())
        try:
            policy = parse(
                f"version = 1\n[[rules]]\naction = 'allow'\nset_headers = {{{table}}}\n"
                f"remove_headers = {json.dumps(removed)}\nmax_bytes = {json.dumps(most)}\n"
                f"expires_in = {json.dumps(expiry)}"
            )
        except PolicyError:
            return
        self.assertIsNone(validate(policy.rules[0].obligations, templates=True))

    def test_secret_names(self) -> None:
        """A rule accepts exactly the names of secrets that a secret table accepts."""
        for name in ("a", "A.b_c-9", "9", "x" * 64, "x" * 65, "", ".a", "-", "_a", "a b", "a}", "\u00e4", "a\n"):
            with self.subTest(name):
                try:
                    parse_secret_table(f"[{json.dumps(name)}]\nenv = 'X'\nhosts = ['a.test']", "s.toml", Path())
                except SecretTableError:
                    is_valid = False
                else:
                    is_valid = True
                value = json.dumps(f"${{secret:{name}}}")
                try:
                    policy = parse(f"version = 1\n[[rules]]\naction = 'allow'\nset_headers = {{a = {value}}}")
                except PolicyError:
                    self.assertFalse(is_valid)
                else:
                    (field,) = policy.rules[0].obligations.secret_headers
                    self.assertEqual(policy.secrets, secret_names(field[1]))
                    self.assertIs(name in policy.secrets, is_valid)

    def test_obligations(self) -> None:
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
            policy.decide(request("GET", "http://a.test/")).obligations,
            Obligations(
                ((b"X-Empty", b""),),
                (b"cookie", b"x_y"),
                1 << 20,
                8 * 3600.0,
                ((b"Authorization", b"Bearer ${secret:a} ${secret:b.c}"),),
            ),
        )
        self.assertEqual(policy.secrets, {"a", "b.c"})
        self.assertIs(policy.decide(request("GET", "http://b.test/")).obligations, NO_OBLIGATIONS)
