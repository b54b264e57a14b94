"""Tests for L{egress.tls.origin_trust}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.model.authority import Authority
from egress.model.errors import OriginCertificateInvalid, OriginTlsFailed
from egress.model.no_proxy import HostPattern
from egress.tls import origin_trust as trust
from egress.tls.contexts import tls_context
from egress.tls.origin_policy import OriginTlsPolicy
from egress.tls.origin_trust import CertificateRejected, OriginTls, OriginTrust
from egress.tls.pem import TrustError
from egress.transport.tls import ServerTls
from tests.certificates import CLIENT, TestCA, TestCertificate, key_pem_of, new_key, pem_of, self_signed
from tests.files import make_directory
from tests.tls import test_ocsp as staple
from tests.tls.sessions import Session, move, shake_hands

HOST = Authority("api.example.com", 443)
SECRET = b"GET /secret HTTP/1.1\r\n\r\n"
HINT = "--ssl-extra-ca-certs"


class TrustTestCase(SynchronousTestCase):
    """Provides a trusted CA, and sessions with servers."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.ca = TestCA("Trusted CA")
        self.trust = OriginTrust(self.ca.write(self.directory))

    def trusting(self, *pems: bytes) -> OriginTrust:
        path = self.directory / "extra.pem"
        path.write_bytes(b"".join(pems))
        return OriginTrust(path)

    def connect(self, server: TestCertificate | SSL.Context, authority: Authority = HOST) -> tuple[OriginTls, Session]:
        """Connect a careless client, which writes before the handshake is over, to a server."""
        context = server if isinstance(server, SSL.Context) else server.server_context()
        creator = self.trust.connection_creator(authority)
        return creator, Session(creator, ServerTls(context), SECRET).run()

    def connection(self, authority: Authority = HOST) -> Any:
        """Create one connection of the client."""
        return self.trust.connection_creator(authority).clientConnectionForTLS(None)  # type: ignore[arg-type]

    def handshake_error(self, connection: SSL.Connection) -> SSL.Error:
        """Respond to a connection with data that is no TLS record.

        @return: the error of the handshake, which is the fault of the certificate if there was one.
        """
        connection.set_connect_state()
        connection.bio_write(b"no TLS record")
        error: SSL.Error = self.assertRaises(SSL.Error, connection.do_handshake)
        self.assertNotIsInstance(error, SSL.WantReadError)
        return error

    def make_context(self) -> SSL.Context:
        """Create the trust again.

        @return: its context, whose settings can still be changed.
        """
        made: list[SSL.Context] = []

        def make(method: int) -> SSL.Context:
            made.append(tls_context(method))
            return made[-1]

        with mock.patch.object(trust, "tls_context", make):
            self.trust = OriginTrust(self.ca.write(self.directory))
        (context,) = made
        return context

    def accepted(self, server: TestCertificate | SSL.Context, authority: Authority = HOST) -> Session:
        _, session = self.connect(server, authority)
        self.assertTrue(session.client.completed)
        self.assertEqual(session.server.received, SECRET)
        return session

    def failed(self, server: TestCertificate | SSL.Context, authority: Authority = HOST) -> OriginTlsFailed:
        """Verify that a session fails on both sides.

        @return: the explanation.
        """
        creator, session = self.connect(server, authority)
        self.assertFalse(session.client.completed)
        self.assertFalse(session.server.completed)
        self.assertEqual(session.server.received, b"")
        self.assertEqual(session.client.received, b"")
        assert session.client.lost is not None
        error = creator.explain(session.client.lost)
        assert isinstance(error, OriginTlsFailed)
        self.assertNotIn("\n", error.reason)
        return error

    def rejected(self, server: TestCertificate, *words: str, authority: Authority = HOST) -> str:
        """Verify that a certificate is rejected for a reason that contains all the words."""
        error = self.failed(server, authority)
        self.assertIs(type(error), OriginCertificateInvalid)
        self.assertIn(str(authority), error.reason)
        for word in words:
            self.assertIn(word, error.reason)
        return error.reason


