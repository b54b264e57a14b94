"""Tests for L{egress.http.websocket_extensions}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.websocket_extensions import Deflate, negotiated, with_readable_messages
from egress.model.decision import Headers

NAME = b"Sec-WebSocket-Extensions"


def extensions(*values: bytes) -> Headers:
    """Header fields with extensions."""
    return ((b"X", b"permessage-deflate"), *((NAME, value) for value in values))


class OfferTests(SynchronousTestCase):
    """The offers of a client."""

    def test_other_extensions_and_codings_are_removed(self) -> None:
        for offered, kept in (
            ((), b""),
            ((b"permessage-bzip2",), b""),
            ((b"permessage-deflate",), b"permessage-deflate"),
            (
                (b'x; a=1, permessage-deflate ; client_max_window_bits; server_max_window_bits="10", y',),
                b'permessage-deflate ; client_max_window_bits; server_max_window_bits="10"',
            ),
            ((b"Permessage-Deflate", b"mux, permessage-deflate; x=1"), b"Permessage-Deflate, permessage-deflate; x=1"),
            ((b"permessage-deflate; a b", b"permessage-deflatex"), b""),
        ):
            with self.subTest(offered):
                fields = with_readable_messages([*extensions(*offered), (b"accept-encoding", b"gzip, br")])
                found = [value for name, value in fields if name.lower() == NAME.lower()]
                self.assertEqual(found, [kept] if kept else [])
                self.assertEqual(fields[0], (b"X", b"permessage-deflate"))
                self.assertEqual(fields[-1], (b"Accept-Encoding", b"identity"))
                self.assertEqual(sum(name.lower() == b"accept-encoding" for name, _ in fields), 1)


class AnswerTests(SynchronousTestCase):
    """The extensions that an origin accepts."""

    def test_valid(self) -> None:
        for values, expected in (
            ((), None),
            ((b"",), None),
            ((b"permessage-deflate",), Deflate()),
            ((b"Permessage-Deflate; Client_No_Context_Takeover",), Deflate(client_takeover=False)),
            (
                (b'permessage-deflate;server_no_context_takeover ; client_max_window_bits = "9"',),
                Deflate(server_takeover=False),
            ),
        ):
            with self.subTest(values):
                self.assertEqual(negotiated(extensions(*values)), expected)

    def test_invalid(self) -> None:
        for values in (
            (b"permessage-bzip2",),
            (b"permessage-deflate, x",),
            (b"permessage-deflate", b"permessage-deflate"),
            (b"permessage-deflate; x=1",),
            (b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",),
            (b"permessage-deflate;",),
        ):
            with self.subTest(values):
                self.assertRaises(ValueError, negotiated, extensions(*values))
