"""Origins with TLS 1.3 that reject or miss a client certificate, or request it after the handshake.

In TLS 1.3 the client learns of a rejection with its first read (C{google/conscrypt#777}); servers that request a
certificate by path do so after the handshake (C{urllib3/urllib3#1634}).
"""

from __future__ import annotations

import ssl

from tests.certificates import CLIENT, TestCA
from tests.integration.base import Proxy
from tests.integration.raw_origin import RawOrigin, RawOriginTestCase, Wire, respond_once


class ClientCertificateTests(RawOriginTestCase):
    """Responses of an origin to the client certificate."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = TestCA("Their clients")
        self.clients.write(self.directory, "clients")
        self.context = self.tls("localhost", "127.0.0.1")
        self.context.load_verify_locations(str(self.directory / "clients.pem"))

    def proxy(self, issuer: TestCA | None) -> Proxy:
        """Start a proxy.

        @param issuer: the issuer of its certificate; C{None}: it has none.
        """
        options = [*self.trust]
        if issuer is not None:
            issuer.issue(usage=CLIENT, subject="our proxy").write_combined(self.directory, "mine")
            terms = '[[origin]]\nhosts = ["127.0.0.1"]\nclient-certificate = "mine.pem"\n'
            options += ["--origin-tls", str(self.write("terms.toml", terms))]
        return self.start_proxy(*self.allow_all(), *options)

    def test_missing_and_rejected(self) -> None:
        self.context.verify_mode = ssl.CERT_REQUIRED
        for version, missing in (
            (ssl.TLSVersion.TLSv1_2, "handshake_failure"),
            (ssl.TLSVersion.TLSv1_3, "certificate_required"),
        ):
            self.context.maximum_version = version
            url = self.start_origin(respond_once, self.context).url
            for issuer, alert in ((None, missing), (TestCA("Stranger"), "unknown_ca"), (self.clients, None)):
                with self.subTest(version=version, alert=alert):
                    proxy = self.proxy(issuer)
                    if alert is None:
                        self.assertEqual(self.fetch(proxy, f"{url}/"), (200, "ok"))
                        continue
                    problem = self.assert_problem(proxy, f"{url}/", 502, "origin-tls")
                    self.assertIn(f"with the alert {alert}", problem["reason"])
                    self.assertEqual("--origin-tls" in problem["reason"], alert != "handshake_failure")
                    (record,) = self.records(proxy, 1)
                    self.assertEqual((record["outcome"], record["reason"]), ("origin-tls-failed", problem["reason"]))

    def test_requested_after_the_handshake(self) -> None:
        """By a server that requires a certificate for some paths only."""
        self.context.post_handshake_auth = True
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3

        def script(origin: RawOrigin, wire: Wire) -> None:
            sock = wire.socket
            assert isinstance(sock, ssl.SSLSocket)
            before = sock.getpeercert()
            origin.request(wire)
            sock.verify_client_post_handshake()
            # The next write triggers the request; the client's response comes without any data.
            wire.send("HTTP/1.1 103 Early Hints\r\n\r\n")
            sock.setblocking(False)
            while not sock.getpeercert():
                try:
                    sock.recv(1)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue
            sock.settimeout(5)
            subject = dict(pair[0] for pair in sock.getpeercert()["subject"])  # type: ignore[index,misc]
            content = f"{before} {subject['commonName']}"
            wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n{content}")

        url = self.start_origin(script, self.context).url
        self.assertEqual(self.fetch(self.proxy(self.clients), f"{url}/"), (200, "None our proxy"))