class AcceptedTests(TrustTestCase):
    """Certificates that are accepted."""

    def test_interface(self) -> None:
        """It provides Twisted's interface for a client."""
        verifyObject(IOpenSSLClientConnectionCreator, self.trust.connection_creator(HOST))

    def test_names(self) -> None:
        """The names, wildcards and addresses of a certificate."""
        for host, name in (
            ("api.example.com", "api.example.com"),
            ("api.example.com", "*.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("my_service.internal", "my_service.internal"),
            ("localhost", "localhost"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
        ):
            self.accepted(self.ca.issue("other.example", name), Authority(host, 443))

    def test_intermediate(self) -> None:
        """A chain with an intermediate CA."""
        self.accepted(TestCA("Middle", self.ca).issue(HOST.host))

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = self.ca.issue(HOST.host).server_context()
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
            self.accepted(context)

    def test_rsa(self) -> None:
        """An RSA certificate, as most origins have."""
        self.accepted(self.ca.issue(HOST.host, key=rsa.generate_private_key(65537, 2048)))

    def test_several(self) -> None:
        """Every certificate in the file is trusted, regardless of text between them."""
        other = TestCA("Other")
        self.trust = self.trusting(b"# ours\n", self.ca.pem, b"\n# theirs\n", other.pem)
        self.accepted(self.ca.issue(HOST.host))
        self.accepted(other.issue(HOST.host))

    def test_anchors(self) -> None:
        """An intermediate CA, a server's own certificate and a self-signed one can be trust anchors."""
        middle = TestCA("Middle", TestCA("Not trusted"))
        server = TestCA("Not trusted").issue(HOST.host)
        alone = self_signed(HOST.host)
        self.trust = self.trusting(middle.pem, pem_of(server.certificate), alone.certificate_pem)
        for each in (middle.issue(HOST.host), server, alone):
            self.accepted(each)

    def test_server_name(self) -> None:
        """The server gets the name, but never an address."""
        for host, name in (("api.example.com", b"api.example.com"), ("192.0.2.7", None), ("2001:db8::1", None)):
            client = self.trust.connection_creator(Authority(host, 443)).clientConnectionForTLS(None)  # type: ignore[arg-type]
            server = SSL.Connection(self.ca.issue(host).server_context(), None)
            shake_hands(client, server)
            self.assertEqual(server.get_servername(), name)

    def test_application_protocols(self) -> None:
        """The given protocols are offered; there is no default."""
        seen: list[list[bytes]] = []

        def select(_: SSL.Connection, protocols: list[bytes]) -> bytes:
            seen.append(protocols)
            return protocols[-1]

        for offered in ((), (b"h2", b"http/1.1")):
            context = self.ca.issue(HOST.host).server_context()
            context.set_alpn_select_callback(select)
            creator = self.trust.connection_creator(HOST, offered)
            session = Session(creator, ServerTls(context), SECRET).run()
            self.assertEqual(session.server.received, SECRET)
        self.assertEqual(seen, [[b"h2", b"http/1.1"]])
        self.assertEqual(session.client_layer.negotiatedProtocol, b"http/1.1")

    def test_creator_is_reusable(self) -> None:
        """One creator serves any number of connections, and verifies each of them."""
        creator = self.trust.connection_creator(HOST)
        bad = Session(creator, ServerTls(self_signed(HOST.host).server_context()), SECRET).run()
        good = Session(creator, ServerTls(self.ca.issue(HOST.host).server_context()), SECRET).run()
        self.assertEqual((bad.server.received, good.server.received), (b"", SECRET))
        assert bad.client.lost is not None
        self.assertIn("self-signed", creator.explain(bad.client.lost).reason)

    def test_system_roots(self) -> None:
        """The system's roots are trusted in addition to the file, and without a file."""
        roots = TestCA("System root")
        # OpenSSL reads the environment itself.
        environment = {"SSL_CERT_FILE": str(roots.write(self.directory, "roots")), "SSL_CERT_DIR": ""}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        for trusting in (OriginTrust(), OriginTrust(self.directory / "ca.pem")):
            self.trust = trusting
            self.accepted(roots.issue(HOST.host))
        self.trust = OriginTrust()
        self.rejected(self.ca.issue(HOST.host), "is not trusted")


class RejectedTests(TrustTestCase):
    """Untrusted certificates: each error names the fault, and no data is sent."""

    def test_expired(self) -> None:
        """A certificate that has expired."""
        server = self.ca.issue(HOST.host, expired=True)
        end = server.certificate.not_valid_after_utc
        reason = self.rejected(server)
        self.assertEqual(reason, f"the certificate of api.example.com:443 has expired (on {end:%Y-%m-%d %H:%M} UTC)")

    def test_not_yet_valid(self) -> None:
        """A certificate that is not valid yet."""
        server = self.ca.issue(HOST.host, not_yet_valid=True)
        begin = server.certificate.not_valid_before_utc
        self.rejected(server, f"is not yet valid (before {begin:%Y-%m-%d %H:%M} UTC)")

    def test_self_signed(self) -> None:
        """A certificate that only it has signed itself."""
        self.rejected(self_signed(HOST.host), "of api.example.com:443 is self-signed and not trusted", HINT)

    def test_unknown_root_sent(self) -> None:
        """A chain that ends in an untrusted root, which the server sends."""
        other = TestCA("Stranger")
        server = other.issue(HOST.host)
        server = TestCertificate(server.certificate, server.key, (other.certificate,))
        self.rejected(server, "'CN=Stranger' in the chain", "is a self-signed root that is not trusted", HINT)

    def test_unknown_issuer(self) -> None:
        """A certificate of an unknown CA; the error names the CA."""
        self.rejected(TestCA("Stranger").issue(HOST.host), "was issued by 'CN=Stranger', which is not trusted", HINT)

    def test_unknown_root_of_intermediate(self) -> None:
        """A chain without its root; the error names the missing root."""
        middle = TestCA("Middle", TestCA("Stranger"))
        self.rejected(middle.issue(HOST.host), "'CN=Middle' in the chain", "issued by 'CN=Stranger'")

    def test_same_name_other_key(self) -> None:
        """A CA with the name of a trusted one, and another key."""
        self.failed(TestCA("Trusted CA").issue(HOST.host))

    def test_expired_intermediate(self) -> None:
        """An expired intermediate CA; the error names it."""
        middle = TestCA("Middle", self.ca, expired=True)
        self.rejected(middle.issue(HOST.host), "'CN=Middle' in the chain of api.example.com:443 has expired")

    def test_wrong_host(self) -> None:
        """A certificate for other names; the error lists them."""
        reason = self.rejected(self.ca.issue("www.example.com", "192.0.2.7"))
        self.assertEqual(
            reason, "the certificate of api.example.com:443 is for another host: www.example.com, 192.0.2.7"
        )

    def test_wrong_address(self) -> None:
        """A certificate for another address, and one for a name that resembles the address."""
        authority = Authority("192.0.2.8", 443)
        self.rejected(self.ca.issue("192.0.2.7"), "for another host: 192.0.2.7", authority=authority)
        named = self.ca.issue(extensions=((x509.SubjectAlternativeName([x509.DNSName("192.0.2.8")]), False),))
        self.rejected(named, "contains no valid host name; ignored invalid names: 192.0.2.8", authority=authority)

    def test_many_names(self) -> None:
        """Of many names, the error lists the first ones and counts the others."""
        names = [f"{number}.example" for number in range(12)]
        reason = self.rejected(self.ca.issue(*names))
        self.assertTrue(reason.endswith(": 0.example, 1.example, 2.example, 3.example, 4.example and 7 more"), reason)

    def test_other_kinds_of_names(self) -> None:
        """A certificate without a name of a host."""
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://api.example.com")])
        self.rejected(self.ca.issue(extensions=((names, False),)), "contains no host name")

    def test_no_names(self) -> None:
        """A certificate without alternative names: the common name is ignored."""
        self.rejected(self.ca.issue(subject=HOST.host), "contains no host name")

    def test_wildcards(self) -> None:
        """A wildcard matches one label, and never a whole name."""
        for name in ("*.com", "*", "*.api.example.com", "a*.example.com"):
            self.failed(self.ca.issue(name))
        self.failed(self.ca.issue("*.example.com"), Authority("a.b.example.com", 443))

    def test_client_certificate(self) -> None:
        """A certificate for clients."""
        self.rejected(self.ca.issue(HOST.host, usage=CLIENT), "is not permitted for TLS servers")

    def test_not_a_ca(self) -> None:
        """A certificate that an ordinary server has signed."""
        self.rejected(TestCA("Impostor", self.ca, ca=False).issue(HOST.host), "'CN=Impostor'", "not a CA certificate")

    def test_path_too_long(self) -> None:
        """A CA that may sign servers, but not CAs."""
        leaf_only = TestCA("Leaf only", self.ca, path_length=0)
        self.rejected(TestCA("Further", leaf_only).issue(HOST.host), "higher in the chain")

    def test_critical_extension(self) -> None:
        """A critical extension that OpenSSL does not know."""
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        self.rejected(self.ca.issue(HOST.host, extensions=((unknown, True),)), "critical extension")

    def test_weak_key(self) -> None:
        """A key that is too short."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        weak = self.ca.issue(HOST.host, key=rsa.generate_private_key(65537, 1024))
        context.use_certificate(weak.certificate)
        context.use_privatekey(weak.key)
        self.assertIn("a key that is too weak", self.failed(context).reason)

    def test_name_constraints(self) -> None:
        """A CA that may sign only for its own domain."""
        constraints = x509.NameConstraints([x509.DNSName("corp.example")], None)
        key = new_key()
        confined = self.ca.issue(
            key=key,
            subject="Confined",
            extensions=(
                (x509.BasicConstraints(ca=True, path_length=None), True),
                (constraints, True),
            ),
        )
        middle = TestCA("Confined", self.ca)
        middle.key, middle.certificate = key, confined.certificate
        self.accepted(middle.issue("a.corp.example"), Authority("a.corp.example", 443))
        self.rejected(middle.issue(HOST.host), "its CA may not sign")

    def test_hostile_names(self) -> None:
        """Hostile text in a certificate neither breaks a log line nor floods it."""
        reason = self.rejected(TestCA("Evil\nCA \x1b[31m" + "x" * 40).issue(HOST.host))
        self.assertIn("Evil?CA ?[31m", reason)
        reason = self.rejected(self.ca.issue("x" * 60 + "." + "y" * 60 + ".example"))
        self.assertIn("...", reason)
        self.assertLess(len(reason), 250)

    def test_malformed_names(self) -> None:
        """Names that cannot be parsed."""
        broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x05a")
        self.failed(self.ca.issue(extensions=((broken, False),)))

    def test_alert(self) -> None:
        """The server gets an alert about its certificate."""
        _, session = self.connect(self_signed(HOST.host))
        assert session.server.lost is not None
        self.assertIn("alert", str(session.server.lost.value))

    def test_unknown_error_number(self) -> None:
        """A fault that is not in the table is reported by its number."""
        connection = self.connection()
        certificate = crypto.X509.from_cryptography(self.ca.issue(HOST.host).certificate)
        self.assertFalse(connection.verify_step(certificate, 999, 0, 0))
        error = self.handshake_error(connection)
        assert isinstance(error, CertificateRejected)
        self.assertIn("cannot be verified (OpenSSL error 999)", error.fault.reason)

    def test_unexpected_error(self) -> None:
        """If the verification itself fails, the certificate is rejected, and no exception is raised into OpenSSL."""

        class Broken:
            def to_cryptography(self) -> x509.Certificate:
                raise ValueError("no\nDER")

        for ok in (0, 1):
            connection = self.connection()
            self.assertFalse(connection.verify_step(Broken(), 20, 0, ok))
            error = self.handshake_error(connection)
            assert isinstance(error, CertificateRejected)
            self.assertIn("cannot be verified (no?DER)", error.fault.reason)

    def test_invalid_host(self) -> None:
        """A host that cannot be compared is rejected, regardless of the certificate."""
        self.rejected(self.ca.issue("a.example"), "cannot be verified", authority=Authority("1_000", 443))


class ResumedSessionTests(TrustTestCase):
    """Resumed sessions, in which OpenSSL verifies nothing."""

    def test_rejected(self) -> None:
        """A resumed session was not verified for this authority, so it is rejected."""
        context = self.ca.issue("other.example").server_context()
        first = self.connection(Authority("other.example", 443))
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        shake_hands(first, SSL.Connection(context, None))
        session = first.get_session()
        assert session is not None
        second = self.connection()
        second.set_session(session)
        error = self.assertRaises(CertificateRejected, shake_hands, second, SSL.Connection(context, None))
        self.assertIn("sent no certificate", error.fault.reason)


class SettingsTests(TrustTestCase):
    """The settings of all sessions."""

    def test_settings(self) -> None:
        """Sessions are neither cached nor compressed, and idle ones release their buffers."""
        context = self.make_context()
        self.assertEqual(context.get_session_cache_mode(), SSL.SESS_CACHE_OFF)
        self.assertTrue(context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS)
        self.assertTrue(context.set_options(0) & SSL.OP_NO_COMPRESSION)

    def test_renegotiation(self) -> None:
        """A server cannot renegotiate, for example with another certificate."""
        context = self.ca.issue(HOST.host).server_context()
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client = self.connection()
        server = SSL.Connection(context, None)
        shake_hands(client, server)
        server.renegotiate()
        server.do_handshake()
        move(server, client)
        self.assertRaises(SSL.WantReadError, client.recv, 100)
        move(client, server)
        error = self.assertRaises(SSL.Error, server.recv, 100)
        self.assertIn("no renegotiation", str(error))


class OtherFailureTests(TrustTestCase):
    """Handshakes that fail for other reasons than a certificate."""

    def handshake_failed(self, server: SSL.Context, *words: str) -> None:
        error = self.failed(server)
        self.assertIs(type(error), OriginTlsFailed)
        self.assertTrue(error.reason.startswith("the TLS handshake with api.example.com:443 failed: "), error.reason)
        for word in words:
            self.assertIn(word, error.reason)

    def test_old_version(self) -> None:
        """A server that supports only TLS 1.1 or older."""
        context = self.ca.issue(HOST.host).server_context()
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        # This ensures that only the version prevents the handshake.
        self.make_context().set_cipher_list(b"ALL:@SECLEVEL=0")
        self.handshake_failed(context, "rejected it with the alert protocol_version")

    def test_no_common_cipher(self) -> None:
        """A server without a common cipher suite."""
        context = self.ca.issue(HOST.host).server_context()
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
        self.handshake_failed(context, "rejected it with the alert handshake_failure")

    def connect_to(self, *answers: bytes) -> str:
        """Connect to a server that does not use TLS.

        @return: the explanation.
        """
        creator = self.trust.connection_creator(HOST)
        session = Session(creator, ServerTls(self.ca.issue(HOST.host).server_context()), SECRET)
        for answer in answers:
            session.client_layer.dataReceived(answer)
        session.client_layer.connectionLost(Failure(ConnectionDone()))
        self.assertFalse(session.client.completed)
        assert session.client.lost is not None
        error = creator.explain(session.client.lost)
        self.assertIs(type(error), OriginTlsFailed)
        return error.reason

    def test_no_tls(self) -> None:
        """A server with another protocol."""
        for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n"):
            self.assertIn("does not use TLS", self.connect_to(answer))

    def test_response_with_an_old_version(self) -> None:
        """A server that responds with a version that was not offered."""
        hello = b"\x03\x01" + bytes(32) + b"\x00" + b"\xc0\x09" + b"\x00"
        message = b"\x02" + len(hello).to_bytes(3, "big") + hello
        record = b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message
        self.assertIn("does not support TLS 1.2 or later", self.connect_to(record))

    def test_closed(self) -> None:
        """A server that closes the connection."""
        self.assertIn("failed: the connection was closed", self.connect_to())

    def test_other_reasons(self) -> None:
        """Other reasons are reported unchanged, in one line."""
        creator = self.trust.connection_creator(HOST)
        for error, text in (
            (ConnectionLost(), "the connection was closed"),
            (SSL.Error([("SSL routines", "", "internal error")]), "internal error"),
            (
                SSL.Error([("SSL routines", "", "tlsv13 alert certificate required")]),
                "the server rejected it with the alert certificate_required; it requires a client certificate: add "
                "one to the file of --origin-tls",
            ),
            (SSL.Error([]), "[]"),
            (SSL.Error(), "Error"),
            (SSL.SysCallError(104, "ECONNRESET"), "(104, 'ECONNRESET')"),
            (RuntimeError("a\nb"), "a?b"),
            (RuntimeError(), "RuntimeError"),
        ):
            reason = creator.explain(Failure(error)).reason
            self.assertEqual(
                reason,
                f"the TLS handshake with {HOST} failed: "
                + (f"the other side {text}" if text.startswith("refused") else text),
            )


class ClientCertificateTests(TrustTestCase):
    """The proxy's client certificate."""

    def setUp(self) -> None:
        super().setUp()
        self.middle = TestCA("Clients", self.ca)
        self.mine = self.middle.issue("runner-7", usage=CLIENT, subject="runner-7")
        self.path = self.mine.write_combined(self.directory)
        self.shown: list[str] = []

    def requesting_server(self, server: TestCertificate) -> SSL.Context:
        """Return a server that requests a certificate of the CA."""
        context = server.server_context()
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.ca.certificate))

        def note(_: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
            if depth == 0:
                self.shown.append(certificate.to_cryptography().subject.rfc4514_string())
            return bool(ok)

        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, note)
        return context

    def trust_with(self, path: Path) -> OriginTrust:
        return OriginTrust(self.directory / "ca.pem", path)

    def refused(self, content: bytes | None, *words: str) -> None:
        path = self.directory / "mine.pem"
        if content is not None:
            path.write_bytes(content)
        error = self.assertRaises(TrustError, self.trust_with, path)
        self.assertTrue(error.reason.startswith(f"{path}: "), error.reason)
        self.assertNotIn("\n", error.reason)
        for word in words:
            self.assertIn(word, error.reason)

    def test_sent(self) -> None:
        """It is sent with its chain to a server that requests it."""
        self.trust = self.trust_with(self.path)
        self.accepted(self.requesting_server(self.ca.issue(HOST.host)))
        self.assertEqual(self.shown, ["CN=runner-7"])

    def test_not_configured(self) -> None:
        """Without one, a server that requires it ends the session; the error quotes its alert."""
        creator, session = self.connect(self.requesting_server(self.ca.issue(HOST.host)))
        self.assertEqual(session.server.received, b"")
        assert session.client.lost is not None
        self.assertIn("certificate_required", creator.explain(session.client.lost).reason)

    def test_not_sent_to_other_servers(self) -> None:
        """An unverified server gets no information about the client."""
        self.trust = self.trust_with(self.path)
        self.failed(self.requesting_server(self.ca.issue("other.example")))
        self.assertEqual(self.shown, [])

    def test_missing(self) -> None:
        """A file that does not exist."""
        self.refused(None, "No such file")

    def test_no_certificate(self) -> None:
        """A file with only a key."""
        self.refused(self.mine.key_pem, "contains no PEM certificate")

    def test_no_key(self) -> None:
        """A file with only a certificate, and one with a damaged key."""
        self.refused(self.mine.certificate_pem, "contains no readable PEM key")
        damaged = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        self.refused(self.mine.certificate_pem + damaged, "contains no readable PEM key")

    def test_encrypted(self) -> None:
        """A key with a passphrase: the proxy prompts for none."""
        key = self.mine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        self.refused(self.mine.certificate_pem + key, "encrypted", "openssl pkey")

    def test_wrong_key(self) -> None:
        """The key of another certificate, of the same kind, of another kind, and of a kind that cannot sign."""
        exchange = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for key in (key_pem_of(new_key()), key_pem_of(rsa.generate_private_key(65537, 2048)), exchange):
            self.refused(self.mine.certificate_pem + key, "does not belong to its first certificate")

    def test_weak(self) -> None:
        """A key that OpenSSL rejects."""
        weak = self.ca.issue("runner-7", usage=CLIENT, key=rsa.generate_private_key(65537, 1024))
        self.refused(weak.certificate_pem + weak.key_pem, "too weak")


