"""Tests for L{egress.policy.match.patterns}."""

from __future__ import annotations

import re
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.patterns import compile_pattern, compile_regex

_TEXT = st.text("ab*", max_size=8)


class PatternTests(SynchronousTestCase):
    """Patterns for values."""

    # pattern: (values that match, values that do not match)
    CASES: dict[str, tuple[list[str], list[str]]] = {
        "abc": (["abc"], ["abcd", "xabc", "ABC", ""]),
        "*": (["", "x", "a\nb"], []),
        "": ([""], ["x"]),
        "a*": (["a", "ab", "a\n"], ["ba", "", "Ab"]),
        "*a": (["a", "ba"], ["ab", ""]),
        "a*a": (["aa", "aba"], ["a", "ab"]),
        "a*b*c": (["abc", "axbyc", "abcbc"], ["acb", "ab", "abcx"]),
        "a.c": (["a.c"], ["abc"]),
        "re:a.c": (["abc", "a\nc"], ["a.cd", "ABC", "xabc"]),
        "re:a|bc": (["a", "bc"], ["ac", "abc"]),
        "re:": ([""], ["x"]),
    }

    def test_cases(self) -> None:
        for pattern, (matching, others) in self.CASES.items():
            matches = compile_pattern(pattern, broad=False)
            for value in matching + others:
                with self.subTest(pattern, value=value):
                    self.assertIs(matches(value), value in matching)

    def test_broad(self) -> None:
        """A denial ignores case."""
        for pattern in ("aB*d", "re:aB.+d"):
            self.assertTrue(compile_pattern(pattern, broad=True)("AbCD"), pattern)
            self.assertFalse(compile_pattern(pattern, broad=False)("AbCD"), pattern)

    def test_rejected(self) -> None:
        for text in ("(", "[", "a{2,1}", r"\q", "(?=a)", r"(a)\1", "\udc80", "((a{100}){100}){100}"):
            with self.subTest(text):
                error = self.assertRaises(ValueError, compile_regex, text)
                self.assertIn("is not a regular expression of RE2", str(error))
                self.assertNotIn("\n", str(error))

    @given(_TEXT, st.text("ab", max_size=8))
    def test_as_a_regular_expression(self, pattern: str, value: str) -> None:
        expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL) is not None
        self.assertIs(compile_pattern(pattern, broad=False)(value), expected)

    def test_linear(self) -> None:
        """Patterns that would take exponential time with backtracking."""
        begin = time.process_time()
        for pattern in ("re:(a*)*b", "re:(a|a)*b", "*a" * 500 + "b", "re:(.*a){20}b"):
            self.assertFalse(compile_pattern(pattern, broad=False)("a" * 20_000))
        self.assertLess(time.process_time() - begin, 20)

    def test_equal(self) -> None:
        self.assertEqual(compile_regex("a"), compile_regex("a"))
        self.assertNotEqual(compile_regex("a"), compile_regex("b"))
