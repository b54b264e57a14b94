"""The CA of a running proxy: rotated under load, with name constraints, or provided by the operator."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cryptography import x509

from egress.tls.issuer import read_certificates
from tests.certificates import TestCA, key_pem_of
from tests.integration.base import ENOUGH_FOR_BOTH, IntegrationTestCase, Proxy, run_egress
from tests.integration.raw_origin import Wire

PATIENCE = 30.0


class CaTestCase(IntegrationTestCase):
    """Base: clients that inspect certificates."""

    def egress(self, *arguments: str) -> str:
        """Run C{egress ca}, which must succeed."""
        done = run_egress("ca", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def connect(self, proxy: Proxy, ca: Path) -> ssl.SSLSocket:
        """Open a TLS session with the HTTPS origin, through the proxy."""
        host, port = self.origins.https_url("").removeprefix("https://").split(":")
        plain = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        plain.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        self.assertTrue(plain.recv(4096).startswith(b"HTTP/1.1 200"))
        return ssl.create_default_context(cafile=str(ca)).wrap_socket(plain, server_hostname=host)

    def leaf(self, session: ssl.SSLSocket) -> x509.Certificate:
        """Return the certificate that the proxy presents."""
        content = session.getpeercert(binary_form=True)
        assert content is not None
        return x509.load_der_x509_certificate(content)

    def get(self, session: ssl.SSLSocket) -> bytes:
        """Send one request on a persistent connection."""
        host = self.origins.https_url("").removeprefix("https://")
        session.sendall(f"GET /files/hello.txt HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"hello\n"):
            piece = session.recv(65536)
            self.assertTrue(piece, answer)
            answer += piece
        return answer

    def issued_by(self, proxy: Proxy, issuer: x509.Certificate, ca: Path) -> bool:
        """Return whether each of many new connections gets a certificate of one CA."""
        for _ in range(ENOUGH_FOR_BOTH):
            with closing(self.connect(proxy, ca)) as session:
                if self.leaf(session).issuer != issuer.subject:
                    return False
                self.leaf(session).verify_directly_issued_by(issuer)
        return True


class Load:
    """Clients that send requests continuously: curl, with a new connection for each request.

    @ivar failures: the errors of all clients.
    @ivar done: how many requests had the expected response.
    """

    def __init__(self, fetch: Callable[[], subprocess.CompletedProcess[str]], clients: int = 2) -> None:
        self._fetch = fetch
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.done = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            done = self._fetch()
            if (done.returncode, done.stdout) == (0, "hello\n"):
                self.done += 1
            else:
                self.failures.append(f"{done.returncode} {done.stdout} {done.stderr}")

    def stop(self) -> None:
        """Let each client finish its request."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


class RotationTests(CaTestCase):
    """C{egress ca rotate} while the proxy runs."""

    def test_under_load(self) -> None:
        """No request fails, no connection is aborted, and eventually the new CA signs in every process."""
        proxy = self.start_proxy(*self.allow_all())
        where = ("--ca-dir", str(proxy.ca.parent))
        (first,) = read_certificates(proxy.ca.read_bytes())
        before = self.directory / "before.pem"
        before.write_bytes(proxy.ca.read_bytes())
        self.egress("rotate", *where)
        _, second = read_certificates(proxy.ca.read_bytes())
        url = self.origins.https_url("/files/hello.txt")
        load = Load(lambda: self.curl(proxy, url))
        self.addCleanup(load.stop)
        with closing(self.connect(proxy, proxy.ca)) as held:
            self.get(held)
            # Clients that do not have the next CA yet are served during this time.
            self.assertTrue(self.issued_by(proxy, first, before))
            served = load.done
            self.egress("rotate", *where, "--activate")
            self.wait_until(lambda: self.issued_by(proxy, second, proxy.ca), "the new CA signs")
            self.wait_until(lambda: load.done > served + 4, "requests after the switch")
            self.get(held)
            self.assertEqual(self.leaf(held).issuer, first.subject)
        self.egress("rotate", *where, "--retire")
        self.assertEqual(read_certificates(proxy.ca.read_bytes()), [second])
        self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        load.stop()
        self.assertEqual(load.failures, [])
        proxy.process.wait_for("signs now")
        # The connections that only inspected a certificate have closed.
        self.assertEqual({record["outcome"] for record in proxy.records()}, {"forwarded", "tunnel-without-request"})

    def test_shown(self) -> None:
        """C{egress ca show} reports the same CA as the proxy."""
        proxy = self.start_proxy(*self.allow_all())
        shown = json.loads(self.egress("show", "--json", "--ca-dir", str(proxy.ca.parent)))
        proxy.process.wait_for(f", SHA-256 {shown['current']['sha256']}, ends {shown['current']['notAfter'][:10]}, in ")


class GivenTests(CaTestCase):
    """An intermediate CA that the operator provides."""

    def test_chain(self) -> None:
        """A client that trusts the root accepts it, also after another intermediate CA replaces it."""
        root = TestCA("Root")
        paths = self.directory / "chain.pem", self.directory / "key.pem"

        def put(ca: TestCA) -> None:
            for path, content in zip(paths, (ca.pem, key_pem_of(ca.key)), strict=True):
                temporary = path.with_suffix(".new")
                temporary.write_bytes(content)
                temporary.chmod(0o600)
                temporary.replace(path)

        first, second = TestCA("First", root), TestCA("Second", root)
        put(first)
        proxy = self.start_proxy(*self.allow_all(), "--ca-cert", str(paths[0]), "--ca-key", str(paths[1]))
        self.assertFalse(proxy.ca.exists())
        proxy.process.wait_for("Clients must trust the root of this CA")
        trusted = root.write(self.directory, "root")
        url = self.origins.https_url("/files/hello.txt")
        self.assertEqual(self.fetch(proxy, url, "--cacert", str(trusted)), (200, "hello\n"))
        self.assertTrue(self.issued_by(proxy, first.certificate, trusted))
        put(second)
        self.wait_until(lambda: self.issued_by(proxy, second.certificate, trusted), "the other CA signs")


class ConstraintsTests(CaTestCase):
    """A CA that may sign for some hosts only."""

    def test_other_hosts_are_rejected(self) -> None:
        """The error is readable and precedes any decision; a client's OpenSSL accepts the permitted hosts."""
        proxy = self.start_proxy(*self.allow_all(), "--ca-name-constraints", "localhost")
        url = self.origins.https_url("/files/hello.txt")
        self.assertEqual(self.fetch(proxy, url), (200, "hello\n"))
        other = url.replace("localhost", "127.0.0.1")
        done = self.curl(proxy, "-w", "%{http_connect}", other)
        self.assertEqual((done.returncode, done.stdout), (56, "403"), done.stderr)
        with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as client:
            client.sendall(b"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n")
            head, content = Wire(client).read_message()
        self.assertTrue(head.startswith("HTTP/1.1 403 "), head)
        self.assertIn("its name constraints permit localhost", json.loads(content)["reason"])
        self.assertEqual(
            sorted(record["outcome"] for record in self.records(proxy, 3)),
            ["certificate-not-permitted", "certificate-not-permitted", "forwarded"],
        )
