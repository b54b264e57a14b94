"""Tests for L{egress.proxy.client_tls}."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.errors import ClientLeft, ClientTlsFailed
from egress.proxy.client_tls import handshake_fault, parse_client_hello, unused_connection_error
from egress.tls.client_hello import UNREADABLE

HOST = Authority("api.example.com", 443)
TRUST = "; is the proxy's CA trusted by this client? One that pins certificates needs --passthrough api.example.com"


def alert(name: str) -> SSL.Error:
    """The OpenSSL error for an alert from the client."""
    return SSL.Error([("SSL routines", "", f"tls alert {name}")])


class ErrorTests(SynchronousTestCase):
    """The errors of tunnels without a request."""

    def test_handshake(self) -> None:
        for error, words in (
            (alert("unknown ca"), f"the client broke off the TLS handshake with the alert unknown_ca{TRUST}"),
            (alert("protocol version"), "the client broke off the TLS handshake with the alert protocol_version"),
            (
                SSL.Error([("SSL routines", "", "no shared cipher")]),
                "the TLS handshake with the client failed: no shared cipher",
            ),
            (ConnectionLost(), "the TLS handshake with the client failed: the connection was closed"),
            (None, "the TLS handshake with the client failed: the connection was closed"),
        ):
            self.assertEqual(handshake_fault(error, HOST, ()).reason, words)

    def test_unused_connection(self) -> None:
        pins = "; one that pins certificates needs --passthrough api.example.com"
        for error, protocols, tls, kind, words in (
            (
                None,
                (),
                False,
                ClientLeft,
                "the client sent no request inside the CONNECT, and the connection was closed",
            ),
            (
                ConnectionLost(),
                (),
                True,
                ClientLeft,
                f"the client sent no request after the TLS handshake, and the connection was cut{pins}",
            ),
            (
                ConnectionDone(),
                (b"h2", b"http/1.1"),
                True,
                ClientLeft,
                f"the client sent no request after the TLS handshake, and the connection was closed{pins}; "
                "it offered the protocols h2, http/1.1",
            ),
            (
                ConnectionDone(),
                (b"h2",),
                True,
                ClientLeft,
                "the client sent no request after the TLS handshake, and the connection was closed; "
                "it offered the protocols h2, and the proxy speaks http/1.1 alone",
            ),
            (
                alert("bad certificate"),
                (b"h2",),
                True,
                ClientTlsFailed,
                f"the client ended the connection after the TLS handshake with the alert bad_certificate{TRUST}; "
                "it offered the protocols h2",
            ),
            (
                alert("bad certificate status response"),
                (),
                True,
                ClientTlsFailed,
                "the client ended the connection after the TLS handshake with the alert "
                "bad_certificate_status_response",
            ),
        ):
            found = unused_connection_error(error, HOST, protocols, tls=tls)
            self.assertEqual((type(found), found.reason), (kind, words))

    def test_protocols_are_truncated(self) -> None:
        """The client's input cannot fill or break a log line."""
        protocols = (b"a\n\xff" + b"x" * 100, *(b"%d" % number for number in range(20)))
        reason = handshake_fault(None, HOST, protocols).reason
        self.assertTrue(reason.endswith(f"it offered the protocols a??{'x' * 29}, 0, 1, 2, 3 and 16 more"), reason)

    def test_unreadable(self) -> None:
        """OpenSSL handles malformed messages."""
        self.assertIs(parse_client_hello(b"\x16\x03\x01\x00\x05hello"), UNREADABLE)
        self.assertIsNone(parse_client_hello(b"\x16\x03\x01"))
