"""Tests for L{egress.cli.trust}."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509

from egress.cli import trust
from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import CertificateAuthority, fingerprint_of, pem_of
from egress.trust.anchors import pem_text
from egress.trust.execution import Programs
from egress.trust.steps import Run, Step
from tests.certificates import TestCA, key_pem_of
from tests.cli.running import CommandTestCase
from tests.trust.fakes import MemoryStore


class TrustTestCase(CommandTestCase):
    """Runs C{egress trust} with stores in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.now = datetime.now(timezone.utc)
        self.ca = CaDirectory(self.directory / "ca")
        self.certificate = self.ca.load_or_create(self.now).certificate
        self.stores = [MemoryStore(), MemoryStore()]
        self.stores[1].where = "/other"
        self.kinds: Collection[str] = ()
        self.patch(trust, "find_stores", self.find)
        self.patch(Programs, "execute", self.execute)

    def find(self, kinds: Collection[str], programs: Programs, password: str) -> list[MemoryStore]:
        """Return the stores instead of those of the machine."""
        self.kinds, self.password = kinds, password
        return self.stores

    def execute(self, steps: Iterable[Step]) -> None:
        """Apply steps to the stores in memory."""
        for step in steps:
            for store in self.stores:
                if isinstance(step, Run) and step.command in store.pending:
                    store.execute(step)

    def trust(self, *arguments: str) -> tuple[int, str, str]:
        """Run C{egress trust}."""
        return self.run_egress("trust", *arguments, "--ca-dir", str(self.directory / "ca"))


class TrustCommandTests(TrustTestCase):
    """C{egress trust install}, C{remove} and C{status}."""

    def test_all_actions(self) -> None:
        head = f"CA {fingerprint_of(self.certificate)}, valid until "
        for action, status, expected in (
            ("status", 1, "not trusted"),
            ("install", 0, "trusted, installed"),
            ("install", 0, "trusted"),
            ("status", 0, "trusted"),
            ("remove", 0, "not trusted, removed"),
            ("remove", 0, "not trusted"),
        ):
            with self.subTest(action, expected=expected):
                found, out, err = self.trust(action)
                self.assertEqual((found, err), (status, ""))
                lines = out.splitlines()
                self.assertTrue(lines[0].startswith(head))
                self.assertEqual(lines[1:], [f"  nss     /memory: {expected}", f"  nss     /other: {expected}"])
        self.assertEqual((self.kinds, self.password), (("system", "nss", "java"), "changeit"))

    def test_kinds(self) -> None:
        self.trust("status", "--store", "java", "--store", "nss", "--java-password", "secret")
        self.assertEqual((self.kinds, self.password), (["java", "nss"], "secret"))
        self.assertEqual(self.trust("status", "--store", "windows")[0], 2)

    def test_json(self) -> None:
        status, out, _ = self.trust("install", "--json")
        document = json.loads(out)
        self.assertEqual((status, document["action"], document["dryRun"]), (0, "install", False))
        self.assertEqual([each["fingerprint"] for each in document["ca"]], [fingerprint_of(self.certificate)])
        store = document["stores"][0]
        self.assertEqual(store.pop("commands"), [f"add /memory {fingerprint_of(self.certificate)}"])
        self.assertEqual(
            store,
            {"store": "nss", "path": "/memory", "state": "trusted", "changed": True, "others": [], "error": None},
        )

    def test_dry_run(self) -> None:
        status, out, _ = self.trust("install", "--dry-run")
        self.assertEqual(status, 0)
        expected = []
        for path in ("/memory", "/other"):
            expected += [f"# nss {path}: not trusted", f"add {path} {fingerprint_of(self.certificate)}"]
        self.assertEqual(out.splitlines(), expected)
        self.assertEqual(self.stores[0].present, [])
        self.assertFalse(json.loads(self.trust("install", "--dry-run", "--json")[1])["stores"][0]["changed"])

    def test_faults(self) -> None:
        """Each is one line, and the other stores are changed."""
        self.stores[0].fault = "certutil is missing; install libnss3-tools"
        for arguments, status in ((("install",), 1), (("install", "--dry-run"), 1), (("status",), 1)):
            with self.subTest(arguments):
                found, out, err = self.trust(*arguments)
                self.assertEqual(found, status)
                self.assertEqual(err, "egress: nss /memory: certutil is missing; install libnss3-tools\n")
                self.assertIn("/memory: unknown", out)
        self.assertEqual(self.stores[1].present, [self.certificate])
        document = json.loads(self.trust("status", "--json")[1])
        self.assertEqual([store["state"] for store in document["stores"]], [None, "trusted"])
        self.assertIn("certutil", document["stores"][0]["error"])

    def test_permission(self) -> None:
        self.stores[0].protected = "/memory/file"
        status, out, err = self.trust("install")
        self.assertEqual(status, 1)
        ca = (self.directory / "ca").absolute()
        command = f"sudo egress trust install --store nss --ca-dir {ca}"
        self.assertEqual(err, f"egress: nss /memory: /memory/file is not writable; run: {command}\n")
        self.assertIn("/other: trusted, installed", out)

    def test_other_authorities(self) -> None:
        """They are listed, and removed with --all."""
        other = CertificateAuthority.create("other", self.now).certificate
        self.stores[0].present.append(other)
        _, out, _ = self.trust("status")
        self.assertIn(
            f"/memory: old CA\n          other or earlier CA of an egress proxy: {fingerprint_of(other)}\n", out
        )
        self.trust("remove")
        self.assertEqual(self.stores[0].present, [other])
        self.assertEqual(json.loads(self.trust("status", "--json")[1])["stores"][0]["others"], [fingerprint_of(other)])
        self.trust("remove", "--all")
        self.assertEqual(self.stores[0].present, [])

    def test_no_store(self) -> None:
        self.stores = []
        status, _, err = self.trust("status", "--store", "nss")
        self.assertEqual(status, 2)
        self.assertIn("no trust store found (nss)", err)


