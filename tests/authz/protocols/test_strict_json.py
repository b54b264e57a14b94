"""Tests for L{egress.authz.protocols.strict_json}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.strict_json import InvalidJson, parse_members


class MembersTests(SynchronousTestCase):
    """Only unambiguous objects are accepted."""

    def test_parsed(self) -> None:
        self.assertEqual(
            parse_members(b' {"a": [1, 2.5, "b", null, true], "c": {"d": -3}} '),
            {
                "a": [1, 2.5, "b", None, True],
                "c": {"d": -3},
            },
        )

    def test_rejected(self) -> None:
        for content, words in (
            (b"", "is not JSON"),
            (b"{", "is not JSON"),
            (b"\xff", "is not JSON"),
            (b"\xef\xbb\xbf{}", "is not JSON"),
            (b"[" * 200_000, "is not JSON"),
            (b"[]", "is not a JSON object"),
            (b"null", "is not a JSON object"),
            (b'{"a": 1, "a": 1}', "names a key twice"),
            (b'{"a": {"b": 1, "b": 2}}', "names a key twice"),
            (b'{"a": NaN}', "has the number NaN"),
            (b'{"a": -Infinity}', "has the number -Infinity"),
            (b'{"a": ' + b"9" * 4001 + b"}", "has a number of more than 4000 digits"),
        ):
            with self.subTest(content[:20]):
                with self.assertRaises(InvalidJson) as caught:
                    parse_members(content)
                self.assertEqual(str(caught.exception), words)
