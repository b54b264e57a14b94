"""Tests for L{egress.tls.client_hello}."""

from __future__ import annotations

from collections.abc import Sequence

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.model.client_tls import LeafKey
from egress.tls.client_hello import ClientHello, MalformedHello, read_client_hello

# Cipher suites by their numbers in the TLS registry.
ECDSA_GCM, RSA_GCM, ECDSA_CBC, ECDSA_CCM, RSA_CBC, TLS13 = 0xC02B, 0xC02F, 0xC009, 0xC0AC, 0xC013, 0x1301
P256, P384, X25519 = 23, 24, 29
ECDSA_SHA256, ECDSA_SHA384, RSA_PSS, RSA_PKCS1 = 0x0403, 0x0503, 0x0804, 0x0401


def vector(size: int, data: bytes) -> bytes:
    """Add a length prefix."""
    return len(data).to_bytes(size, "big") + data


def numbers(values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def message(
    suites: Sequence[int] = (ECDSA_GCM,),
    groups: Sequence[int] | None = None,
    signatures: Sequence[int] | None = None,
    versions: Sequence[int] | None = None,
    protocols: Sequence[bytes] | None = None,
) -> bytes:
    """Create a ClientHello."""
    extensions = b""
    for kind, body in (
        (0, b""),
        (10, None if groups is None else vector(2, numbers(groups))),
        (13, None if signatures is None else vector(2, numbers(signatures))),
        (43, None if versions is None else vector(1, numbers(versions))),
        (16, None if protocols is None else vector(2, b"".join(vector(1, each) for each in protocols))),
    ):
        if body is not None:
            extensions += numbers([kind]) + vector(2, body)
    hello = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, numbers(suites)) + vector(1, b"\0")
    return b"\x01" + vector(3, hello + vector(2, extensions))


def record(data: bytes) -> bytes:
    return b"\x16\x03\x01" + vector(2, data)


def read(*arguments: Sequence[int] | None) -> ClientHello:
    hello = read_client_hello(record(message(*arguments)))  # type: ignore[arg-type]
    assert hello is not None
    return hello