class AuthorityTests(TrustTestCase):
    """The CA of the options."""

    def present(self, *options: str) -> list[x509.Certificate]:
        """Install a CA, and return the certificates of a store."""
        status, _, err = self.run_egress("trust", "install", *options)
        self.assertEqual((status, err), (0, ""))
        return self.stores[0].present

    def test_certificate_without_its_key(self) -> None:
        path = self.write("only.pem", pem_of(self.certificate))
        self.assertEqual(self.present("--ca-cert", path), [self.certificate])

    def test_intermediate(self) -> None:
        """Clients trust the root of the chain."""
        root = TestCA()
        path = self.write("chain.pem", pem_text(self.certificate) + pem_text(root.certificate))
        self.assertEqual(self.present("--ca-cert", path), [root.certificate])

    def test_roots(self) -> None:
        """All certificates that clients trust, of a file of their own."""
        root = TestCA()
        path = self.write("ca.crt", pem_text(self.certificate) + pem_text(root.certificate))
        self.assertEqual(self.present("--ca-root", path), [self.certificate, root.certificate])
        broken = self.write("broken.crt", b"text")
        self.assertIn(f"{broken}: ", self.run_egress("trust", "status", "--ca-root", broken)[2])

    def test_mounted_secret(self) -> None:
        """The configuration of the proxy names the root; the command for another user does, too."""
        root = TestCA()
        ca = TestCA("Middle", root)
        for name, content in (("tls.crt", ca.pem), ("tls.key", key_pem_of(ca.key)), ("ca.crt", root.pem)):
            self.write(name, content)
        path = self.write("egress.toml", b'ca-cert = "tls.crt"\nca-key = "tls.key"\nca-root = "ca.crt"\n')
        self.assertEqual(self.present("--config", path), [root.certificate])

    def test_configuration_file(self) -> None:
        path = self.write("egress.toml", b'ca-dir = "ca"\n')
        self.assertEqual(self.present("--config", path), [self.certificate])

    def test_expired(self) -> None:
        certificate = CertificateAuthority.create("a", self.now - timedelta(days=9), timedelta(days=1)).certificate
        path = self.write("expired.pem", pem_text(certificate))
        status, out, _ = self.run_egress("trust", "install", "--ca-cert", path)
        self.assertEqual(status, 1)
        self.assertIn("/memory: expired, installed", out)

    def test_errors(self) -> None:
        for options, expected in (
            (("--ca-dir", str(self.directory / "absent")), "there is no CA; the proxy generates one when it starts"),
            (("--ca-cert", self.write("none.pem", b"text")), "none.pem"),
            (("--ca-cert", str(Path("/absent.pem"))), "/absent.pem"),
        ):
            with self.subTest(options):
                status, _, err = self.run_egress("trust", "status", *options)
                self.assertEqual((status, err.count("\n")), (2, 1), err)
                self.assertIn(expected, err)
