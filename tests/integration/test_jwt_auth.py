"""C{--client-auth jwt:ISSUER}: curl authenticates with tokens of an issuer, which is a real server with TLS."""

from __future__ import annotations

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.certificates import TestCA
from tests.client_auth.jwt_issuer import ED25519, P256, RSA, as_jwk, key_set, token
from tests.integration.base import ONE_PROCESS, IntegrationTestCase, Proxy

NAME = "system:serviceaccount:shop:cart"


class Issuer(ThreadingHTTPServer):
    """Publishes metadata and keys over TLS, for clients with a bearer token.

    @ivar keys: the key set.
    @ivar requests: the paths of the requests.
    @ivar url: the issuer.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.keys = key_set(as_jwk(P256), as_jwk(RSA, "rsa"))
        self.requests: list[str] = []
        self.url = f"https://localhost:{self.server_port}"
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close a connection during the handshake."""


class _Answer(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        metadata = {"issuer": self.server.url, "jwks_uri": f"{self.server.url}/keys"}
        contents = {"/.well-known/openid-configuration": json.dumps(metadata).encode(), "/keys": self.server.keys}
        content = contents.get(self.path, b"")
        allowed = self.headers["Authorization"] == "Bearer reader"
        self.send_response(200 if content and allowed else 403)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Write no log."""


class JwtAuthTests(IntegrationTestCase):
    """Clients with tokens."""

    def setUp(self) -> None:
        super().setUp()
        ca = TestCA("Cluster")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ca.issue("localhost").write_combined(self.directory, "issuer"))
        self.issuer = Issuer(context)
        self.addCleanup(self.issuer.server_close)
        self.addCleanup(self.issuer.shutdown)
        self.ca_file = ca.write(self.directory, "cluster")
        self.token_file = self.write("token", "reader\n")
        self.urls = (self.origins.http_url("/files/hello.txt"), self.origins.https_url("/files/hello.txt"))

    def start(self, *options: str, setting: str | None = None) -> Proxy:
        given = f"jwt:{self.issuer.url}:ca={self.ca_file}:token-file={self.token_file}" if setting is None else setting
        return self.start_proxy(*self.allow_all(), "--client-auth", given, *options)

    def token(self, algorithm: str = "ES256", **changes: Any) -> str:
        now = int(time.time())
        valid = {"iss": self.issuer.url, "exp": now + 300, "iat": now, "nbf": now, "sub": NAME}
        return token(algorithm, **{**valid, **changes}).decode()

    def test_tokens(self) -> None:
        """As the password of any name, and as a Bearer token; for requests and for tunnels."""
        proxy = self.start(*ONE_PROCESS)
        new, rsa = self.token(), self.token("RS256", header={"kid": "rsa"}, sub="ci-7")
        for url in self.urls:
            self.assertEqual(self.fetch(proxy, url, "--proxy-user", f"anyone:{new}"), (200, "hello\n"))
            field = f"Proxy-Authorization: Bearer {rsa}"
            self.assertEqual(self.fetch(proxy, url, "--proxy-header", field), (200, "hello\n"))
        records = self.records(proxy, 4)
        self.assertEqual([each["identity"] for each in records], [NAME, "ci-7"] * 2)
        self.assertEqual(self.issuer.requests, ["/.well-known/openid-configuration", "/keys"])
        for text in (proxy.process.output(), proxy.audit.read_text()):
            for secret in (new, rsa, "reader"):
                self.assertNotIn(secret, text)

    def test_rejected(self) -> None:
        proxy = self.start(*ONE_PROCESS)
        now = int(time.time())
        plain, secure = self.urls
        for data, why in (
            (self.token(aud="kubernetes"), "it is for another audience"),
            (self.token(iss="https://other.test"), "it is from another issuer"),
            (self.token(exp=now - 60), "it has expired"),
            (self.token(nbf=now + 60), "it is not valid yet"),
            (self.token()[:-8] + "AAAAAAAA", "its signature is not valid"),
            (self.token(header={"kid": "other"}), "a key that its issuer does not publish"),
            (self.token("EdDSA", header={"kid": "k1"}), "its key is not for its algorithm"),
            ("t0ken", "it is not a JSON Web Token"),
        ):
            with self.subTest(why):
                problem = self.assert_problem(proxy, plain, 407, "client-auth", "--proxy-user", f"x:{data}")
                self.assertEqual(problem["type"], "urn:egressproxy:client-credentials-rejected")
                self.assertIn(why, problem["reason"])
                done = self.curl(proxy, "-w", "%{http_connect}", "--proxy-user", f"x:{data}", secure)
                self.assertEqual((done.returncode, done.stdout), (56, "407"))
        self.assertEqual(self.issuer.requests, ["/.well-known/openid-configuration", "/keys"])

    def test_issuer_is_away(self) -> None:
        """The proxy starts, but is not ready, and denies.  It recovers by itself."""
        self.token_file.write_text("wrong")
        proxy = self.start(*ONE_PROCESS)
        problem = self.assert_problem(proxy, self.urls[0], 503, "client-auth", "--proxy-user", f"x:{self.token()}")
        self.assertEqual(problem["type"], "urn:egressproxy:client-auth-unavailable")
        self.assertIn("its response has status 403", problem["reason"])
        done = self.curl(proxy, "-w", "%{http_connect}", "--proxy-user", f"x:{self.token()}", self.urls[1])
        self.assertEqual((done.returncode, done.stdout), (56, "503"))
        self.assertEqual([each["outcome"] for each in self.records(proxy, 2)], ["client-auth-unavailable"] * 2)
        self.token_file.write_text("reader")
        deadline = time.monotonic() + 20
        while self.fetch(proxy, self.urls[0], "--proxy-user", f"x:{self.token()}")[0] != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.5)

    def test_untrusted_issuer(self) -> None:
        proxy = self.start(setting=f"jwt:{self.issuer.url}:token-file={self.token_file}:ca={self.other_ca()}")
        problem = self.assert_problem(proxy, self.urls[0], 503, "client-auth", "--proxy-user", f"x:{self.token()}")
        self.assertIn("TLS error", problem["reason"])
        self.assertEqual(self.issuer.requests, [])

    def other_ca(self) -> str:
        return str(TestCA("Other").write(self.directory, "other"))

    def test_workers_and_key_file(self) -> None:
        """With workers, and with a file of keys that changes."""
        keys = self.write("keys.json", key_set(as_jwk(P256)).decode())
        proxy = self.start("--workers", "2", setting=f"jwt:{self.issuer.url}:jwks={keys}:audience=a:audience=b")
        self.assertEqual(self.fetch(proxy, self.urls[1], "--proxy-user", f"x:{self.token(aud='b')}")[0], 200)
        self.assertEqual(self.fetch(proxy, self.urls[0], "--proxy-user", f"x:{self.token()}")[0], 407)
        keys.write_bytes(key_set(as_jwk(ED25519, "new")))
        deadline = time.monotonic() + 20
        new = self.token("EdDSA", header={"kid": "new"}, aud="a")
        while self.fetch(proxy, self.urls[0], "--proxy-user", f"x:{new}")[0] != 200:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        self.assertEqual(self.issuer.requests, [])