class ExtraFileTests(TrustTestCase):
    """An invalid file with extra CAs: one line with the file and the remedy."""

    def refused(self, content: bytes | None, *words: str) -> None:
        path = self.directory / "bad.pem"
        if content is not None:
            path.write_bytes(content)
        error = self.assertRaises(TrustError, OriginTrust, path)
        self.assertTrue(error.reason.startswith(f"{path}: "), error.reason)
        self.assertEqual(str(error), error.reason)
        self.assertNotIn("\n", error.reason)
        for word in words:
            self.assertIn(word, error.reason)

    def test_missing(self) -> None:
        """A file that does not exist."""
        self.refused(None, "No such file", "specify a readable PEM file")

    def test_directory(self) -> None:
        """A directory."""
        (self.directory / "bad.pem").mkdir()
        self.refused(None, "Is a directory")

    def test_no_certificate(self) -> None:
        """An empty file, text, a key, and a certificate as DER."""
        der = self.ca.certificate.public_bytes(Encoding.DER)
        for content in (b"", b"these are our roots\n", key_pem_of(new_key()), der):
            self.refused(content, "contains no PEM certificate", "openssl x509 -inform der")

    def test_damaged(self) -> None:
        """A valid certificate and an invalid one."""
        damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.refused(self.ca.pem + damaged, "damaged", "replace")

    def test_truncated(self) -> None:
        """A file without its end."""
        self.refused(self.ca.pem + self.ca.pem[:200], "truncated")


