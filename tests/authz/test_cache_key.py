"""Tests for L{egress.authz.cache_key}."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.cache_key import ALL, key_of, known_parts, scope_of
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Stage
from egress.model.message import Direction, Message, MessageKind
from tests.authz.protocols.requests import REQUEST, changed

A, B = ip_address("192.0.2.7"), ip_address("2001:db8::1")

# Each of these changes one part of the request.
CHANGES: dict[str, dict[str, Any]] = {
    "method": {"method": "GET"},
    "path": {"path": "/a/c?c=d"},
    "query": {"path": "/a/b?c=e"},
    "headers": {"headers": ((b"Accept", b"a/c"),)},
    "body": {"body": b"abc"},
    "client": {"client": ClientIdentity("192.0.2.2", 1234)},
    "identity": {"client": ClientIdentity("192.0.2.1", 1234, "ci")},
    "addresses": {"addresses": (A,)},
}


class PartsTests(SynchronousTestCase):
    """The names of parts."""

    def test_known(self) -> None:
        for said, expected in (
            (None, ALL),
            ((), ()),
            (("path", "method", "path"), ("method", "path")),
            (("header:X-Team", "header:x-team"), ("header:x-team",)),
            (("Method",), ("method",)),
        ):
            with self.subTest(said):
                self.assertEqual(known_parts(said), expected)

    def test_unknown(self) -> None:
        for part in ("", "time", "header", "header:", "header:a b", "cookie:x", "path ", "header:\u00e4"):
            with self.subTest(part):
                self.assertIsNone(known_parts(("method", part)))

    def test_too_long(self) -> None:
        """The lists are stored for each origin, and read for each request."""
        parts = [f"header:x-{number:03}" for number in range(300)]
        self.assertEqual(known_parts(parts), tuple(parts))
        self.assertIsNone(known_parts([*parts, "header:" + "x" * 500]))


class KeyTests(SynchronousTestCase):
    """Which requests have equal keys."""

    def test_each_part(self) -> None:
        """A part matters only if it is named."""
        for part, changes in CHANGES.items():
            for named in ALL:
                with self.subTest(part, named=named):
                    same = key_of(REQUEST, (named,)) == key_of(changed(**changes), (named,))
                    self.assertEqual(same, named != part)

    def test_messages(self) -> None:
        """The attributes of a message are part of every key, except for its number."""
        base = Message(MessageKind.SSE, Direction.ORIGIN, "add", 1, "rule-1")
        key = key_of(changed(stage=Stage.MESSAGE, message=base), ())
        self.assertNotEqual(key, key_of(REQUEST, ()))
        for changes in (
            {"kind": MessageKind.GRPC},
            {"direction": Direction.CLIENT},
            {"type": "remove"},
            {"rule_id": None},
        ):
            other = changed(stage=Stage.MESSAGE, message=attrs.evolve(base, **changes))
            self.assertNotEqual(key_of(other, ()), key, changes)
        other = changed(stage=Stage.MESSAGE, message=attrs.evolve(base, sequence=2))
        self.assertEqual(key_of(other, ()), key)
        self.assertNotEqual(key_of(other, ("sequence",)), key_of(changed(stage=Stage.MESSAGE, message=base), ALL))

    def test_withheld_addresses(self) -> None:
        """Withheld addresses differ from known and from unknown ones."""
        keys = {
            key_of(changed(**each), ("addresses",)) for each in ({}, {"addresses": (A,)}, {"addresses_withheld": True})
        }
        self.assertEqual(len(keys), 3)
        self.assertEqual(key_of(REQUEST, ("path",)), key_of(changed(addresses_withheld=True), ("path",)))

    def test_parts_of_every_key(self) -> None:
        for changes in (
            {"stage": Stage.TUNNEL},
            {"origin": Origin("http", Authority("example.com", 8443))},
            {"origin": Origin("https", Authority("example.com", 443))},
            {"origin": Origin("https", Authority("example.org", 8443))},
        ):
            with self.subTest(changes):
                self.assertNotEqual(key_of(REQUEST, ()), key_of(changed(**changes), ()))
                self.assertNotEqual(scope_of(REQUEST), scope_of(changed(**changes)))

    def test_parts_of_no_key(self) -> None:
        """Neither the request id nor the port of the client matters."""
        other = changed(request_id="id-2", client=ClientIdentity("192.0.2.1", 9999, partition=b"x"))
        self.assertEqual(key_of(REQUEST, ALL), key_of(other, ALL))

    def test_absent_and_empty_values(self) -> None:
        for one, other in (
            ({"path": "/a"}, {"path": "/a?"}),
            ({"client": ClientIdentity("192.0.2.1", 1)}, {"client": ClientIdentity("192.0.2.1", 1, "")}),
            ({"addresses": None}, {"addresses": ()}),
            ({"body": None}, {"body": b""}),
            ({"headers": ()}, {"headers": ((b"accept", b""),)}),
        ):
            with self.subTest(one):
                self.assertNotEqual(key_of(changed(**one), ALL), key_of(changed(**other), ALL))
        parts = ("header:accept",)
        self.assertNotEqual(key_of(changed(headers=()), parts), key_of(changed(headers=((b"accept", b""),)), parts))

    def test_content(self) -> None:
        """Withheld content differs from content that the authorizer received."""
        seen = [
            changed(content_length=3, body_withheld=True),
            changed(content_length=4, body_withheld=True),
            changed(content_length=None, body_withheld=True),
            changed(content_length=3, body=b"abc"),
            changed(content_length=3, body=b"abd"),
            changed(content_length=3, body=b"abc", body_truncated=True),
            changed(),
        ]
        self.assertEqual(len({key_of(request, ("body",)) for request in seen}), len(seen))
        self.assertEqual(len({key_of(request, ("path",)) for request in seen}), 1)

    def test_fields_that_define_the_content(self) -> None:
        """A decision on content depends on the fields with which servers read it."""
        given = [
            (),
            ((b"Content-Type", b"application/json"),),
            ((b"Content-Type", b"application/json; charset=utf-7"),),
            ((b"Content-Type", b"application/json"), (b"content-type", b"text/plain")),
            ((b"Content_Type", b"application/json"),),
            ((b"Content-Encoding", b"gzip"),),
        ]
        seen = [changed(headers=headers, body=b"abc") for headers in given]
        self.assertEqual(len({key_of(request, ("body",)) for request in seen}), len(seen))
        other = changed(headers=((b"X-Id", b"7"), (b"CONTENT-TYPE", b"application/json")), body=b"abc")
        self.assertEqual(key_of(other, ("body",)), key_of(seen[1], ("body",)))

    def test_one_field(self) -> None:
        parts = ("header:x-team",)
        for headers, same in (
            (((b"X-TEAM", b"a"),), True),
            (((b"Other", b"b"), (b"x-team", b"a")), True),
            (((b"x-team", b"b"),), False),
            (((b"x-team", b"a"), (b"x-team", b"a")), False),
            ((), False),
        ):
            with self.subTest(headers):
                one = key_of(changed(headers=((b"X-Team", b"a"),)), parts)
                self.assertEqual(one == key_of(changed(headers=headers), parts), same)

    def test_order_of_addresses(self) -> None:
        one, other = changed(addresses=(A, B)), changed(addresses=(B, A))
        self.assertEqual(key_of(one, ALL), key_of(other, ALL))

    def test_lists_of_parts_are_separate(self) -> None:
        self.assertNotEqual(key_of(REQUEST, ("method",)), key_of(REQUEST, ("method", "identity")))

    def test_key_is_a_hash(self) -> None:
        self.assertEqual(len(key_of(changed(body=b"x" * 1_000_000), ALL)), 32)

    def test_any_text(self) -> None:
        key_of(changed(path="/\udcff", method="\u00e4", client=ClientIdentity("x", 1, "\udcff")), ALL)

    @given(
        st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=3),
        st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=3),
    )
    def test_different_lists_have_different_texts(self, one: list[Any], other: list[Any]) -> None:
        lowered = [[(name.lower(), value) for name, value in headers] for headers in (one, other)]
        keys = [key_of(changed(headers=tuple(headers)), ALL) for headers in (one, other)]
        self.assertEqual(keys[0] == keys[1], lowered[0] == lowered[1])
