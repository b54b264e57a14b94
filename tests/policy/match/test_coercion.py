"""Tests for L{egress.policy.match.coercion}."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.coercion import (
    EXACT,
    AmbiguousNumber,
    as_numbers,
    as_texts,
    is_inexact,
    may_be,
    number_in,
    numbers_of,
    texts_of,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("012a", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def deep(value: Any, depth: int) -> Any:
    """Wrap a value in nested lists."""
    for _ in range(depth):
        value = [value]
    return value


class CoercedTests(SynchronousTestCase):
    """The values to which loosely typed servers convert a value."""

    def test_numbers_in_texts(self) -> None:
        """As in Number() and parseFloat() of JavaScript, and (int) and (float) of PHP."""
        for text, expected in (
            ("7", 7),
            (" 7\n", 7),
            ("+7", 7),
            ("-7.5", -7.5),
            ("007", 7),
            ("7.", 7),
            (".5", 0.5),
            ("7e0", 7),
            ("70E-1", 7),
            ("0x1F", 31),
            ("0b11", 3),
            ("0o17", 15),
            ("7abc", 7),
            ("7 apples", 7),
            ("0x", 0),
            ("", None),
            ("abc", None),
            ("-", None),
            ("e5", None),
            ("\u0667", None),
        ):
            self.assertEqual(number_in(text), expected, text)
        self.assertEqual(number_in("9" * 400), float("9" * 300))
        self.assertEqual(number_in("1e999"), float("inf"))

    def test_texts(self) -> None:
        for value, expected in (
            ("A", {"a"}),
            (" a\0b ", {" a\0b ", "a"}),
            (True, {"true", "1"}),
            (False, {"false", "0", ""}),
            (7, {"7", "7.0"}),
            (1.5, {"1.5"}),
            (AmbiguousNumber.of("1e0"), {"1e0", "1.0", "1"}),
            (AmbiguousNumber.of("-0"), {"-0", "-0.0", "0"}),
            (AmbiguousNumber.of("1.50"), {"1.50", "1.5"}),
            (AmbiguousNumber.of("9007199254740993"), {"9007199254740993", "9007199254740992"}),
            ([], {"array", ""}),
            (["A"], {"array", "a"}),
            ([["A"]], {"array", "a"}),
            (["a", "b", None, 7], {"array", "a,b,,7"}),
            ([["a", "b"], "c"], {"array", "array,c"}),
            ({}, {"[object object]", "array"}),
            (None, set()),
        ):
            with self.subTest(value):
                self.assertLessEqual(expected, set(texts_of(value)))
        for number, text in (
            (AmbiguousNumber.of("1e21"), "1e+21"),
            (2**70, "1180591620717411300000"),
            (-(2**70), None),
        ):
            if text is not None:
                self.assertIn(text, set(texts_of(number)))
        self.assertEqual(set(texts_of(deep("a", 10_000))), {"array"})
        self.assertEqual(set(texts_of(deep(["a", "b"], 16))), {"array"})

    def test_numbers(self) -> None:
        for value, expected in (
            (True, [1.0]),
            (7, [7.0]),
            ("7", [7.0]),
            ("x", [0.0]),
            (["7"], [7.0]),
            ([["7"]], [7.0]),
            ([], [0.0]),
            (["7", "8"], [1.0]),
            ({}, [0.0]),
            ({"a": 1}, [1.0]),
            (None, []),
        ):
            self.assertEqual(list(numbers_of(value)), expected, value)
        self.assertEqual(list(numbers_of(deep(7, 10_000))), [1.0])

    def test_inexact(self) -> None:
        for value in (EXACT, -EXACT, AmbiguousNumber.of(str(EXACT + 1)), str(EXACT), [EXACT], [[f" {EXACT}"]], "1e300"):
            self.assertTrue(is_inexact(value), value)
        other: Any
        for other in (EXACT - 1, "7", "x", None, [EXACT, 1], {}, True):
            self.assertFalse(is_inexact(other), other)

    def test_truth(self) -> None:
        for value, true, false in (
            (True, True, False),
            (False, False, True),
            (1, True, False),
            (0, True, True),
            ("", True, True),
            ("0", True, True),
            ("False", True, True),
            ("off", True, True),
            ("yes", True, False),
            ([], True, True),
            ([0], True, True),
            ({}, True, True),
            ({"a": 1}, True, False),
            (None, False, False),
        ):
            self.assertEqual((may_be(value, True), may_be(value, False)), (true, false), value)

    def test_documents(self) -> None:
        document = {"a": [["x"]], "b": "7", "c": {"0": 1, "1": "y"}, "d": [1, "z"], "e": [{"f": True}, None], "g": None}
        self.assertEqual(
            as_texts(document),
            {"a": "x", "b": "7", "c": ["1", "y"], "d": "1,z", "e": [{"f": "true"}, None], "g": None},
        )
        self.assertEqual(
            as_numbers(document),
            {"a": "x", "b": 7.0, "c": [1.0, "y"], "d": [1.0, "z"], "e": [{"f": 1.0}, None], "g": None},
        )
        self.assertEqual(as_numbers({"1": 1}), {"1": 1.0})
        self.assertEqual(as_texts([{}]), {})

    def test_odd(self) -> None:
        self.assertEqual(AmbiguousNumber.of("1e0"), 1)
        for text in ("1e999", "-1e999"):
            self.assertRaises(ValueError, AmbiguousNumber.of, text)

    @given(VALUES)
    def test_any_value(self, value: Any) -> None:
        """Every value except null has texts and numbers, and its own text or number is among them."""
        texts = set(texts_of(value))
        if isinstance(value, str):
            self.assertIn(value.lower(), texts)
        self.assertEqual(bool(texts), value is not None)
        self.assertTrue(all(text == text.lower() for text in texts if text.isascii()))
        self.assertEqual(bool(list(numbers_of(value))), value is not None)
        as_texts(value)
        as_numbers(value)
