"""Tests for L{tests.scorecard.messages}: the reader of the judge."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.scorecard.messages import Ambiguous, Incomplete, read_request, read_response

_HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n"


class RequestTests(SynchronousTestCase):
    """Requests with one reading, and ambiguous requests."""

    def test_good(self) -> None:
        for data, content, rest in (
            (_HEAD + b"\r\nrest", b"", b"rest"),
            (_HEAD + b"Content-Length: 3\r\n\r\nabcrest", b"abc", b"rest"),
            (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nrest", b"abc", b"rest"),
            (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\nrest", b"", b"rest"),
        ):
            message, found = read_request(data)
            self.assertEqual((message.content, found, message.complete), (content, rest, True))

    def test_unfinished(self) -> None:
        self.assertRaises(Incomplete, read_request, _HEAD)
        for content in (
            b"Content-Length: 3\r\n\r\nab",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
            b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
        ):
            self.assertFalse(read_request(_HEAD + content)[0].complete)

    def test_ambiguous(self) -> None:
        for lines in (
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            b"Content-Length: 3\r\nContent-Length: 3\r\n",
            b"Content-Length: +3\r\n",
            b"Content-Length: 03\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer_Encoding: chunked\r\n",
            b"Host: b\r\n",
            b"A : b\r\n",
            b" A: b\r\n",
            b"A: b\nC: d\r\n",
            b"A: b\rC: d\r\n",
            b"A: \x00\r\n",
            b"A\r\n",
        ):
            with self.subTest(lines):
                self.assertRaises(Ambiguous, read_request, _HEAD + lines + b"\r\n")
        for data in (
            b"GET /a HTTP/1.1\r\n\r\n",
            b"GET  /a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET /a\r\n\r\n",
            b"GET /a HTTP/1.1\nHost: a\n\n",
            b"GET /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            with self.subTest(data):
                self.assertRaises(Ambiguous, read_request, data)
        for content in (
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"0\r\nContent-Length: 3\r\n\r\n",
            b"\r\n",
        ):
            with self.subTest(content):
                self.assertRaises(Ambiguous, read_request, _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + content)


class ResponseTests(SynchronousTestCase):
    """Responses."""

    def test_good(self) -> None:
        for data, method, content, rest in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", b"GET", b"a", b"b"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", b"HEAD", b"", b"ab"),
            (b"HTTP/1.1 200 OK\r\n\r\nab", b"CONNECT", b"", b"ab"),
            (b"HTTP/1.1 304 N\r\nContent-Length: 1\r\n\r\nab", b"GET", b"", b"ab"),
            (b"HTTP/1.1 204 N\r\n\r\nab", b"GET", b"", b"ab"),
            (b"HTTP/1.1 100 C\r\n\r\nab", b"GET", b"", b"ab"),
            (b"HTTP/1.1 200\r\n\r\nab", b"GET", b"ab", b""),
        ):
            with self.subTest(data):
                message, found = read_response(data, method, True)
                self.assertEqual((message.content, found, message.complete), (content, rest, True))
        self.assertFalse(read_response(b"HTTP/1.1 200 OK\r\n\r\nab", b"GET", False)[0].complete)

    def test_ambiguous(self) -> None:
        for data in (
            b"HTTP/1.1 204 N\r\nContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 100 C\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 O\rK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"hello\r\n\r\n",
        ):
            with self.subTest(data):
                self.assertRaises(Ambiguous, read_response, data, b"GET", True)
