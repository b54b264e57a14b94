"""Origins with HTTP/2 only (C{nginx-proxy/nginx-proxy#349}: a gRPC server behind a proxy that uses HTTP/1)."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.python.failure import Failure

from egress.model.authority import Authority
from egress.model.errors import OriginHttp2Only, OriginTlsFailed
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.tls import ServerTls
from tests.certificates import TestCA
from tests.files import make_directory
from tests.proxy.fakes import ProxyTestCase, request, status_of
from tests.tls.sessions import Session

# A SETTINGS frame with three settings, and a GOAWAY frame (RFC 9113 sections 6.5 and 6.8).
SETTINGS = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x80" * 3
GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\x00\x00\x00\x00\x00\x00\x00\x01"

# The type of the callback in <openssl/ssl.h>.
_SELECT = "int (*)(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)"


class ResponseTests(ProxyTestCase):
    """An origin that responds in HTTP/2."""

    def reason(self, *answers: bytes) -> tuple[str, str]:
        """Send responses as the origin.

        @return: the recorded outcome and reason.
        """
        self.setUp()
        self.client.feed(request())
        for answer in answers:
            self.origin.feed(answer)
        self.assertEqual(status_of(self.client.take()), 502)
        self.assertTrue(self.origin.disconnected)
        return self.records[-1].outcome, self.records[-1].reason

    def test_frames(self) -> None:
        for answers in (
            (SETTINGS,),
            (SETTINGS + GOAWAY,),
            (GOAWAY,),
            tuple(bytes([byte]) for byte in SETTINGS),
        ):
            outcome, reason = self.reason(*answers)
            self.assertEqual(outcome, "origin-http2-only")
            self.assertIn("only in HTTP/2", reason)

    def test_other_protocols(self) -> None:
        """A response that only begins like HTTP/2 is something else."""
        for answer in (
            b"\x00\x00\x12\x00\x00\x00\x00\x00\x00",
            b"\x00\x00\x12\x04\x00\x00\x00\x00\x01",
            b"\x01\x00\x12\x04\x00\x00\x00\x00\x00",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
        ):
            self.assertEqual(self.reason(answer)[0], "origin-protocol-error")

    def test_truncated(self) -> None:
        """The data is too short to identify the protocol."""
        self.client.feed(request())
        self.origin.feed(b"\x00\x00")
        self.origin.lose()
        self.assertEqual(self.outcomes(), ["origin-disconnected"])


class AlpnTests(ProxyTestCase):
    """An origin whose TLS negotiates only HTTP/2."""

    def test_alert(self) -> None:
        directory = make_directory(self)
        ca = TestCA()
        trust = ReloadableTrust(OriginTrust(ca.write(directory)))
        authority = Authority("api.example.com", 443)
        # pyOpenSSL has no method for this alert.
        lib, ffi = SSL._lib, SSL._ffi  # type: ignore[attr-defined] # noqa: SLF001
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = ca.issue("api.example.com").server_context()
            context.set_max_proto_version(version)
            # As servers without another protocol do (RFC 7301 section 3.2), and as pyOpenSSL's own callback cannot.
            refuse = ffi.callback(_SELECT, lambda *_: lib.SSL_TLSEXT_ERR_ALERT_FATAL)
            lib.SSL_CTX_set_alpn_select_cb(context._context, refuse, ffi.NULL)  # noqa: SLF001 - as above
            creator = trust.connection_creator(authority)
            session = Session(creator, ServerTls(context)).run()
            assert session.client.lost is not None
            error = creator.explain(session.client.lost)
            self.assertIs(type(error), OriginHttp2Only)
            self.assertIn("no_application_protocol", error.reason)
            self.assertIn("HTTP/2", error.reason)

    def test_alert_without_text(self) -> None:
        """As old versions of OpenSSL report this alert."""
        directory = make_directory(self)
        trust = OriginTrust(TestCA().write(directory))
        failure = Failure(SSL.Error([("SSL routines", "", "")]))
        for protocols, kind in (((b"http/1.1",), OriginHttp2Only), ((), OriginTlsFailed)):
            creator = trust.connection_creator(Authority("api.example.com", 443), protocols)
            self.assertIs(type(creator.explain(failure)), kind)