class KeyTests(SynchronousTestCase):
    """The kind of key that a client accepts."""

    def test_tls_1_2(self) -> None:
        for suites, groups, signatures, key in (
            ([ECDSA_GCM, RSA_GCM], [X25519, P256], [ECDSA_SHA256, RSA_PSS], LeafKey.P256),
            ([ECDSA_GCM], None, None, LeafKey.P256),
            ([RSA_GCM], [P256], [ECDSA_SHA256, RSA_PSS], LeafKey.RSA),
            ([RSA_CBC], [P256], None, LeafKey.RSA),
            ([ECDSA_GCM, RSA_GCM], [P256], [RSA_PSS, RSA_PKCS1], LeafKey.RSA),
            ([ECDSA_GCM], [P384], [ECDSA_SHA384], LeafKey.P384),
            ([ECDSA_GCM, RSA_GCM], [P384], [ECDSA_SHA384, RSA_PSS], LeafKey.P384),
            ([ECDSA_GCM, RSA_GCM], [X25519], None, LeafKey.RSA),
            ([ECDSA_CBC], [P256], None, LeafKey.P256),
            ([ECDSA_CCM], [P256], None, LeafKey.P256),
            # A suite with AEAD is preferred over one without.
            ([ECDSA_CBC, RSA_GCM], [P256], None, LeafKey.RSA),
            ([ECDSA_CBC, RSA_CBC], [P256], None, LeafKey.P256),
        ):
            with self.subTest(suites=suites, groups=groups, signatures=signatures):
                self.assertIs(read(suites, groups, signatures).key, key)

    def test_tls_1_3(self) -> None:
        for signatures, key in (
            ([ECDSA_SHA256, RSA_PSS], LeafKey.P256),
            ([RSA_PSS, ECDSA_SHA384], LeafKey.P384),
            ([RSA_PSS], LeafKey.RSA),
        ):
            with self.subTest(signatures=signatures):
                self.assertIs(read([TLS13], [X25519], signatures, [0x0304, 0x0303]).key, key)
        self.assertIs(read([TLS13, ECDSA_GCM], None, None, [0x0304]).key, LeafKey.P256)

    def test_protocols(self) -> None:
        data = record(message(protocols=[b"h2", b"http/1.1"]))
        hello = read_client_hello(data)
        assert hello is not None
        self.assertEqual(hello.protocols, (b"h2", b"http/1.1"))
        self.assertEqual(read().protocols, ())

    def test_no_extensions(self) -> None:
        """A message from before TLS 1.2."""
        hello = b"\x03\x01" + bytes(32) + vector(1, b"") + vector(2, numbers([RSA_CBC])) + vector(1, b"\0")
        found = read_client_hello(record(b"\x01" + vector(3, hello)))
        assert found is not None
        self.assertEqual((found.key, found.protocols), (LeafKey.RSA, ()))

    def test_openssl(self) -> None:
        """The message of OpenSSL."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_alpn_protos([b"h2"])
        connection.set_connect_state()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        data = connection.bio_read(1 << 16)
        found = read_client_hello(data)
        assert found is not None
        self.assertEqual((found.key, found.protocols), (LeafKey.P256, (b"h2",)))


class BytesTests(SynchronousTestCase):
    """The boundaries of the message."""

    def test_fragments(self) -> None:
        whole = message(protocols=[b"h2"])
        for data in (record(whole), record(whole[:1]) + record(whole[1:3]) + record(whole[3:50]) + record(whole[50:])):
            for end in range(len(data)):
                self.assertIsNone(read_client_hello(data[:end]))
            expected = read_client_hello(data)
            self.assertEqual(read_client_hello(data + record(b"more")), expected)
            self.assertIsNotNone(expected)

    def test_malformed(self) -> None:
        whole = message(protocols=[b"h2"], groups=[P256])
        for data in (
            b"\x17\x03\x01\x00\x05hello",
            b"\x16\x03\x01\x00\x00",
            record(b"\x02" + whole[1:]),
            # A message that announces more bytes than any client sends.
            record(b"\x01\x00\x80\x00"),
            # An unlimited number of small records.
            record(b"\x01") + record(b"\x00") + b"".join(record(b"\x01") for _ in range(20)),
            record(b"\x01" + vector(3, b"\x03\x03")),
            record(
                b"\x01" + vector(3, b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"abc") + vector(1, b"\0"))
            ),
            record(b"\x01" + vector(3, whole[4:-1])),
        ):
            with self.subTest(data=data):
                self.assertRaises(MalformedHello, read_client_hello, data)

    def test_malformed_extensions(self) -> None:
        start = b"\x03\x03" + bytes(33) + vector(2, numbers([ECDSA_GCM])) + vector(1, b"\0")
        for extensions in (
            b"\x00",
            b"\x01\x00",
            vector(2, b"\x00"),
            vector(2, numbers([99]) + b"\x00\x10"),
            vector(2, numbers([10]) + vector(2, b"\x00\x03\x00\x17")),
            vector(2, numbers([10]) + vector(2, b"\x00\x03\x00\x17\x00")),
            vector(2, numbers([13]) + vector(2, b"")),
            vector(2, numbers([43]) + vector(2, b"\x03\x03\x04\x03")),
            vector(2, numbers([16]) + vector(2, b"\x00\x03\x09h2")),
        ):
            with self.subTest(extensions=extensions):
                self.assertRaises(MalformedHello, read_client_hello, record(b"\x01" + vector(3, start + extensions)))
        read_client_hello(record(b"\x01" + vector(3, start + vector(2, numbers([16]) + vector(2, b"")))))

    def test_server_name(self) -> None:
        """RFC 6066 section 3."""
        name = b"\x00" + vector(2, b"a.test")
        for body, expected in (
            (vector(2, name), b"a.test"),
            (vector(2, name + b"\x00" + vector(2, b"b.test")), b"a.test"),
            (vector(2, b"\x01" + vector(2, b"a.test")), None),
            (vector(2, b"\x00" + vector(2, b"")), None),
            (vector(2, name)[:-1], None),
            (b"", None),
            (None, None),
        ):
            with self.subTest(body=body):
                self.assertEqual(ClientHello(LeafKey.P256, (), body).server_name, expected)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        connection = SSL.Connection(context, None)
        connection.set_tlsext_host_name(b"openssl.test")
        connection.set_connect_state()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        hello = read_client_hello(connection.bio_read(65536))
        assert hello is not None
        self.assertEqual(hello.server_name, b"openssl.test")

    def test_first_record_is_sufficient(self) -> None:
        """Another handshake message is rejected before it is complete."""
        self.assertRaises(MalformedHello, read_client_hello, record(b"\x02" + bytes(100))[:20])
