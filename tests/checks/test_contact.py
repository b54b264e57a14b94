"""Tests for L{egress.checks.contact}, with sockets in memory."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from egress.checks import contact as module
from egress.checks.contact import accepts, proxy_contact, server_contact, upstream_contact
from egress.model.authority import Authority, UpstreamHop, UpstreamProxy
from tests.certificates import TestCA

OWN = 'Proxy-Status: egressproxy; details="x"\r\n'


class Stream:
    """A connection whose other side responds with the given pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.sent = b""
        self.closed = False
        self.pieces = list(pieces)

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tls(Stream):
    """The TLS layer over a connection."""

    def __init__(self, stream: Stream, certificate: bytes) -> None:
        super().__init__(*stream.pieces)
        self._certificate = certificate

    def getpeercert(self, binary_form: bool) -> bytes:
        return self._certificate


class Context:
    """A TLS context."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.certificate = b""

    def wrap_socket(self, stream: Stream, server_hostname: str) -> Tls:
        self.names.append(server_hostname)
        return Tls(stream, self.certificate)


def response(status: int, fields: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode()


class ContactTests(SynchronousTestCase):
    """Contacts with servers that respond in different ways."""

    def setUp(self) -> None:
        self.streams: list[Any] = []
        self.connected: list[tuple[str, int]] = []
        self.context = Context()
        self.patch(socket, "create_connection", self.connect)
        self.patch(module, "unverified", lambda: self.context)

    def connect(self, address: tuple[str, int], timeout: float) -> Stream:
        self.assertEqual(timeout, 5.0)
        self.connected.append(address)
        stream = self.streams[len(self.connected) - 1]
        if isinstance(stream, Exception):
            raise stream
        assert isinstance(stream, Stream)
        return stream

    def contact(self, *pieces: bytes, url: str = "http://proxy.test:8080") -> module.Contact:
        self.streams = [Stream(*pieces)]
        return proxy_contact(url, 5.0)

    def test_the_proxy(self) -> None:
        leaf = TestCA().issue("egressproxy.invalid").certificate
        self.context.certificate = leaf.public_bytes(Encoding.DER)
        self.streams = [Stream(response(200, OWN)[:9], response(200, OWN)[9:]), Stream(response(200))]
        found = proxy_contact("http://ci:a%20b@proxy.test:8080", 5.0)
        self.assertEqual((found.error, found.status, found.egressproxy, found.tunnel_status), (None, 200, True, 200))
        self.assertEqual(found.leaf, leaf)
        self.assertEqual(self.connected, [("proxy.test", 8080)] * 2)
        self.assertEqual(self.context.names, ["egressproxy.invalid"])
        first, second = (stream.sent for stream in self.streams)
        self.assertTrue(first.startswith(b"GET http://egressproxy.invalid/ HTTP/1.1\r\nHost: egressproxy.invalid\r\n"))
        self.assertTrue(second.startswith(b"CONNECT egressproxy.invalid:443 HTTP/1.1\r\n"))
        for sent in (first, second):
            self.assertIn(b"\r\nProxy-Authorization: Basic Y2k6YSBi\r\n", sent)
        self.assertTrue(all(stream.closed for stream in self.streams))

    def test_a_rejected_tunnel(self) -> None:
        self.streams = [Stream(response(200, OWN)), Stream(response(403, OWN))]
        found = proxy_contact("http://proxy.test:8080", 5.0)
        self.assertEqual((found.status, found.tunnel_status, found.leaf), (200, 403, None))
        self.assertNotIn(b"Proxy-Authorization", self.streams[0].sent)

    def test_a_tunnel_that_fails(self) -> None:
        """The proxy responds, but cannot issue a certificate."""
        for second in (Stream(b""), Stream(response(200))):
            self.streams, self.connected = [Stream(response(200, OWN)), second], []
            found = proxy_contact("http://proxy.test:8080", 5.0)
            self.assertEqual((found.error, found.status, found.leaf), (None, 200, None))
            self.assertIsNotNone(found.tunnel_error)

    def test_a_proxy_with_tls(self) -> None:
        """TLS inside TLS is not examined."""
        found = self.contact(response(200, OWN), url="https://proxy.test")
        self.assertEqual((found.status, found.egressproxy, found.leaf), (200, True, None))
        self.assertEqual((self.connected, self.context.names), ([("proxy.test", 443)], ["proxy.test"]))

    def test_other_servers(self) -> None:
        found = self.contact(response(404, "Server: x\r\n"))
        self.assertEqual((found.status, found.egressproxy, found.ahead), (404, False, None))
        for pieces in (
            (b"SSH-2.0-x\r\n\r\n",),
            (b"HTTP/1.1 abc\r\n\r\n",),
            (b"HTTP/1.1 200",),
            (b"x" * 4096,) * 20,
            (),
        ):
            self.connected.clear()
            self.assertEqual(self.contact(*pieces).error, "the server did not respond with HTTP")

    def test_failures(self) -> None:
        for error, text in (
            (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
            (TimeoutError("timed out"), "no response in time"),
            (OSError("no strerror"), "no strerror"),
            (OSError(), "OSError"),
        ):
            self.connected.clear()
            self.streams = [error]
            self.assertEqual(proxy_contact("http://proxy.test:8080", 5.0).error, text)

    def test_clock(self) -> None:
        now = datetime.now(timezone.utc)
        for date, ahead in (
            (format_datetime(now + timedelta(hours=1), usegmt=True), 3600),
            (format_datetime(now - timedelta(days=1), usegmt=True), -86400),
            (format_datetime(now, usegmt=True), 0),
            (f"{now - timedelta(hours=1):%a, %d %b %Y %H:%M:%S} -0000", -3600),
        ):
            with self.subTest(date):
                self.streams = [Stream(response(200, f"Date: {date}\r\n"))]
                self.connected.clear()
                found = server_contact("http://service.test/validate?x", 5.0)
                self.assertLess(abs((found.ahead or 0.0) - ahead), 3)
        self.assertTrue(self.streams[0].sent.startswith(b"HEAD /validate HTTP/1.1\r\nHost: service.test\r\n"))
        self.assertEqual(self.connected, [("service.test", 80)])

    def test_no_clock(self) -> None:
        for fields in ("", "Date: yesterday\r\n"):
            self.streams = [Stream(response(401, fields))]
            self.connected.clear()
            found = server_contact("https://service.test", 5.0)
            self.assertEqual((found.status, found.ahead), (401, None))
        self.streams, self.connected = [OSError("down")], []
        self.assertEqual(server_contact("http://service.test", 5.0).error, "down")

    def test_upstream(self) -> None:
        upstream = UpstreamProxy("https", Authority("up.test", 3129), b"Basic xyz")
        self.streams = [Stream(response(502))]
        found = upstream_contact(upstream, 5.0)
        self.assertEqual((found.status, found.error), (502, None))
        self.assertEqual((self.connected, self.context.names), ([("up.test", 3129)], ["up.test"]))
        self.streams, self.connected = [OSError("down")], []
        self.assertEqual(upstream_contact(upstream, 5.0).error, "down")

    def test_socks_upstream(self) -> None:
        """It must accept the credentials; no connection is requested."""
        upstream = UpstreamProxy("socks5h", Authority("up.test", 1080), b"Basic " + b64encode(b"ci:s3cret"))
        greeting = b"\x05\x02\x00\x02"
        login = greeting + b"\x01\x02ci\x06s3cret"
        for pieces, error, sent in (
            ([b"\x05", b"\x00"], None, greeting),
            ([b"\x05\x02", b"\x01\x00"], None, login),
            ([b"\x05\x02", b"\x01\x01"], "rejects the name or the password", login),
            ([b"HTTP/1.1 400 x"], "did not respond with SOCKS5", greeting),
            ([], "closed the connection", greeting),
        ):
            with self.subTest(pieces):
                stream = Stream(*pieces)
                self.streams, self.connected = [stream], []
                found = upstream_contact(upstream, 5.0)
                self.assertEqual((found.error is None, stream.sent, stream.closed), (error is None, sent, True))
                self.assertIn(error or "", found.error or "")

    def test_chain(self) -> None:
        second = Authority("second.test", 3128)
        established = b"HTTP/1.1 200 OK\r\n\r\n"
        for scheme, first, pieces, expected, names in (
            ("http", "http", [established, response(502)], (502, None), []),
            ("https", "http", [established, response(502)], (502, None), ["second.test"]),
            ("http", "socks5h", [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6), response(502)], (502, None), []),
            ("socks5h", "https", [established, b"\x05\x00"], (None, None), ["up.test"]),
            ("https", "https", [established], (200, None), ["up.test"]),
        ):
            with self.subTest(scheme, first=first):
                self.streams, self.connected, self.context.names = [Stream(*pieces)], [], []
                upstream = UpstreamProxy(scheme, second, None, UpstreamHop(first, Authority("up.test", 3129)))
                found = upstream_contact(upstream, 5.0)
                self.assertEqual((found.status, found.error), expected)
                self.assertEqual((self.connected, self.context.names), ([("up.test", 3129)], names))
        for status, fields, error in (
            (502, 'Proxy-Status: egressproxy; error=x; details="refused"', "refused"),
            (502, "Proxy-Status: egressproxy; error=x", "status 502"),
            (502, 'Proxy-Status: squid; details="refused"', None),
            (407, "Proxy-Status: egressproxy; error=x", None),
            (200, "Proxy-Status: egressproxy; error=x", None),
        ):
            with self.subTest(status, fields=fields):
                self.streams, self.connected = [Stream(established, response(status, f"{fields}\r\n"))], []
                upstream = UpstreamProxy("http", second, None, UpstreamHop("http", Authority("up.test", 3129)))
                found = upstream_contact(upstream, 5.0)
                self.assertEqual((found.status, found.error), (status, error))
        self.streams, self.connected = [Stream(response(403))], []
        upstream = UpstreamProxy("http", second, None, UpstreamHop("http", Authority("up.test", 3129)))
        self.assertIn("the upstream proxy up.test:3129 refused", upstream_contact(upstream, 5.0).error or "")

    def test_direct(self) -> None:
        """Any server can be reached, but not one that is the proxy: a gateway redirects the connection."""
        redirected = 'Proxy-Status: egressproxy; error=x; details="y"\r\n'
        self.streams = [Stream(), Stream(response(400)), ConnectionRefusedError(), Stream(response(421, redirected))]
        self.assertEqual([accepts("192.0.2.1", 443, 5.0) for _ in self.streams], [True, True, False, False])
        self.assertTrue(self.streams[0].sent.startswith(b"GET / HTTP/1.1\r\nHost: egressproxy.invalid\r\n"))


class VerificationTests(SynchronousTestCase):
    """The context, which carries no secret."""

    def testunverified(self) -> None:
        context = module.unverified()
        self.assertEqual((context.check_hostname, context.verify_mode), (False, ssl.CERT_NONE))
