"""CAs and server certificates for tests, valid and invalid.  All keys are ECDSA P-256, which are cheap to make."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import read_certificates

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH

_DAY = timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem_of(key: Key) -> bytes:
    """Return a private key as unencrypted PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def common_name(text: str) -> x509.Name:
    """Return a name that has only a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def general_name(text: str) -> x509.GeneralName:
    """Return a host name or an address as a subject alternative name."""
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@attrs.frozen
class TestCertificate:
    """A certificate, its key, and the intermediate certificates that a server sends with it."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        """Return the certificate, followed by the chain."""
        return b"".join(map(pem_of, (self.certificate, *self.chain)))

    @property
    def key_pem(self) -> bytes:
        """Return the key."""
        return key_pem_of(self.key)

    def write(self, directory: Path, name: str = "server") -> tuple[Path, Path]:
        """Write C{name.pem} (certificate and chain) and C{name-key.pem}.

        @return: the two paths.
        """
        certificate, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
        certificate.write_bytes(self.certificate_pem)
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        return certificate, key

    def write_combined(self, directory: Path, name: str = "client") -> Path:
        """Write C{name.pem} with certificate, chain and key in one file."""
        path = directory / f"{name}.pem"
        path.write_bytes(self.certificate_pem + self.key_pem)
        path.chmod(0o600)
        return path

    def server_context(self) -> SSL.Context:
        """Return a server context, whose settings can still be changed."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self.certificate)
        for issuer in self.chain:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(self.key)
        return context


class TestCA:
    """A root CA, or with a parent an intermediate CA.

    @ivar now: the time around which all its certificates are valid; the real one, because OpenSSL uses the real clock.
    """

    now: datetime
    certificate: x509.Certificate

    def __init__(
        self,
        name: str = "Test CA",
        parent: TestCA | None = None,
        *,
        now: datetime | None = None,
        expired: bool = False,
        path_length: int | None = None,
        ca: bool = True,
    ) -> None:
        self.now = now or (parent.now if parent else datetime.now(timezone.utc))
        self.key = new_key()
        self.parent = parent
        begin, end = _validity(self.now, expired, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name(name))
            .issuer_name(parent.certificate.subject if parent else common_name(name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        self.certificate = builder.sign(parent.key if parent else self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Return the CA's certificate."""
        return pem_of(self.certificate)

    def write(self, directory: Path, name: str = "ca") -> Path:
        """Write the CA's certificate to C{name.pem}."""
        path = directory / f"{name}.pem"
        path.write_bytes(self.pem)
        return path

    def issue(
        self,
        *names: str,
        expired: bool = False,
        not_yet_valid: bool = False,
        usage: x509.ObjectIdentifier = SERVER,
        key: Key | None = None,
        subject: str = "a test",
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    ) -> TestCertificate:
        """Sign a certificate.

        @param names: host names and addresses; without any, there are no subject alternative names.
        @param extensions: additional ones, each with whether it is critical.
        """
        key = key or new_key()
        begin, end = _validity(self.now, expired, not_yet_valid)
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False
            )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        chain: list[x509.Certificate] = []
        ca: TestCA = self
        while ca.parent is not None:
            chain.append(ca.certificate)
            ca = ca.parent
        return TestCertificate(builder.sign(self.key, hashes.SHA256()), key, tuple(chain))


def _validity(now: datetime, expired: bool, not_yet_valid: bool) -> tuple[datetime, datetime]:
    if expired:
        return now - 30 * _DAY, now - _DAY
    if not_yet_valid:
        return now + _DAY, now + 30 * _DAY
    return now - _DAY, now + 30 * _DAY


def published(directory: CaDirectory) -> list[x509.Certificate]:
    """Return the CA certificates in the file for the clients."""
    return read_certificates(directory.certificate_path.read_bytes())


def self_signed(*names: str, key: Key | None = None) -> TestCertificate:
    """Make a self-signed server certificate."""
    key = key or new_key()
    now = datetime.now(timezone.utc)
    begin, end = _validity(now, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name("a self-signed test"))
        .issuer_name(common_name("a self-signed test"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
    )
    return TestCertificate(builder.sign(key, hashes.SHA256()), key)
