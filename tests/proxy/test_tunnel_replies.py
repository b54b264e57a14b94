"""Tests for L{egress.proxy.tunnel_replies}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.errors import AddressForbidden
from egress.proxy.tunnel_replies import CONNECT_REPLIES, NO_REPLIES, SOCKS_REPLIES


class RepliesTests(SynchronousTestCase):
    """The responses to a request for a tunnel."""

    def test_refused(self) -> None:
        error = AddressForbidden("not this one")
        response = CONNECT_REPLIES.refused(error, "id-7", b"now")
        self.assertTrue(response.startswith(b"HTTP/1.1 403 "))
        for part in (b"not this one", b"id-7", b"Date: now"):
            self.assertIn(part, response)
        self.assertEqual(SOCKS_REPLIES.refused(error, "id-7", b"now"), b"\x05\x02\x00\x01\0\0\0\0\0\0")
        self.assertEqual(NO_REPLIES.refused(error, "id-7", b"now"), b"")
