"""Origins that misbehave, seen from the origin: the requests that reach it, and the result for the client."""

from __future__ import annotations

import json
import socket
import ssl

from tests.certificates import CLIENT, TestCA, TestCertificate, self_signed
from tests.integration.base import ONE_PROCESS, Proxy
from tests.integration.raw_origin import (
    OK,
    RawOrigin,
    RawOriginTestCase,
    Script,
    Wire,
    respond_always,
    respond_once,
    server_context,
)

HOST = "127.0.0.1"


def answer(*pieces: str, reset: bool = False) -> Script:
    """Return a script that reads one request, responds once and closes."""

    def script(origin: RawOrigin, wire: Wire) -> None:
        origin.request(wire)
        for piece in pieces:
            wire.send(piece)
        if reset:
            wire.reset()

    return script


def serve_once(origin: RawOrigin, wire: Wire) -> None:
    """Respond to the first request of a connection; close without a response after the second."""
    respond_once(origin, wire)
    origin.request(wire)


class TlsTests(RawOriginTestCase):
    """No byte of a request is sent to an origin that is not trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = self.start_proxy(*self.allow_all(), *self.trust)

    def tls_origin(self, certificate: TestCertificate, *, tls_1_1: bool = False) -> RawOrigin:
        """Start an origin with this certificate that reads everything."""
        context = server_context(certificate, str(self.directory))
        if tls_1_1:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return self.start_origin(respond_once, context)

    def test_certificates(self) -> None:
        intermediate = TestCA("intermediate", self.ca)
        lonely = TestCA("another intermediate", self.ca).issue(HOST)
        no_ca = TestCA("no CA", self.ca, ca=False)
        for name, certificate, word in (
            ("expired", self.ca.issue(HOST, expired=True), "expired"),
            ("not yet valid", self.ca.issue(HOST, not_yet_valid=True), "not yet valid"),
            ("another address", self.ca.issue("127.0.0.2"), "127.0.0.2"),
            ("another name", self.ca.issue("other.test"), "other.test"),
            ("the address as a name only", self.ca.issue(subject=HOST), "contains no host name"),
            ("for clients", self.ca.issue(HOST, usage=CLIENT), "not permitted for TLS servers"),
            ("self-signed", self_signed(HOST), "self-signed"),
            ("unknown root", TestCA("stranger").issue(HOST), "CN=stranger"),
            ("without its intermediate", TestCertificate(lonely.certificate, lonely.key), "CN=another intermediate"),
            ("signed by what is no CA", no_ca.issue(HOST), "not a CA certificate"),
            ("expired intermediate", TestCA("old", self.ca, expired=True).issue(HOST), "expired"),
            ("good", self.ca.issue(HOST), None),
            ("good, with its intermediate", intermediate.issue(HOST), None),
        ):
            with self.subTest(name):
                origin = self.tls_origin(certificate)
                if word is None:
                    self.assertEqual(self.fetch(self.proxy, f"{origin.url}/secret"), (200, "ok"), name)
                    self.assertIn(b"GET /secret", origin.connections[0].received)
                    continue
                problem = self.assert_problem(self.proxy, f"{origin.url}/secret", 502, "origin-tls")
                self.assertIn(word, problem["reason"], f"{name}: {problem}")
                self.assertEqual(problem["type"], "urn:egressproxy:origin-certificate-invalid", name)
                self.assertEqual([wire.received for wire in origin.connections], [b""] * len(origin.connections), name)
                self.assertTrue(origin.connections)

    def test_an_old_version(self) -> None:
        origin = self.tls_origin(self.ca.issue(HOST), tls_1_1=True)
        problem = self.assert_problem(self.proxy, f"{origin.url}/secret", 502, "origin-tls")
        self.assertEqual(problem["type"], "urn:egressproxy:origin-tls-failed")
        self.assertEqual([wire.received for wire in origin.connections], [b""])

    def test_no_handshake(self) -> None:
        def hang_up(_: RawOrigin, wire: Wire) -> None:
            wire.read(1)

        def babble(_: RawOrigin, wire: Wire) -> None:
            wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            wire.read_to_end()

        for name, script in (("hang up", hang_up), ("no TLS", babble)):
            with self.subTest(name):
                origin = self.start_origin(script)
                url = origin.url.replace("http:", "https:")
                self.assert_problem(self.proxy, f"{url}/secret", 502, "origin-tls")
                for wire in origin.connections:
                    self.assertNotIn(b"secret", wire.received)


class ResponseTests(RawOriginTestCase):
    """Responses that are invalid, and valid ones that look invalid."""

    def test_no_valid_response(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        twice = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"
        both = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        for name, script, code in (
            ("closed", answer(), "origin-disconnected"),
            ("reset", answer(reset=True), "origin-disconnected"),
            ("half a head", answer("HTTP/1.1 200 OK\r\nContent-"), "origin-disconnected"),
            ("no HTTP", answer("SSH-2.0-OpenSSH_9.0\r\n\r\n"), "origin-protocol-error"),
            ("HTTP/2", answer("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), "origin-protocol-error"),
            ("two lengths", answer(twice), "origin-protocol-error"),
            ("length and chunks", answer(both), "origin-protocol-error"),
            ("folded", answer("HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"), "origin-protocol-error"),
            ("bare LF", answer("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"), "origin-protocol-error"),
            ("head without end", answer("HTTP/1.1 200 OK\r\n", *["A: b\r\n"] * 20_000), "origin-protocol-error"),
            (
                "101 unasked",
                answer("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
                "origin-protocol-error",
            ),
        ):
            with self.subTest(name):
                origin = self.start_origin(script)
                # The method is not idempotent, so the origin saw everything that was sent, once.
                problem = self.assert_problem(proxy, f"{origin.url}/x", 502, "origin", "-d", "content")
                self.assertEqual(problem["type"], f"urn:egressproxy:{code}", name)
                self.assertEqual(len(origin.heads), 1, name)

    def test_truncated(self) -> None:
        """The client can detect that the response is incomplete; the proxy does not complete it."""
        proxy = self.start_proxy(*self.allow_all())
        chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for name, script in (
            ("length", answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
            ("reset", answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", reset=True)),
            ("chunks", answer(chunked + "4\r\nhalf\r\n")),
            ("in a chunk", answer(chunked + "a\r\nhalf")),
            ("bad chunk", answer(chunked + "4\r\nhalf\r\nxyz\r\n")),
        ):
            with self.subTest(name):
                origin = self.start_origin(script)
                done = self.curl(proxy, f"{origin.url}/x")
                # curl: partial file, or failure when receiving.
                self.assertIn(done.returncode, (18, 56), name)
                self.assertNotIn("urn:egressproxy", done.stdout, name)
        proxy.process.stop()
        records = proxy.records()
        self.assertEqual({record["verdict"] for record in records}, {"allow"})
        self.assertEqual({record["outcome"] for record in records} - {"origin-protocol-error"}, {"origin-disconnected"})

    def test_unusual_but_valid(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        for name, script, arguments, expected in (
            ("until close", answer("HTTP/1.1 200 OK\r\n\r\nall of it"), [], (200, "all of it")),
            ("HTTP/1.0", answer("HTTP/1.0 200 OK\r\n\r\nold"), [], (200, "old")),
            ("204", answer("HTTP/1.1 204 No Content\r\n\r\n"), [], (204, "")),
            ("304", answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), [], (304, "")),
            ("HEAD", answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), ["--head", "-o", "/dev/null"], (200, "")),
            ("early hints", answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK), [], (200, "ok")),
            ("no reason", answer("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"), [], (200, "ok")),
            ("418", answer("HTTP/1.1 418 Teapot\r\nContent-Length: 3\r\n\r\ntea"), [], (418, "tea")),
        ):
            with self.subTest(name):
                origin = self.start_origin(script)
                self.assertEqual(self.fetch(proxy, f"{origin.url}/x", *arguments), expected, name)

    def test_early_hints_are_forwarded(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        origin = self.start_origin(answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK))
        done = self.curl(proxy, "-i", f"{origin.url}/x")
        self.assertIn("HTTP/1.1 103 ", done.stdout)
        self.assertIn("Link: </a>", done.stdout)

    def test_a_response_before_the_content_is_read(self) -> None:
        """An origin may reject an upload early (RFC 9112 section 9.3); its response arrives."""
        proxy = self.start_proxy(*self.allow_all())
        upload = self.write("upload", "x" * 4_000_000)
        refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!"

        def script(origin: RawOrigin, wire: Wire) -> None:
            origin.heads.append(wire.read_until(b"\r\n\r\n").decode())
            wire.send(refusal)
            wire.socket.shutdown(socket.SHUT_WR)
            wire.read_to_end()

        origin = self.start_origin(script)
        self.assertEqual(self.fetch(proxy, f"{origin.url}/x", "-H", "Expect:", "-T", str(upload)), (413, "no!"))


class PoolTests(RawOriginTestCase):
    """Connections to origins are reused, for the same client and for permitted requests only.

    Each process has its own pool, so these tests use one process.
    """

    def ask(self, proxy: Proxy, url: str, *arguments: str) -> None:
        """Send a request that succeeds, over its own client connection."""
        self.assertEqual(self.fetch(proxy, url, *arguments), (200, "ok"))

    def test_reused(self) -> None:
        proxy = self.start_proxy(*ONE_PROCESS, *self.allow_all(), *self.trust)
        for context in (None, self.tls()):
            with self.subTest(tls=context is not None):
                origin = self.start_origin(respond_always, context)
                for number in range(4):
                    self.ask(proxy, f"{origin.url}/{number}")
                self.assertEqual((len(origin.heads), len(origin.connections)), (4, 1))

    def test_not_shared_between_identities(self) -> None:
        proxy = self.start_proxy(*ONE_PROCESS, *self.allow_all())
        origin = self.start_origin(respond_always)
        for user in ("one:proxy-secret", "two:proxy-secret", "one:another-secret", "one:proxy-secret"):
            self.ask(proxy, f"{origin.url}/{user[:3]}", "--proxy-user", user)
        self.ask(proxy, f"{origin.url}/nobody")
        self.assertEqual((len(origin.heads), len(origin.connections)), (5, 4))
        for head in origin.heads:
            self.assertNotIn("proxy-authorization", head.lower())
        proxy.process.stop()
        self.assertEqual([record["identity"] for record in proxy.records()], ["one", "two", "one", "one", None])
        everything = proxy.process.output() + proxy.audit.read_text()
        self.assertNotIn("-secret", everything)

    def test_a_stale_connection(self) -> None:
        """A repeatable request is sent again over a new connection; others are not (RFC 9110 section 9.2.2)."""
        url, _ = self.start_authz_service()
        content = ["-d", "content"]
        for name, arguments, options, sent, status in (
            ("GET", [], self.allow_all(), 3, 200),
            ("DELETE", ["-X", "DELETE"], self.allow_all(), 3, 200),
            # The content was streamed, and is no longer available.
            ("PUT", ["-X", "PUT", *content], self.allow_all(), 2, 502),
            # The content was buffered for the authorization service, and is available.
            ("PUT with its content at hand", ["-X", "PUT", *content], ["--authz-url", url], 3, 200),
            ("POST", content, self.allow_all(), 2, 502),
            ("POST with its content at hand", content, ["--authz-url", url], 2, 502),
        ):
            with self.subTest(name):
                proxy = self.start_proxy(*ONE_PROCESS, *options)
                origin = self.start_origin(serve_once)
                self.ask(proxy, f"{origin.url}/first")
                self.assertEqual(self.fetch(proxy, f"{origin.url}/second", *arguments)[0], status, name)
                self.assertEqual(len(origin.heads), sent, name)
                if "content" in arguments and status == 200:
                    self.assertTrue(origin.connections[-1].received.endswith(b"\r\n\r\ncontent"), name)
                proxy.process.stop()
                self.assertEqual([record["status"] for record in proxy.records()], [200, status], name)


class FieldTests(RawOriginTestCase):
    """Fields of one hop are not forwarded (RFC 9110 section 7.6.1)."""

    def test_request_and_response(self) -> None:
        proxy = self.start_proxy(*self.allow_all())
        fields = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-Kept: 1\r\n"
        origin = self.start_origin(answer(f"HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"))
        client = self.connect(proxy)
        client.send(
            f"GET {origin.url}/path?q=1 HTTP/1.1\r\nHost: {HOST}:{origin.port}\r\nConnection: keep-alive, X-Hop\r\n"
            "X-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic b25lOnR3bw==\r\n"
            "TE: trailers, gzip\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\r\n"
        )
        head, content = client.read_message()
        self.assertEqual(content, b"ok")
        (seen,) = origin.heads
        self.assertTrue(seen.startswith("GET /path?q=1 HTTP/1.1\r\n"), seen)
        for message in (seen, head):
            lower = message.lower()
            self.assertIn("x-kept: 1\r\n", lower)
            self.assertIn("\r\nvia: 1.1 ", lower)
            for gone in ("x-hop", "\r\nkeep-alive:", "proxy-connection", "proxy-authorization", "h2c", "gzip"):
                self.assertNotIn(gone, lower)
        # The origin's "close" was for its own connection: the client's connection stays open.
        self.assertNotIn("connection: close", head.lower())
        client.send(f"GET http://{HOST}:{origin.port}/again HTTP/1.1\r\nHost: {HOST}:{origin.port}\r\n\r\n")
        self.assertTrue(client.read_message()[0].startswith("HTTP/1.1 200 "))

    def test_origin_responses_that_resemble_denials(self) -> None:
        """An origin's own 403 is not a denial: it has no C{Proxy-Status} of the proxy, and is recorded as an allow."""
        proxy = self.start_proxy(*self.allow_all())
        body = json.dumps({"type": "urn:egressproxy:denied", "status": 403})
        origin = self.start_origin(
            answer(
                f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
        )
        done = self.curl(proxy, "-i", f"{origin.url}/x")
        self.assertNotIn("proxy-status", done.stdout.lower())
        proxy.process.stop()
        (record,) = proxy.records()
        self.assertEqual((record["verdict"], record["outcome"], record["status"]), ("allow", "forwarded", 403))
