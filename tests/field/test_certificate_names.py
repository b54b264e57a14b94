"""A certificate with one unparsable name next to the right one (C{pyca/service-identity#35})."""

from __future__ import annotations

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.origin_trust import OriginTrust
from egress.transport.tls import ServerTls
from tests.certificates import TestCA
from tests.files import make_directory
from tests.tls.sessions import Session

REQUEST = b"GET / HTTP/1.1\r\n\r\n"

UNPARSABLE: tuple[x509.GeneralName, ...] = (
    x509.DNSName("192.0.2.7"),
    x509.DNSName("2001:db8::1"),
    x509.DNSName("*"),
    x509.DNSName("*.lan"),
    x509.DNSName("a.*.b"),
    x509.DNSName("*.*.example.com"),
    x509.DNSName("*..example.com"),
    x509.DNSName(""),
    x509.DNSName("80"),
    x509.UniformResourceIdentifier("https://api.example.com/path"),
    x509.UniformResourceIdentifier("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
    x509.UniformResourceIdentifier("spiffe://example.com/web"),
    x509.UniformResourceIdentifier("not a uri"),
    x509.RFC822Name("admin@example.com"),
    x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")),
    x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x04\x01x"),
    x509.DirectoryName(x509.Name([])),
)


class CertificateNamesTests(SynchronousTestCase):
    """The names of a certificate that are used."""

    def setUp(self) -> None:
        directory = make_directory(self)
        self.ca = TestCA()
        self.trust = OriginTrust(self.ca.write(directory))

    def refusal(self, host: str, *names: x509.GeneralName) -> str | None:
        """Connect to a server with these names.

        @return: the reason why its certificate is rejected; C{None} when the request arrived.
        """
        server = self.ca.issue(extensions=((x509.SubjectAlternativeName(names), False),))
        creator = self.trust.connection_creator(Authority(host, 443))
        session = Session(creator, ServerTls(server.server_context()), REQUEST).run()
        if session.server.received == REQUEST:
            return None
        self.assertEqual(session.server.received, b"")
        assert session.client.lost is not None
        return creator.explain(session.client.lost).reason

    def test_next_to_the_right_name(self) -> None:
        """An unparsable name before or after the right one changes nothing."""
        right = x509.DNSName("api.example.com")
        for name in UNPARSABLE:
            with self.subTest(name=name):
                self.assertIsNone(self.refusal("api.example.com", name, right))
                self.assertIsNone(self.refusal("api.example.com", right, name))

    def test_only_unparsable_names(self) -> None:
        """A certificate with only an unparsable name matches no host."""
        for name in UNPARSABLE:
            with self.subTest(name=name):
                reason = self.refusal("api.example.com", name)
                assert reason is not None
                self.assertRegex(reason, "contains no (valid )?host name")

    def test_no_name_matches(self) -> None:
        """With no match, both the readable and the ignored names are in the reason."""
        reason = self.refusal("api.example.com", x509.DNSName("*"), x509.DNSName("other.example"))
        self.assertEqual(
            reason,
            "the certificate of api.example.com:443 is for another host: other.example; ignored invalid names: *",
        )

    def test_the_apparent_meaning_of_an_unparsable_name(self) -> None:
        """An ignored name never matches the host that it appears to name."""
        for host, name in (
            ("printer.lan", "*.lan"),
            ("a.x.b", "a.*.b"),
            ("localhost", "*"),
            ("192.0.2.7", "192.0.2.7"),
        ):
            with self.subTest(host=host):
                self.assertIsNotNone(self.refusal(host, x509.DNSName(name), x509.DNSName("other.example")))
