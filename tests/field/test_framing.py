"""Chunk sizes and field lines as servers and clients send them.

Reports of this class: python-hyper/h11#143 and valyala/fasthttp#372 (white space after a chunk size),
apache/trafficserver#11073 (white space before an extension), dotnet/corefx#9208 (white space before the colon of a
response field).
"""

from __future__ import annotations

from tests.proxy.fakes import ProxyTestCase, content_of, request, status_of

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ChunkTests(ProxyTestCase):
    """Chunks are parsed as intended, and written in their canonical form."""

    def upload(self, content: bytes) -> bytes:
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + content)
        return self.origin.take().partition(b"\r\n\r\n")[2] if self.dialer.origins else b""

    def test_extensions_of_a_request(self) -> None:
        for size in (b"5 ;a=b", b"5; a=b", b"5;a=b", b'5\t;\ta = "b"'):
            with self.subTest(size):
                self.setUp()
                self.assertEqual(self.upload(size + b"\r\nhello\r\n0 ;c\r\n\r\n"), b"5\r\nhello\r\n0\r\n\r\n")

    def test_a_padded_size_in_a_request_is_rejected(self) -> None:
        for size in (b"5 ", b"0" * 15 + b"5", b"5 0", b"5;"):
            with self.subTest(size):
                self.setUp()
                self.assertEqual(self.upload(size + b"\r\nhello\r\n0\r\n\r\n"), b"")
                self.assertEqual(status_of(self.client.take()), 400)

    def test_sizes_in_a_response(self) -> None:
        for size in (b"5 ;a=b", b"5; a=b", b"5 ", b"0" * 30 + b"5", b"0005 \t"):
            with self.subTest(size):
                self.setUp()
                self.client.feed(request())
                self.origin.feed(CHUNKED + size + b"\r\nhello\r\n0 \r\n\r\n")
                answer = self.client.take()
                self.assertEqual((status_of(answer), content_of(answer)), (200, b"5\r\nhello\r\n0\r\n\r\n"))

    def test_an_invalid_size_in_a_response_aborts_it(self) -> None:
        self.client.feed(request())
        self.origin.feed(CHUNKED + b"5 0\r\nhello\r\n0\r\n\r\n")
        self.assertEqual(self.outcomes(), ["origin-protocol-error"])


class FieldTests(ProxyTestCase):
    """White space before a colon (RFC 9112 section 5.1)."""

    def test_it_is_removed_from_a_response(self) -> None:
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nSet-Cookie : a=b : c\r\nContent-Length\t: 2\r\n\r\nok")
        answer = self.client.take()
        self.assertIn(b"\r\nSet-Cookie: a=b : c\r\n", answer)
        self.assertEqual((status_of(answer), content_of(answer)), (200, b"ok"))

    def test_a_request_is_rejected(self) -> None:
        self.client.feed(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nA : b\r\n\r\n")
        self.assertEqual((status_of(self.client.take()), self.dialer.origins), (400, []))
