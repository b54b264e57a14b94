"""Tests for L{egress.socks.client_handshake}."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, UpstreamHop
from egress.model.errors import UpstreamRefused, UpstreamUnreachable
from egress.socks.client_handshake import SocksHandshake

PLACE = Authority("proxy.test", 1080)
PLAIN = UpstreamHop("socks5h", PLACE)
WITH_LOGIN = UpstreamHop("socks5h", PLACE, b"Basic " + b64encode(b"ci:s3cret"))
NAME = Authority("origin.test", 443)
NAME_REQUEST = b"\x05\x01\x00\x03\x0borigin.test\x01\xbb"
IPV4_REPLY = b"\x05\x00\x00\x01\x7f\0\0\x01\x04\x38"


class SocksHandshakeTests(SynchronousTestCase):
    """The messages to a SOCKS5 proxy, and its responses."""

    def test_without_credentials(self) -> None:
        for reply in (
            IPV4_REPLY,
            b"\x05\x00\x00\x03\x04test\x04\x38",
            b"\x05\x00\x00\x03\x00\x04\x38",
            b"\x05\x00\x00\x04" + bytes(16) + b"\x04\x38",
        ):
            with self.subTest(reply):
                handshake = SocksHandshake(PLAIN, NAME)
                self.assertEqual(handshake.request(), b"\x05\x01\x00")
                self.assertFalse(handshake.logged_in)
                self.assertIsNone(handshake.receive(b"\x05"))
                self.assertEqual(handshake.take_output(), b"")
                self.assertIsNone(handshake.receive(b"\x00"))
                self.assertTrue(handshake.logged_in)
                self.assertEqual((handshake.take_output(), handshake.take_output()), (NAME_REQUEST, b""))
                for byte in reply[:-1]:
                    self.assertIsNone(handshake.receive(bytes([byte])))
                self.assertEqual(handshake.receive(reply[-1:] + b"early"), b"early")

    def test_everything_at_once(self) -> None:
        handshake = SocksHandshake(WITH_LOGIN, NAME)
        self.assertEqual(handshake.receive(b"\x05\x02\x01\x00" + IPV4_REPLY), b"")

    def test_addresses(self) -> None:
        for host, destination in (
            ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
            ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ):
            handshake = SocksHandshake(PLAIN, Authority(host, 80))
            handshake.receive(b"\x05\x00")
            self.assertEqual(handshake.take_output(), b"\x05\x01\x00" + destination + b"\x00\x50")

    def test_credentials(self) -> None:
        handshake = SocksHandshake(WITH_LOGIN, NAME)
        self.assertEqual(handshake.request(), b"\x05\x02\x00\x02")
        handshake.receive(b"\x05\x02")
        self.assertEqual(handshake.take_output(), b"\x01\x02ci\x06s3cret")
        self.assertIsNone(handshake.receive(b"\x01"))
        self.assertFalse(handshake.logged_in)
        self.assertIsNone(handshake.receive(b"\x00"))
        self.assertEqual(handshake.take_output(), NAME_REQUEST)

    def test_no_credentials_required(self) -> None:
        handshake = SocksHandshake(WITH_LOGIN, NAME)
        handshake.receive(b"\x05\x00")
        self.assertEqual(handshake.take_output(), NAME_REQUEST, "the credentials are not sent")

    def test_refused(self) -> None:
        for upstream, data, words, other_address in (
            (PLAIN, b"\x05\xff", "set the credentials in --upstream-proxy", False),
            (PLAIN, b"\x05\x02", "set the credentials in --upstream-proxy", False),
            (WITH_LOGIN, b"\x05\xff", "check the credentials in --upstream-proxy", False),
            (WITH_LOGIN, b"\x05\x02\x01\x01", "rejects the name or the password", False),
            (PLAIN, b"\x05\x00\x05\x01", "a general failure (SOCKS reply 1)", False),
            (PLAIN, b"\x05\x00\x05\x02\x00", "its rules do not allow the connection (SOCKS reply 2)", False),
            (PLAIN, b"\x05\x00\x05\x03", "the network cannot be reached (SOCKS reply 3)", True),
            (PLAIN, b"\x05\x00\x05\x04", "the host cannot be reached (SOCKS reply 4)", True),
            (PLAIN, b"\x05\x00\x05\x05", "the host refused the connection (SOCKS reply 5)", True),
            (PLAIN, b"\x05\x00\x05\x06", "the host did not respond in time (SOCKS reply 6)", True),
            (PLAIN, b"\x05\x00\x05\x07", "it does not support CONNECT (SOCKS reply 7)", False),
            (PLAIN, b"\x05\x00\x05\x08", "it does not support this type of address (SOCKS reply 8)", True),
            (PLAIN, b"\x05\x00\x05\x09", "the reply 9", False),
        ):
            with self.subTest(data):
                handshake = SocksHandshake(upstream, NAME)
                error = self.assertRaises(UpstreamRefused, handshake.receive, data)
                assert isinstance(error, UpstreamRefused)
                self.assertIn("the upstream proxy proxy.test:1080 did not connect to origin.test:443: ", error.reason)
                self.assertIn(words, error.reason)
                self.assertNotIn("s3cret", error.reason)
                self.assertEqual((error.status, error.other_address), (None, other_address))

    def test_another_protocol(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x05\x01",
            b"\x05\x02\x05\x00",
            b"\x05\x00\x04",
            b"\x05\x00\x05\x00\x00\x02\x00",
        ):
            with self.subTest(data):
                handshake = SocksHandshake(WITH_LOGIN, NAME)
                error = self.assertRaises(UpstreamUnreachable, handshake.receive, data)
                self.assertIn("did not respond with SOCKS5", str(error))
