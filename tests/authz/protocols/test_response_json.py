"""Tests for L{egress.authz.protocols.response_json}."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.response_json import InvalidResponse, decision_from, parse_object, printable, settable
from egress.model.decision import NO_OBLIGATIONS, Decision, Obligations, Verdict
from egress.model.message import Direction, MessageObligation

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def concluded(allowed: bool | None = True, withheld: bool = False, unresolved: bool = False, **fields: Any) -> Decision:
    return decision_from(allowed, fields, "who", withheld, unresolved)


class VerdictTests(SynchronousTestCase):
    """Allow, deny, and verdicts that are not yet a decision."""

    def test_verdicts(self) -> None:
        for allowed, withheld, fields, expected in (
            (True, False, {}, Verdict.ALLOW),
            (False, False, {}, Verdict.DENY),
            (True, False, {"ask": False}, Verdict.ALLOW),
            (False, False, {"ask": False}, Verdict.DENY),
            (False, False, {"ask": True}, Verdict.ASK),
            (False, True, {"need": "body"}, Verdict.NEED_BODY),
            (None, True, {"need": "body"}, Verdict.NEED_BODY),
            (None, True, {"need": "body", "ask": False}, Verdict.NEED_BODY),
            (False, True, {"need": "addresses"}, Verdict.NEED_ADDRESSES),
            (None, False, {"need": "addresses"}, Verdict.NEED_ADDRESSES),
        ):
            with self.subTest(allowed=allowed, fields=fields):
                decision = concluded(allowed, withheld, unresolved=True, **fields)
                self.assertIs(decision.verdict, expected)
                self.assertIn("the authorization service", decision.reason)

    def test_contradictions(self) -> None:
        for allowed, withheld, fields, words in (
            (None, True, {}, "'allowed' is missing"),
            (None, True, {"maxBytes": 1}, "'allowed' is missing"),
            (None, False, {"need": "body"}, "no content was withheld"),
            (False, False, {"need": "body"}, "no content was withheld"),
            (None, True, {"need": "addresses"}, "no addresses were withheld"),
            (True, True, {"need": "body"}, "'need' contradicts"),
            (False, True, {"need": "body", "ask": True}, "'need' contradicts"),
            (True, False, {"ask": True}, "'ask' requires"),
            (None, False, {"ask": True}, "'ask' requires"),
        ):
            with self.subTest(allowed=allowed, fields=fields):
                error = self.assertRaises(InvalidResponse, concluded, allowed, withheld, **fields)
                self.assertIn(words, str(error))

    def test_need_that_is_not_possible(self) -> None:
        for allowed, fields in ((True, {}), (False, {"ask": True})):
            with self.subTest(allowed=allowed):
                error = self.assertRaises(
                    InvalidResponse, concluded, allowed, False, unresolved=True, need="addresses", **fields
                )
                self.assertIn("'need' contradicts", str(error))

    def test_enforced_denial(self) -> None:
        """The denial is enforced in observe mode, too, for every value except false."""
        for value, expected in ((True, True), (False, False), (None, True), ("false", True), (0, True)):
            for more in ({}, {"ttl": 5}):
                with self.subTest(value, more=more):
                    self.assertIs(concluded(False, firm=value, **more).enforce_in_observe, expected)  # type: ignore[arg-type]
                    self.assertFalse(concluded(True, firm=value, **more).enforce_in_observe)  # type: ignore[arg-type]
        self.assertFalse(concluded(False).enforce_in_observe)
        self.assertFalse(concluded(False, firm=True, ask=True).enforce_in_observe)


class TermsTests(SynchronousTestCase):
    """Members that restrict or change the request must be valid."""

    def test_all(self) -> None:
        decision = concluded(
            setHeaders={"X-Key": "Bearer KEY", "x-empty": "", "X-Text": " gr\u00fcn "},
            removeHeaders=["Cookie", "x-a"],
            maxBytes=1000.0,
            expiresIn=60,
            setSecretHeaders={"X-Token": "Bearer ${secret:KEY}"},
        )
        self.assertEqual(
            decision.obligations,
            Obligations(
                ((b"X-Key", b"Bearer KEY"), (b"x-empty", b""), (b"X-Text", "gr\u00fcn".encode())),
                (b"cookie", b"x-a"),
                1000,
                60.0,
                ((b"X-Token", b"Bearer ${secret:KEY}"),),
            ),
        )
        self.assertIsInstance(decision.obligations.max_bytes, int)

    def test_absent(self) -> None:
        self.assertIs(concluded().obligations, NO_OBLIGATIONS)

    def test_obligations_of_an_ask(self) -> None:
        self.assertEqual(concluded(False, ask=True, maxBytes=0).obligations.max_bytes, 0)

    def test_longest_time(self) -> None:
        self.assertEqual(concluded(expiresIn=1e12).obligations.expires_in, 86400 * 365)

    def test_invalid(self) -> None:
        fields: tuple[Any, ...] = (
            *(None, [], "x", {"x": 1}, {"x": None}, {"x": ["a"]}, {"x": "a\r\nb"}, {"x": "\0"}, {"x": "\x7f"}),
            *({"": "a"}, {"a b": "c"}, {"x:": "a"}, {"\u00e4": "a"}, {"x": "\udcff"}, {"X-A": "a", "x-a": "a"}),
            *({"Host": "a"}, {"content-length": "1"}, {"Connection": "close"}, {"Via": "x"}),
            *({"Transfer-Encoding": "chunked"}, {"proxy-authorization": "a"}, {"expect": "100-continue"}),
        )
        for name, values in (
            ("need", (None, True, "all", ["body"], {})),
            ("ask", (None, 0, 1, "true", [])),
            ("setHeaders", fields),
            ("setSecretHeaders", fields),
            ("removeHeaders", (None, "x", {}, [1], [None], ["a b"], [""], ["Host"], ["content-length"])),
            ("maxBytes", (None, "1", True, -1, 1.5, float("inf"), 10**400, [])),
            ("expiresIn", (None, "1", False, 0, 0.5, -1, float("inf"), 10**400, {})),
        ):
            for value in values:
                for allowed in (True, False):
                    with self.subTest(name, value=value, allowed=allowed):
                        error = self.assertRaises(InvalidResponse, concluded, allowed, True, **{name: value})
                        self.assertRegex(str(error), rf"'{name}'|field|control characters|expires_in is less")

    def test_messages(self) -> None:
        for value, expected in (
            (True, MessageObligation()),
            (False, None),
            ({}, MessageObligation()),
            ({"maxSize": 5}, MessageObligation(max_size=5)),
            ({"directions": ["client"]}, MessageObligation(frozenset({Direction.CLIENT}))),
            ({"directions": ["origin", "client"], "maxSize": 1.0}, MessageObligation(max_size=1)),
        ):
            with self.subTest(value):
                self.assertEqual(concluded(messages=value).obligations.messages, expected)
        faults: list[Any] = [
            *(None, 1, "true", [], {"size": 1}, {"maxSize": 0}, {"maxSize": 1.5}, {"maxSize": True}),
            {"directions": []},
            {"directions": "client"},
            {"directions": ["server"]},
            {"directions": [1]},
            {"directions": None},
        ]
        for invalid in faults:
            with self.subTest(invalid):
                error = self.assertRaises(InvalidResponse, concluded, messages=invalid)
                self.assertIn("'messages'", str(error))

    def test_message_contains_no_value(self) -> None:
        error = self.assertRaises(InvalidResponse, concluded, setHeaders={"x": "hunter2\n"})
        self.assertNotIn("hunter2", str(error))
        self.assertNotIn("hunter2", repr(concluded(setHeaders={"x": "hunter2"})))

    def test_templates(self) -> None:
        """Text of a client in C{setHeaders} is no template, and a field is set in one way only."""
        error = self.assertRaises(InvalidResponse, concluded, setHeaders={"x": "curl ${secret:KEY}"})
        self.assertIn("only setSecretHeaders", str(error))
        both = {"setHeaders": {"X-A": "a"}, "setSecretHeaders": {"x_a": "${secret:KEY}"}}
        self.assertIn("twice", str(self.assertRaises(InvalidResponse, concluded, **both)))

    def test_settable(self) -> None:
        for name, expected in (("X-A", True), ("authorization", True), ("HOST", False), ("a b", False), ("", False)):
            with self.subTest(name):
                self.assertIs(settable(name), expected)


class DescriptionTests(SynchronousTestCase):
    """Members that describe the decision, or permit caching, are ignored if they are invalid."""

    def test_all(self) -> None:
        decision = concluded(
            False,
            reason="why\n",
            ruleId="r1",
            policyVersion=" 7\n",
            ttl=5,
            staleIfError=60.5,
            cacheKey=["method", "header:X-A"],
        )
        self.assertEqual(
            decision,
            Decision(Verdict.DENY, "why", "who", "r1", 5.0, 60.5, ("method", "header:X-A"), policy_version="7"),
        )

    def test_long_version(self) -> None:
        self.assertEqual(concluded(policyVersion="x" * 600).policy_version, "x" * 100)

    def test_ignored(self) -> None:
        for name, value in (
            *(("ttl", None), ("ttl", "5"), ("ttl", True), ("ttl", -1), ("ttl", 1e12), ("ttl", 10**400), ("ttl", [])),
            *(("staleIfError", None), ("staleIfError", -1), ("staleIfError", float("inf"))),
            *(("reason", 1), ("reason", None), ("reason", ""), ("ruleId", {}), ("ruleId", " ")),
            *(("policyVersion", None), ("policyVersion", 7), ("policyVersion", " "), ("policyVersion", [])),
        ):
            with self.subTest(name, value=value):
                given: dict[str, Any] = {name: value}
                self.assertEqual(concluded(**given), concluded())

    def test_invalid_key_prevents_caching(self) -> None:
        key: Any
        for key in (None, "method", {}, [1], ["method", None]):
            with self.subTest(key):
                decision = concluded(ttl=5, staleIfError=5, cacheKey=key)
                self.assertEqual((decision.ttl, decision.stale_if_error, decision.cache_key), (None, None, None))

    def test_key_without_parts(self) -> None:
        """The decision applies to the whole origin."""
        self.assertEqual(concluded(ttl=5, cacheKey=[]).cache_key, ())

    def test_printable(self) -> None:
        self.assertEqual(printable("a\r\n\u202eb" + "x" * 600), "a b" + "x" * 497)
        self.assertIsNone(printable("\n"))
        self.assertIsNone(printable(5))

    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    *("reason", "ruleId", "policyVersion", "ttl", "staleIfError", "cacheKey", "need", "ask"),
                    *("setHeaders", "setSecretHeaders", "removeHeaders", "maxBytes", "expiresIn", "other"),
                ]
            ),
            JSON,
        ),
        st.sampled_from([True, False, None]),
        st.booleans(),
    )
    def test_any_members(self, fields: dict[str, Any], allowed: bool | None, withheld: bool) -> None:
        """Only C{allowed: true} allows, and every error is an InvalidResponse."""
        try:
            decision = decision_from(allowed, fields, "who", withheld)
        except InvalidResponse:
            return
        self.assertEqual(decision.allowed, allowed is True)
        self.assertFalse(decision.allowed and "need" in fields)


class ObjectTests(SynchronousTestCase):
    """A strict JSON parser."""

    def test_rejected(self) -> None:
        for content, words in (
            (b"", "is not JSON"),
            (b"[]", "is not a JSON object"),
            (b'{"a": 1, "a": 1}', "a key is repeated"),
            (b'{"a": {"b": 1, "b": 2}}', "a key is repeated"),
            (b'{"a": NaN}', "NaN is not a JSON number"),
            (b'{"a": Infinity}', "Infinity is not a JSON number"),
            (b"\xff", "is not JSON"),
            (b"[" * 100_000, "is not JSON"),
        ):
            with self.subTest(content[:20]):
                self.assertIn(words, str(self.assertRaises(InvalidResponse, parse_object, content)))

    def test_object(self) -> None:
        self.assertEqual(parse_object(json.dumps({"a": [1, {"b": None}]}).encode()), {"a": [1, {"b": None}]})
