"""Tests for L{egress.proxy.tunnel_errors}."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.errors import ClientTlsFailed, TunnelWithoutRequest
from egress.model.tls_alert import CLOSED_IN_HANDSHAKE, distrust_in
from egress.proxy.tunnel_errors import handshake_fault, unused_connection_error

HOST = Authority("api.example.com", 443)
TRUST = (
    "; check that this client trusts the proxy's CA. "
    "A client that pins certificates needs --passthrough api.example.com"
)


def alert(name: str) -> SSL.Error:
    """The OpenSSL error for an alert from the client."""
    return SSL.Error([("SSL routines", "", f"tls alert {name}")])


class ErrorTests(SynchronousTestCase):
    """The errors of tunnels without a request."""

    def test_handshake(self) -> None:
        for error, words in (
            (alert("unknown ca"), f"the client aborted the TLS handshake with the alert unknown_ca{TRUST}"),
            (alert("protocol version"), "the client aborted the TLS handshake with the alert protocol_version"),
            (
                SSL.Error([("SSL routines", "", "no shared cipher")]),
                "the TLS handshake with the client failed: no shared cipher",
            ),
            (ConnectionLost(), "the TLS handshake with the client failed: the connection was closed"),
            (None, "the TLS handshake with the client failed: the connection was closed"),
        ):
            self.assertEqual(handshake_fault(error, HOST, ()).reason, words)

    def test_distrust(self) -> None:
        """The log finds the clients that do not trust the CA by these reasons."""
        for name in ("unknown ca", "bad certificate", "certificate unknown"):
            for error in (
                handshake_fault(alert(name), HOST, (b"h2",)),
                unused_connection_error(alert(name), HOST, (), tls=True),
            ):
                self.assertEqual(distrust_in(error.reason), f"alert {name.replace(' ', '_')}")
        self.assertTrue(handshake_fault(None, HOST, (b"h2",)).reason.startswith(CLOSED_IN_HANDSHAKE))

    def test_unused_connection(self) -> None:
        pins = "; a client that pins certificates needs --passthrough api.example.com"
        for error, protocols, tls, kind, words in (
            (
                None,
                (),
                False,
                TunnelWithoutRequest,
                "the client sent no request in the tunnel, and the connection was closed",
            ),
            (
                ConnectionLost(),
                (),
                True,
                TunnelWithoutRequest,
                f"the client sent no request after the TLS handshake, and the connection was lost{pins}",
            ),
            (
                ConnectionDone(),
                (b"h2", b"http/1.1"),
                True,
                TunnelWithoutRequest,
                f"the client sent no request after the TLS handshake, and the connection was closed{pins}; "
                "it offered the protocols h2, http/1.1",
            ),
            (
                ConnectionDone(),
                (b"h2",),
                True,
                TunnelWithoutRequest,
                f"the client sent no request after the TLS handshake, and the connection was closed{pins}; "
                "it offered the protocols h2",
            ),
            (
                ConnectionDone(),
                (b"h3", b"spdy/3"),
                True,
                TunnelWithoutRequest,
                "the client sent no request after the TLS handshake, and the connection was closed; "
                "it offered the protocols h3, spdy/3, but the proxy supports only h2 and http/1.1",
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

    def test_http2_is_turned_off(self) -> None:
        found = unused_connection_error(ConnectionDone(), HOST, (b"h2",), tls=True, http2=False)
        self.assertTrue(found.reason.endswith("the protocols h2, but the proxy supports only http/1.1"), found.reason)

    def test_protocols_are_truncated(self) -> None:
        """The client's input cannot fill or break a log line."""
        protocols = (b"a\n\xff" + b"x" * 100, *(b"%d" % number for number in range(20)))
        reason = handshake_fault(None, HOST, protocols).reason
        self.assertTrue(reason.endswith(f"it offered the protocols a??{'x' * 29}, 0, 1, 2, 3 and 16 more"), reason)
