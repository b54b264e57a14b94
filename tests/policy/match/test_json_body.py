"""Tests for L{egress.policy.match.json_body}."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.coercion import AmbiguousNumber
from egress.policy.match.json_body import NOTHING, UNREADABLE, Document, Wanted, compile_expression, json_matches
from egress.policy.match.json_body import read_json as read_json_with
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

NO, MAYBE, YES = Match.NO, Match.MAYBE, Match.YES


def read_json(body: bytes) -> Any:
    return read_json_with(body, WorkBudget())


class JsonTests(SynchronousTestCase):
    """JSON content."""

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
        b"[" * 2_000,
        b"9" * 1_000,
        b"{'a':1}",
        b'{"__proto__":{"a":1}}',
        b'{"b":[{"constructor":{"prototype":{"a":1}}}]}',
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
            (
                b'{"constructor":"x","constructors":{"prototype":1}}',
                {"constructor": "x", "constructors": {"prototype": 1}},
            ),
        ):
            self.assertEqual(self.read(body).value, expected)

    def read(self, body: bytes) -> Document:
        """Parse content that is valid."""
        found = read_json(body)
        assert isinstance(found, Document)
        return found

    def test_numbers(self) -> None:
        """Some numbers are parsed alike by every server, others are not."""
        for text in ("0", "7", "-7", "9007199254740991", "1.5", "-0.25"):
            self.assertFalse(isinstance(self.read(text.encode()).value, AmbiguousNumber), text)
        for text in ("-0", "1.0", "1e0", "1.50", "15e-1", "-0.0", "0.1000000000000000055", "9007199254740992", "1e21"):
            self.assertTrue(isinstance(self.read(text.encode()).value, AmbiguousNumber), text)
        for text, expected in (("[1,-0,1.0]", False), ("[9007199254740993]", True), ("[1e20]", True)):
            self.assertIs(self.read(text.encode()).is_inexact, expected, text)
        for text in ("1" + "0" * 64, "1." + "0" * 64):
            self.assertIs(read_json(text.encode()), UNREADABLE)

    # A document, an expression, the wanted values, and the results for a permission and for a denial.
    CASES: list[tuple[Any, str, list[Any], Match, Match]] = [
        ({"a": "x"}, "a", ["x"], YES, YES),
        ({"a": "X"}, "a", ["x"], NO, YES),
        ({"a": "xyz"}, "a", ["x*"], YES, YES),
        ({"a": {"b": 7}}, "a.b", [7], YES, YES),
        ({"a": {"b": 7.5}}, "a.b", [7.5], YES, YES),
        ({"a": "7"}, "a", [7], NO, YES),
        ({"a": 7}, "a", ["7"], NO, YES),
        ({"a": True}, "a", [True], YES, YES),
        ({"a": True}, "a", [1], NO, YES),
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
        ({"a": ["x", "y", "z"]}, "a[1:2]", ["y"], YES, YES),
        ({"a": [{"b": 1}, {"b": 2}]}, "a[].b", [1, 2], YES, YES),
        ({"a": {"b": 1}}, "a", ["*"], NO, YES),
        ({"a": 1}, "!(b)", [True], YES, YES),
        # Type coercion: JavaScript converts lists to texts, PHP converts texts to numbers.
        ({"a": [["prod-1"]]}, "a", ["prod-1"], NO, YES),
        ({"a": [[["Prod-1"]]]}, "a", ["prod*"], NO, YES),
        ({"a": ["x", "y"]}, "a", ["x,y"], NO, MAYBE),
        ({"a": [["x", "y"]]}, "a", ["x,y"], NO, YES),
        ({"a": " prod "}, "a", ["prod"], NO, YES),
        ({"a": "prod\0x"}, "a", ["prod"], NO, YES),
        ({"a": "7.0"}, "a", [7], NO, YES),
        ({"a": "0x7"}, "a", [7], NO, YES),
        ({"a": "7 apples"}, "a", [7], NO, YES),
        ({"a": "07"}, "a", ["7"], NO, YES),
        ({"a": "8"}, "a", ["7", 9], NO, NO),
        ({"a": "x"}, "a", [0], NO, YES),
        ({"a": "yes"}, "a", [True], NO, YES),
        ({"a": 0}, "a", [False], NO, YES),
        ({"a": []}, "a", [False], NO, MAYBE),
        ({"a": {}}, "a", [1], NO, NO),
        ({"a": "9007199254740993"}, "a", [9007199254740992], NO, YES),
        ({"size": "1000"}, "size > `100`", [True], MAYBE, MAYBE),
        ({"size": [1000]}, "size > `100`", [True], NO, MAYBE),
        ({"size": ["10"]}, "size > `100`", [True], NO, NO),
        ({"size": 10}, "size > `100`", [True], NO, NO),
        ({"size": [1000], "x": ["y"]}, "size > `100` && x == 'z'", [True], NO, NO),
        ({"a": [["Prod"]]}, "A == 'prod'", [True], NO, MAYBE),
        ({"a": {"0": "x"}}, "a[0]", ["x"], NO, NO),
        ({"a": {"0": "x"}}, "a[0] == 'x'", [True], NO, MAYBE),
        # Values of a type that the expression does not expect.
        ({"a": 1}, "length(a)", [1], MAYBE, MAYBE),
        ({"a": 1}, "nosuch(a)", [1], MAYBE, MAYBE),
        (UNREADABLE, "a", ["x"], MAYBE, MAYBE),
        (NOTHING, "a", ["x"], NO, NO),
    ]

    def test_cases(self) -> None:
        for document, text, values, narrow, broad in self.CASES:
            with self.subTest(document, text=text, values=values):
                expression = compile_expression(text)
                given = document if document in (UNREADABLE, NOTHING) else Document(document, WorkBudget())
                self.assertIs(json_matches(given, expression, Wanted.of(values, broad=False)), narrow)
                self.assertIs(json_matches(given, expression, Wanted.of(values, broad=True)), broad)

    # JSON, an expression, the wanted values, and the results for a permission and for a denial.
    WRITTEN = (
        (b'{"a":1}', "a", [1], YES, YES),
        (b'{"a":1e0}', "a", [1], NO, YES),
        (b'{"a":1.0}', "a", [1], NO, YES),
        (b'{"a":-0}', "a", [0], NO, YES),
        (b'{"a":1.0}', "a", ["1"], NO, YES),
        (b'{"a":9007199254740993}', "a", [9007199254740993], NO, YES),
        # Servers can round or truncate the number to any other.
        (b'{"a":18446744073709551623}', "a", [7], NO, YES),
        (b'{"a":1e300}', "a", [7], NO, YES),
        (b'{"a":1e300}', "a", ["x"], NO, NO),
        (b'{"a":9007199254740992}', "a < `9007199254740993`", [True], MAYBE, YES),
        (b'{"a":1.50}', "a < `2`", [True], YES, YES),
        (b'{"a":1e0}', "a == `1`", [True], YES, YES),
        # Libraries that treat a name with dots as a path.
        (b'{"a":{"b":"x"},"a.b":"y"}', "a.b", ["x"], MAYBE, MAYBE),
        (b'{"A.B":"y"}', "a.b", ["x"], MAYBE, MAYBE),
        (b'{"a":{"b":"x"},"app.kubernetes.io/name":"y"}', "a.b", ["x"], YES, YES),
        (b'{"a":{"b[0]":"x"}}', "a.b[0]", ["x"], MAYBE, MAYBE),
    )

    def test_as_written(self) -> None:
        for body, text, values, narrow, broad in self.WRITTEN:
            with self.subTest(body, text=text, values=values):
                expression, document = compile_expression(text), read_json(body)
                self.assertIs(json_matches(document, expression, Wanted.of(values, broad=False)), narrow)
                self.assertIs(json_matches(document, expression, Wanted.of(values, broad=True)), broad)

    def test_work_budget(self) -> None:
        """Content that takes long to parse or search is not evaluated; the reason quotes no data of it."""
        for body, word in (
            (b'"' + b"x" * 2_000_000 + b'"', "2,000,002 bytes"),
            (b"[" + b"1," * 20_000 + b"1]", "20,001 values"),
            (b"[" + b"1.5," * 5_000 + b"1]", "5,001 values"),
            (b"[" + b"12345678901234567890," * 5_000 + b"1]", "5,001 values"),
            (b"{" + b",".join(b'"k%d":1' % number for number in range(3000)) + b"}", "6,000 values"),
        ):
            with self.subTest(body[:10]):
                self.assertIn(word, self.assertRaises(TooMuchWork, read_json, body).cause)
        document = read_json(b'{"a":[' + b'{"b":"x"},' * 300 + b'{"b":"y"}]}')
        self.assertIs(json_matches(document, compile_expression("a[].b"), Wanted.of(["z"], broad=True)), NO)
        again = self.assertRaises(
            TooMuchWork,
            lambda: [
                json_matches(document, compile_expression("a[].b"), Wanted.of(["z"], broad=True)) for _ in range(20)
            ],
        )
        self.assertIn("905 values", again.cause)
        # An expression that only selects by location is cheap.
        for _ in range(1000):
            json_matches(read_json(b'{"a":{"b":1}}'), compile_expression("a.b"), Wanted.of(["z"], broad=True))

    def test_too_deep(self) -> None:
        """The nesting depth does not matter: newer Python versions parse deeper than their recursion limit."""
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        for broad, expected in ((False, NO), (True, MAYBE)):
            found = json_matches(
                Document({"b": deep}, WorkBudget()), compile_expression("a"), Wanted.of(["x"], broad=broad)
            )
            self.assertIs(found, expected)

    @given(st.binary(max_size=40) | st.text('{}[]":,a1\\u0', max_size=30).map(str.encode))
    def test_arbitrary_content(self, body: bytes) -> None:
        """Arbitrary content causes no error; a denial matches whenever a permission does."""
        document = read_json(body)
        for text in ("a", "a[0]", "a == `1`"):
            expression = compile_expression(text)
            denied, allowed = (
                json_matches(document, expression, Wanted.of(["a*", 1, True], broad=broad)) for broad in (True, False)
            )
            self.assertIn(denied, (NO, MAYBE, YES))
            if allowed is YES:
                self.assertIsNot(denied, NO)
