"""Tests for L{egress.http.obligations}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.http.obligations import (
    MAX_FIELDS,
    MAX_NAME,
    MAX_VALUE,
    affected_names,
    drop_trailers,
    is_value,
    validate,
    with_obligations,
)
from egress.model.decision import Obligations
from egress.model.message import MessageObligation
from tests.authz.budgets.fleet import budget

FIELDS = [(b"Host", b"origin.test"), (b"X-Key", b"client's"), (b"X_KEY", b"too"), (b"Cookie", b"a"), (b"Accept", b"*")]


class FieldTests(SynchronousTestCase):
    """The changes that obligations make to fields."""

    def test_set_replaces_all_of_the_name(self) -> None:
        terms = Obligations(set_headers=((b"x-key", b"ours"),))
        self.assertEqual(
            with_obligations(FIELDS, terms),
            [(b"Host", b"origin.test"), (b"Cookie", b"a"), (b"Accept", b"*"), (b"x-key", b"ours")],
        )
        self.assertEqual(len(FIELDS), 5)

    def test_removed(self) -> None:
        terms = Obligations(remove_headers=(b"cookie", b"x-key", b"absent"))
        self.assertEqual(with_obligations(FIELDS, terms), [FIELDS[0], FIELDS[4]])

    def test_a_removal_does_not_affect_set_fields(self) -> None:
        terms = Obligations(set_headers=((b"Cookie", b"b"),), remove_headers=(b"cookie",))
        self.assertEqual(with_obligations(FIELDS[3:], terms), [(b"Accept", b"*"), (b"Cookie", b"b")])

    def test_trailers(self) -> None:
        secret = ((b"X-Secret", b"${secret:a}"),)
        names = affected_names(
            Obligations(set_headers=((b"X_Key", b"ours"),), remove_headers=(b"gone",), secret_headers=secret)
        )
        self.assertEqual(names, {b"x-key", b"gone", b"x-secret"})
        trailers = ((b"x-key", b"1"), (b"X_kEY", b"2"), (b"Gone", b"3"), (b"X-Sum", b"4"))
        self.assertEqual(drop_trailers(trailers, names), ((b"X-Sum", b"4"),))


class FaultTests(SynchronousTestCase):
    """Obligations that cannot be fulfilled are rejected."""

    def faulty(self, says: str, **terms: Any) -> None:
        fault = validate(Obligations(**terms))
        assert fault is not None
        self.assertIn(says, fault)
        self.assertNotIn("hidden", fault)

    def test_valid(self) -> None:
        for terms in (
            Obligations(),
            Obligations(set_headers=((b"Authorization", b"Bearer \xc3\xa4\tx"), (b"X-Empty", b""))),
            Obligations(remove_headers=(b"cookie", b"cookie", b"proxies")),
            Obligations(max_bytes=0, expires_in=1),
            Obligations(max_bytes=2**70, expires_in=1.5),
            Obligations(set_headers=((b"X-A", b"a" * MAX_VALUE), (b"X-B", b"b" * MAX_VALUE))),
        ):
            self.assertIsNone(validate(terms), terms)

    def test_protected_fields(self) -> None:
        for name in (
            *("Host", "CONNECTION", "Content-Length", "content_length", "Transfer-Encoding", "Upgrade", "TE"),
            *("Expect", "Via", "Trailer", "Keep-Alive", "Proxy-Authorization", "Proxy-Anything", "proxy_connection"),
        ):
            self.faulty("cannot be set or removed", set_headers=((name.encode(), b"hidden"),))
            self.faulty("cannot be set or removed", remove_headers=(name.encode(),))

    def test_names(self) -> None:
        for name in (b"", b"a b", b"a:", b"a\r\n", b"\xe4", b"n" * (MAX_NAME + 1), "text"):
            self.faulty("name", set_headers=((name, b"hidden"),))
            self.faulty("name", remove_headers=(name,))

    def test_values(self) -> None:
        for value in (b"hidden\r\nX: y", b"hidden\n", b"\0hidden", b"hidden\x7f"):
            self.faulty("control characters", set_headers=((b"X", value),))
            self.assertFalse(is_value(value))
        self.faulty("--secrets", secret_headers=((b"X", b"Bearer ${secret:hidden}"),))
        self.faulty("--secrets", secret_headers=((b"X", b"hidden"),))
        self.faulty("only setSecretHeaders", set_headers=((b"X", b"Bearer ${secret:hidden}"),))
        templates = Obligations(secret_headers=((b"X", b"Bearer ${secret:hidden}"),))
        self.assertIsNone(validate(templates, templates=True))
        fault = validate(Obligations(set_headers=((b"X", b"${secret:hidden"),)), templates=True)
        self.assertEqual(fault, "a value contains ${secret:...}, which only setSecretHeaders can contain")
        self.faulty("exceed", set_headers=((b"X", b"a" * (MAX_VALUE + 1)),))
        three = tuple((name, b"a" * MAX_VALUE) for name in (b"X", b"Y", b"Z"))
        self.faulty("in total", set_headers=three)

    def test_numbers(self) -> None:
        self.faulty("twice", set_headers=((b"X-A", b"1"), (b"x_a", b"2")))
        self.faulty("twice", set_headers=((b"X-A", b"1"),), secret_headers=((b"x_a", b"2"),))
        self.faulty("more than", remove_headers=tuple(b"x%d" % number for number in range(MAX_FIELDS + 1)))

    def test_types(self) -> None:
        for wrong in ([(b"X", b"y")], None, {"X": "y"}):
            self.faulty("not a tuple", set_headers=wrong)
        self.faulty("not a tuple", remove_headers=[b"x"])
        self.faulty("not a tuple", secret_headers={"X": "y"})
        for pair in ((b"X",), (b"X", "hidden"), [b"X", b"y"], b"Xy"):
            self.faulty("not a pair of name and value", set_headers=(pair,))
        self.assertEqual(validate({"max_bytes": 1}), "not an Obligations object")

    def test_limits(self) -> None:
        for number in (-1, 1.5, True, "1"):
            self.faulty("max_bytes is not a non-negative integer", max_bytes=number)
        for seconds in (float("inf"), float("nan"), True, "1"):
            self.faulty("expires_in is not a number", expires_in=seconds)
        for seconds in (0, -1, 0.5):
            self.faulty("expires_in is less than 1 s", expires_in=seconds)

    def test_messages(self) -> None:
        self.assertIsNone(validate(Obligations(messages=MessageObligation())))
        self.faulty("size of messages", messages=MessageObligation(max_size=0))

    def test_budgets(self) -> None:
        self.assertIsNone(validate(Obligations(budgets=(budget(),))))
        for wrong in (None, [budget()], ("a budget",)):
            self.faulty("not a tuple of Budget objects", budgets=wrong)
