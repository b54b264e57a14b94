"""Tests for L{egress.policy.content}."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.content import NOTHING, UNREADABLE, Wanted, compile_expression, json_matches, read_json
from egress.policy.holds import Holds

NO, MAYBE, YES = Holds.NO, Holds.MAYBE, Holds.YES


class JsonTests(SynchronousTestCase):
    """Content as JSON."""

    BAD = (
        b"",
        b"x",
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":1,"A":2}',
        b'[{"a":{"b":1,"b":1}}]',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":1}{"a":2}',
        b'{"a":1} x',
        b"[" * 100_000,
        b"9" * 1_000_000,
        b"[" + b"1," * 100_000 + b"1]",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":"\n"}',
    )

    def test_unreadable(self) -> None:
        begin = time.process_time()
        for body in self.BAD:
            with self.subTest(body[:30]):
                self.assertIs(read_json(body), UNREADABLE)
        self.assertLess(time.process_time() - begin, 10)

    def test_readable(self) -> None:
        for body, expected in (
            (b' {"a": [1, 1.5, true, null]}\n', {"a": [1, 1.5, True, None]}),
            (b'"\\ud83d\\ude00"', "\U0001f600"),
            (b"7", 7),
        ):
            self.assertEqual(read_json(body), expected)

    # A document, an expression, what is wanted, and whether it matches: for a permission, and for a denial.
    CASES: list[tuple[Any, str, list[Any], Holds, Holds]] = [
        ({"a": "x"}, "a", ["x"], YES, YES),
        ({"a": "X"}, "a", ["x"], NO, YES),
        ({"a": "xyz"}, "a", ["x*"], YES, YES),
        ({"a": {"b": 7}}, "a.b", [7], YES, YES),
        ({"a": {"b": 7.0}}, "a.b", [7], YES, YES),
        ({"a": "7"}, "a", [7], NO, YES),
        ({"a": 7}, "a", ["7"], NO, YES),
        ({"a": True}, "a", [True], YES, YES),
        ({"a": True}, "a", [1], NO, NO),
        ({"a": 1}, "a", [True], NO, YES),
        ({"a": "True"}, "a", [True], NO, YES),
        ({"a": True}, "a", ["true"], NO, YES),
        ({"a": False}, "a", [True], NO, NO),
        ({"a": None}, "a", ["*"], NO, NO),
        ({}, "a", ["*"], NO, NO),
        ([], "a", ["*"], NO, NO),
        ({"a": "y"}, "a", ["x", "y", 3], YES, YES),
        ({"a": ["x", "y"]}, "a", ["x"], MAYBE, MAYBE),
        ({"a": ["x", "x"]}, "a", ["x"], YES, YES),
        ({"a": []}, "a", ["x"], NO, NO),
        ({"a": [{"b": 1}, {"b": 2}]}, "a[].b", [1, 2], YES, YES),
        ({"a": {"b": 1}}, "a", ["*"], NO, NO),
        ({"a": 1}, "!(b)", [True], YES, YES),
        # What the expression was not made for.
        ({"a": 1}, "length(a)", [1], MAYBE, MAYBE),
        ({"a": 1}, "nosuch(a)", [1], MAYBE, MAYBE),
        (UNREADABLE, "a", ["x"], MAYBE, MAYBE),
        (NOTHING, "a", ["x"], NO, NO),
    ]

    def test_cases(self) -> None:
        for document, text, values, narrow, broad in self.CASES:
            with self.subTest(document, text=text, values=values):
                expression = compile_expression(text)
                self.assertIs(json_matches(document, expression, Wanted.of(values, broad=False)), narrow)
                self.assertIs(json_matches(document, expression, Wanted.of(values, broad=True)), broad)

    @given(st.binary(max_size=40) | st.text('{}[]":,a1\\u0', max_size=30).map(str.encode))
    def test_strangers(self, body: bytes) -> None:
        """Whatever comes, it is read or it is not."""
        found = json_matches(read_json(body), compile_expression("a"), Wanted.of(["*", 1], broad=True))
        self.assertIn(found, (NO, MAYBE, YES))
