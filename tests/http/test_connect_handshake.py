"""Tests for L{egress.http.connect_handshake}."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.connect_handshake import ConnectHandshake, error_of_challenge
from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.errors import OriginProtocolError, UpstreamError, UpstreamRefused, UpstreamUnreachable
from egress.model.route import Route
from tests.http.streams import byte_by_byte, splits

UPSTREAM = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
ORIGIN = Authority("::1", 443)


class ConnectHandshakeTests(SynchronousTestCase):
    """The CONNECT request to an upstream proxy and its response."""

    def setUp(self) -> None:
        self.handshake = ConnectHandshake(UPSTREAM, ORIGIN, 200)

    def test_request(self) -> None:
        self.assertEqual(
            self.handshake.request(),
            b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n",
        )

    def test_request_without_credentials(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        self.assertNotIn(b"Proxy-Authorization", ConnectHandshake(upstream, ORIGIN, 200).request())

    def test_established(self) -> None:
        answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
        self.assertEqual(self.handshake.receive(answer + b"early"), b"early")

    def test_byte_by_byte(self) -> None:
        answer = b"HTTP/1.0 200\r\n\r\n"
        results = [self.handshake.receive(answer[index : index + 1]) for index in range(len(answer))]
        self.assertEqual(results, [None] * (len(answer) - 1) + [b""])

    def test_any_2xx_is_success_without_content(self) -> None:
        answer = b"HTTP/1.1 204 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.handshake.receive(answer + b"early"), b"early")

    def test_interim_responses_are_ignored(self) -> None:
        self.assertEqual(self.handshake.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), b"")

    def test_refused(self) -> None:
        for line, status, words in (
            (b"HTTP/1.1 407 Proxy Authentication Required", 407, "check the credentials"),
            (b"HTTP/1.1 403 Forbidden", 403, "403 'Forbidden'"),
            (b"HTTP/1.1 403 http://user:secret@a.test/", 403, "403 'REDACTED@a.test/'"),
            (b"HTTP/1.1 403 " + b"x" * 150, 403, "403 '" + "x" * 77 + "...'"),
            (b"HTTP/1.1 302", 302, "302"),
        ):
            with self.subTest(status=status):
                handshake = ConnectHandshake(UPSTREAM, ORIGIN, 200)
                error = self.assertRaises(UpstreamRefused, handshake.receive, line + b"\r\n\r\n<html>")
                self.assertEqual(error.status, status)
                self.assertIn(words, error.reason)
                self.assertNotIn("c2VjcmV0", error.reason)

    def test_not_http(self) -> None:
        for name, answer in (
            ("another protocol", b"SSH-2.0"),
            ("another version", b"HTTP/2 200 OK\r\n\r\n"),
            ("no status", b"HTTP/1.1 OK\r\n\r\n"),
            ("HTTP/0.9", b"<html>"),
            ("an empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
            ("status below 100", b"HTTP/1.1 099 x\r\n\r\n"),
            ("another protocol behind an interim answer", b"HTTP/1.1 100 x\r\n\r\nSSH-2.0"),
            ("too long", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300),
            ("too long, complete", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300 + b"\r\n\r\n"),
        ):
            with self.subTest(name):
                self.assertRaises(UpstreamUnreachable, ConnectHandshake(UPSTREAM, ORIGIN, 200).receive, answer)
                self.assertRaises(UpstreamUnreachable, self.fed, byte_by_byte(answer))

    def fed(self, pieces: list[bytes]) -> bytes | None:
        """Pass the response in pieces, followed by further data."""
        handshake = ConnectHandshake(UPSTREAM, ORIGIN, 200)
        rest: bytes | None = None
        for piece in pieces:
            rest = handshake.receive(piece) if rest is None else rest + piece
        return rest

    @given(
        st.lists(
            st.sampled_from(
                [b"HTTP/1.1 ", b"100 x", b"200", b"407 x", b"\r\n", b"\r\n\r\n", b"A: b", b"a" * 90, b"\n"]
            ),
            max_size=8,
        ).map(b"".join),
        splits(),
    )
    def test_any_split_of_any_input_gives_the_same_result(
        self, wire: bytes, split: Callable[[bytes], list[bytes]]
    ) -> None:
        outcomes: list[object] = []
        for pieces in ([wire], split(wire)):
            try:
                outcomes.append(self.fed([piece for piece in pieces if piece]))
            except UpstreamError as error:
                outcomes.append((type(error), error.reason))
        self.assertEqual(outcomes[0], outcomes[1])


class ChallengeTests(SynchronousTestCase):
    """Responses with status 407 to a request."""

    def test_sender(self) -> None:
        origin = Origin("http", Authority("origin.test", 80))
        for upstream, connect, kind, name in (
            (None, False, OriginProtocolError, "origin.test:80"),
            (UPSTREAM, True, OriginProtocolError, "origin.test:80"),
            (UPSTREAM, False, UpstreamRefused, "proxy.test:3128"),
        ):
            error = error_of_challenge(Route(origin, (), upstream, False, connect), b"Log In")
            self.assertIs(type(error), kind)
            self.assertIn(name, error.reason)
