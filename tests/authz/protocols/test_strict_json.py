"""Tests for L{egress.authz.protocols.strict_json}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.strict_json import InvalidJson, parse_members


class MembersTests(SynchronousTestCase):
    """Only unambiguous objects are accepted."""

    def test_parsed(self) -> None:
        self.assertEqual(
            parse_members(b' \t\r\n{"a": [1, 2.5, "b", null, true], "c": {"d": -3}} \r\n\t'),
            {
                "a": [1, 2.5, "b", None, True],
                "c": {"d": -3},
            },
        )

    def test_rejected(self) -> None:
        for content, words in (
            (b"", "the content is not JSON"),
            (b"{", "the content is not JSON"),
            (b"{} {}", "the content is not JSON"),
            (b"{}\x00", "the content is not JSON"),
            (b"\x0b{}", "the content is not JSON"),
            (b"\xc2\xa0{}", "the content is not JSON"),
            (b"\xff", "the content is not JSON"),
            (b"\xef\xbb\xbf{}", "the content is not JSON"),
            (b"[" * 200_000, "the content is not JSON"),
            (b"[]", "the content is not a JSON object"),
            (b"null", "the content is not a JSON object"),
            (b'{"a": 1, "a": 1}', "a key is repeated"),
            (b'{"a": {"b": 1, "b": 2}}', "a key is repeated"),
            (b'{"a": NaN}', "NaN is not a JSON number"),
            (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
            (b'{"a": ' + b"9" * 4001 + b"}", "a number has more than 4000 digits"),
        ):
            with self.subTest(content[:20]):
                with self.assertRaises(InvalidJson) as caught:
                    parse_members(content)
                self.assertEqual(str(caught.exception), words)
