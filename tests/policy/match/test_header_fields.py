"""Tests for L{egress.policy.match.header_fields}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.header_fields import field_matches, has_field, read_fields
from egress.policy.match.patterns import compile_pattern
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

NO, MAYBE, YES = Match.NO, Match.MAYBE, Match.YES


class FieldTests(SynchronousTestCase):
    """Header fields in the ways in which servers interpret them."""

    # The fields; the pattern for "x-role"; the match result, and the presence of the field.
    CASES: list[tuple[list[tuple[bytes, bytes]], str, Match, Match]] = [
        ([], "admin", NO, NO),
        ([(b"X-Role", b"admin")], "admin", YES, YES),
        ([(b"x-role", b"user")], "admin", NO, YES),
        ([(b"x-roles", b"admin")], "admin", NO, NO),
        # Gateways that map fields to variables.
        ([(b"X_Role", b"admin")], "admin", MAYBE, MAYBE),
        ([(b"X_Role", b"user")], "admin", NO, MAYBE),
        ([(b"X-Role", b"admin"), (b"x_role", b"admin")], "admin", MAYBE, YES),
        # Repeated fields, and lists.
        ([(b"X-Role", b"user"), (b"X-Role", b"admin")], "admin", MAYBE, YES),
        ([(b"X-Role", b"user, admin")], "admin", MAYBE, YES),
        ([(b"X-Role", b"admin ,admin")], "admin", MAYBE, YES),
        ([(b"X-Role", b"admin,admin")], "a*n", YES, YES),
        ([(b"X-Role", b"a1,b2")], "a*", MAYBE, YES),
        ([(b"X-Role", b"a"), (b"X-Role", b"b")], "a, b", MAYBE, YES),
        ([(b"X-Role", b"a"), (b"X-Role", b"b")], "*", YES, YES),
        # The maximum number of members.
        ([(b"X-Role", b"a," * 500 + b"b")], "c", NO, YES),
        # Non-ASCII bytes.
        ([(b"X-Role", "ü".encode())], "ü", MAYBE, YES),
        ([(b"X-Role", b"\xfc")], "ü", MAYBE, YES),
        ([(b"X-Role", b"\xfc")], "*", YES, YES),
    ]

    def test_cases(self) -> None:
        for headers, pattern, matches, there in self.CASES:
            with self.subTest(headers, pattern=pattern):
                fields = read_fields(tuple(headers))
                compiled = (compile_pattern(pattern, broad=False),)
                self.assertIs(field_matches(fields, "x-role", compiled, WorkBudget()), matches)
                self.assertIs(has_field(fields, "x-role"), there)

    def test_work_budget(self) -> None:
        """The reason names the field as in the policy, and quotes no data of the request."""
        for headers, word in (
            ([(b"X-Role", b"a," * 501 + b"b")], "more than 500 members"),
            ([(b"X_ROLE", b"a," * 251 + b"b")] * 2, "more than 500 members"),
            ([(b"X-Role", b"secret" * 100_000)], "long values"),
        ):
            fields = read_fields(tuple(headers))
            patterns = (compile_pattern("*x*", broad=True),) * 2
            error = self.assertRaises(TooMuchWork, field_matches, fields, "x-role", patterns, WorkBudget())
            self.assertIn(word, error.cause)
            self.assertIn("x-role", error.cause)
            self.assertNotIn("secret", error.cause)