class OriginPolicyTests(TrustTestCase):
    """Hosts with their own settings."""

    def trust_with(self, **terms: object) -> None:
        hosts = (HostPattern.parse("*.example.com", suffix=False),)
        self.trust = OriginTrust(self.directory / "ca.pem", origins=[OriginTlsPolicy(hosts=hosts, **terms)])  # type: ignore[arg-type]

    def test_client_certificate(self) -> None:
        """It is sent to these hosts only."""
        shown: list[str] = []

        def note(_: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
            shown.append(certificate.to_cryptography().subject.rfc4514_string())
            return True

        self.trust_with(client_certificate=self.ca.issue(usage=CLIENT, subject="us").write_combined(self.directory))
        for host, expected in ((HOST.host, ["CN=us"]), ("api.example.org", [])):
            context = self.ca.issue(host).server_context()
            context.set_verify(SSL.VERIFY_PEER, note)
            self.accepted(context, Authority(host, 443))
            self.assertEqual([*dict.fromkeys(shown)][-1:], expected)
            shown.clear()

    def test_http2(self) -> None:
        """The setting of a host has precedence over the default, and the error names the reason for HTTP/1.1."""
        hosts = (HostPattern.parse("*.example.com", suffix=False),)
        protocols = (b"h2", b"http/1.1")
        failure = Failure(SSL.Error([("SSL routines", "", "tlsv1 alert no application protocol")]))
        seen: list[list[bytes]] = []

        def select(_: SSL.Connection, found: list[bytes]) -> bytes:
            seen.append(found)
            return found[0]

        for default, setting, offered in (
            (True, None, True),
            (False, None, False),
            (True, False, False),
            (False, True, True),
        ):
            origins = [] if setting is None else [OriginTlsPolicy(hosts=hosts, http2=setting)]
            trust = OriginTrust(self.directory / "ca.pem", origins=origins, http2=default)
            context = self.ca.issue(HOST.host).server_context()
            seen.clear()
            context.set_alpn_select_callback(select)
            creator = trust.connection_creator(HOST, protocols)
            Session(creator, ServerTls(context), SECRET).run()
            self.assertEqual(seen, [[b"h2", b"http/1.1"] if offered else [b"http/1.1"]])
            if offered:
                self.assertIs(type(creator.explain(failure)), OriginTlsFailed)
                reason = trust.connection_creator(HOST, protocols[1:]).explain(failure).reason
                self.assertIn("it cannot carry an upgrade", reason)
            else:
                self.assertIn("turned off", creator.explain(failure).reason)

    def test_minimum_version(self) -> None:
        """A server that is too old for one host is acceptable for another."""
        self.trust_with(minimum_version=SSL.TLS1_3_VERSION)
        for host, good in ((HOST.host, False), ("api.example.org", True)):
            context = self.ca.issue(host).server_context()
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            if good:
                self.accepted(context, Authority(host, 443))
            else:
                error = self.failed(context, Authority(host, 443))
                self.assertIn("rejected it with the alert protocol_version", error.reason)
        self.accepted(self.ca.issue(HOST.host))

    def test_response_with_an_old_version(self) -> None:
        """A server that responds with a version that was not offered."""
        self.trust_with(minimum_version=SSL.TLS1_3_VERSION)
        creator = self.trust.connection_creator(HOST)
        error = SSL.Error([("SSL routines", "", "unsupported protocol")])
        self.assertIn("does not support TLS 1.3 or later", creator.explain(Failure(error)).reason)

    def test_pinned_ca(self) -> None:
        """Neither the system's roots nor the extra ones apply to such a host, and its CA applies to no other host."""
        pinned = TestCA("Pinned")
        roots = TestCA("System root")
        environment = {"SSL_CERT_FILE": str(roots.write(self.directory, "roots")), "SSL_CERT_DIR": ""}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        self.trust_with(ca=pinned.write(self.directory, "pinned"))
        self.accepted(pinned.issue(HOST.host))
        for other in (self.ca, roots):
            reason = self.rejected(other.issue(HOST.host), "is not trusted", "the CAs in --origin-tls")
            self.assertNotIn(HINT, reason)
        elsewhere = Authority("api.example.org", 443)
        self.accepted(roots.issue(elsewhere.host), elsewhere)
        self.rejected(pinned.issue(elsewhere.host), HINT, authority=elsewhere)

    def test_names_are_verified_with_a_pinned_ca(self) -> None:
        """A pinned CA does not disable the verification of names."""
        pinned = TestCA("Pinned")
        self.trust_with(ca=pinned.write(self.directory, "pinned"))
        self.rejected(pinned.issue("other.example.com"), "for another host")
        self.rejected(pinned.issue(HOST.host, expired=True), "has expired")

    def test_first_match_applies(self) -> None:
        """If several settings match a host, the first applies."""
        host, all_hosts = (HostPattern.parse(text, suffix=False) for text in (HOST.host, "*.example.com"))
        one, two = TestCA("one"), TestCA("two")
        self.trust = OriginTrust(
            self.ca.write(self.directory),
            origins=[
                OriginTlsPolicy(hosts=(host,), ca=one.write(self.directory, "one")),
                OriginTlsPolicy(hosts=(all_hosts,), ca=two.write(self.directory, "two")),
            ],
        )
        for name, trusted in ((HOST.host, one), ("b.example.com", two), ("c", self.ca)):
            for ca in (one, two, self.ca):
                authority = Authority(name, 443)
                if ca is trusted:
                    self.accepted(ca.issue(name), authority)
                else:
                    self.rejected(ca.issue(name), "is not trusted", authority=authority)

    def test_invalid_files(self) -> None:
        """They are detected at the start."""
        missing = self.directory / "missing.pem"
        for terms in ({"ca": missing}, {"client_certificate": missing}):
            error = self.assertRaises(TrustError, self.trust_with, **terms)
            self.assertTrue(error.reason.startswith(f"{missing}: "))


class StapleTests(TrustTestCase):
    """Stapled responses of servers."""

    def stapling(self, server: TestCertificate, response: bytes, version: int = SSL.TLS1_3_VERSION) -> SSL.Context:
        context = server.server_context()
        context.set_max_proto_version(version)
        context.set_ocsp_server_callback(lambda _, __: response)
        return context

    def test_good_status(self) -> None:
        """A good status is accepted, and so is a missing one."""
        server = self.ca.issue(HOST.host)
        for response in (staple.made(self.ca, server.certificate), b""):
            self.accepted(self.stapling(server, response))

    def test_revoked(self) -> None:
        """The certificate is rejected in each version of TLS, and no data is sent."""
        for issuer in (self.ca, TestCA("Middle", self.ca)):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                server = issuer.issue(HOST.host)
                response = staple.made(issuer, server.certificate, staple.REVOKED)
                error = self.failed(self.stapling(server, response, version))
                self.assertIs(type(error), OriginCertificateInvalid)
                self.assertIn(f"the certificate of {HOST} was revoked on ", error.reason)

    def test_must_staple(self) -> None:
        """A certificate that requires a stapled response."""
        server = self.ca.issue(HOST.host, extensions=(staple.FEATURE,))
        self.accepted(self.stapling(server, staple.made(self.ca, server.certificate)))
        for context in (self.stapling(server, b""), self.stapling(server, b"garbage"), server.server_context()):
            error = self.failed(context)
            self.assertIs(type(error), OriginCertificateInvalid)
            self.assertIn("requires a stapled revocation status", error.reason)

    def test_garbage(self) -> None:
        """An invalid response is treated as a missing one."""
        self.accepted(self.stapling(self.ca.issue(HOST.host), b"garbage"))

    def test_server_certificate_as_anchor(self) -> None:
        """A server's own certificate as a trust anchor: no issuer can revoke it."""
        alone = self_signed(HOST.host)
        self.trust = self.trusting(alone.certificate_pem)
        self.accepted(self.stapling(alone, b"garbage"))

    def test_unexpected_error(self) -> None:
        """No exception is raised into OpenSSL, and the session fails."""

        def broken(*_: object) -> None:
            raise RuntimeError("no\nway")

        self.patch(trust, "staple_fault", broken)
        server = self.ca.issue(HOST.host)
        self.rejected(server, "has a revocation status that cannot be verified (no?way)")

    def test_no_certificate(self) -> None:
        """Without a certificate the stapled response is not checked."""
        connection = self.connection()
        self.assertTrue(connection.verify_staple(b"garbage"))
        self.assertNotIsInstance(self.handshake_error(connection), CertificateRejected)
