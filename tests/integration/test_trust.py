"""C{egress trust}: real trust stores, and programs that connect because of them.

The stores of the system and of Java are copies, in a namespace in which they have the names of the real ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest

from egress.trust.anchors import certificates_in_text
from tests.integration.base import DENY_ALL, IntegrationTestCase, proxy_environment
from tests.integration.processes import program
from tests.integration.run_programs import JAVA

URL = "https://blocked.example.com/"
REASON = "closed for today"
CERTS, LOCAL = Path("/etc/ssl/certs"), Path("/usr/local/share/ca-certificates")


def digest(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TrustTestCase(IntegrationTestCase):
    """A proxy that denies every request, and a home directory."""

    def setUp(self) -> None:
        super().setUp()
        self.home = self.directory / "home"
        self.home.mkdir()
        self.proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_ALL)))
        self.prefix: tuple[str, ...] = ()

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the home directory."""
        return subprocess.run(
            [*self.prefix, *command],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            env=proxy_environment(HOME=str(self.home)),
            check=False,
        )

    def trust(self, *arguments: str) -> tuple[int, dict[str, str]]:
        """Run C{egress trust}.

        @return: the exit status, and the states by the kinds of the stores.
        """
        command = (sys.executable, "-m", "egress", "trust", *arguments, "--ca-dir", str(self.proxy.ca.parent), "--json")
        done = self.execute(*command)
        self.assertEqual(done.stderr, "")
        return done.returncode, {store["store"]: store["state"] for store in json.loads(done.stdout)["stores"]}


class NssTests(TrustTestCase):
    """An NSS database."""

    def setUp(self) -> None:
        super().setUp()
        self.certutil = program("certutil")
        self.database = self.home / ".pki" / "nssdb"
        self.database.mkdir(parents=True)
        self.nss("-N", "--empty-password")
        self.nss("-A", "-t", "C,,", "-n", "another CA", "-i", str(self.origins.ca))

    def nss(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run certutil with the database."""
        return self.execute(self.certutil, "-d", f"sql:{self.database}", *arguments)

    def test_database(self) -> None:
        """Only the certificate of the proxy is added and removed, and NSS accepts it as the CA of servers."""
        before = self.nss("-L").stdout
        self.assertEqual(self.trust("status", "--store", "nss"), (1, {"nss": "not trusted"}))
        for _ in range(2):
            self.assertEqual(self.trust("install", "--store", "nss"), (0, {"nss": "trusted"}))
        (name,) = [line.split()[0] for line in self.nss("-L").stdout.splitlines() if line.startswith("egressproxy-")]
        done = self.nss("-V", "-u", "L", "-n", name)
        self.assertEqual(done.stdout, "certutil: certificate is valid\n", done.stderr)
        for _ in range(2):
            self.assertEqual(self.trust("remove", "--store", "nss"), (0, {"nss": "not trusted"}))
        self.assertEqual(self.nss("-L").stdout, before)

    def test_rotation(self) -> None:
        """During a rotation, both CAs are trusted; afterwards, the old one is reported and removed."""
        ca = (sys.executable, "-m", "egress", "ca")
        directory = ("--ca-dir", str(self.proxy.ca.parent))
        self.trust("install", "--store", "nss")
        self.execute(*ca, "rotate", *directory)
        self.assertEqual(self.trust("status", "--store", "nss"), (1, {"nss": "not trusted"}))
        self.assertEqual(self.trust("install", "--store", "nss"), (0, {"nss": "trusted"}))
        self.assertEqual(self.nss("-L").stdout.count("egressproxy-"), 2)
        shutil.rmtree(self.proxy.ca.parent)
        self.execute(sys.executable, "-m", "egress", "run", "--quiet", *directory, "--", "true")
        self.assertEqual(self.trust("status", "--store", "nss"), (1, {"nss": "old CA"}))
        self.trust("remove", "--store", "nss")
        self.assertEqual(self.nss("-L").stdout.count("egressproxy-"), 2)
        self.trust("remove", "--all", "--store", "nss")
        self.assertEqual(self.nss("-L").stdout.count("egressproxy-"), 0)

    def test_primary_password(self) -> None:
        """A database that needs a password cannot be changed, and the error names the fix."""
        shutil.rmtree(self.database)
        self.database.mkdir()
        (self.home / "password").write_text("secret-1\n")
        self.nss("-N", "-f", "password")
        command = (sys.executable, "-m", "egress", "trust", "install", "--store", "nss")
        done = self.execute(*command, "--ca-dir", str(self.proxy.ca.parent))
        self.assertEqual(done.returncode, 1)
        self.assertIn("the database has a primary password: import the CA in the settings of the browser", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_chromium(self) -> None:
        """Chromium connects only while the database has the CA."""
        browser = program("chromium")
        for action, expected in (("install", True), ("remove", False)):
            self.trust(action, "--store", "nss")
            profile = str(self.home / f"profile-{action}")
            options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom")
            done = self.execute(browser, *options, f"--proxy-server={self.proxy.url}", URL)
            self.assertEqual(REASON in done.stdout, expected, done.stderr)


class SystemTests(TrustTestCase):
    """The stores of the system and of Java, copied."""

    def setUp(self) -> None:
        super().setUp()
        program("update-ca-certificates")
        self.java = program("java")
        if not (CERTS / "java" / "cacerts").exists():
            raise SkipTest("ca-certificates-java is not installed; tests/install gets it")
        copy = self.directory / "certs"
        shutil.copytree(CERTS, copy, symlinks=True)
        (self.directory / "local").mkdir()
        mounts = f'mount --bind "{copy}" {CERTS} && mount --bind "{self.directory / "local"}" {LOCAL}'
        namespace = ("--user", "--map-root-user", "--mount")
        self.shell = (program("unshare"), *namespace, "sh", "-e", "-c")
        self.mounts = mounts
        if self.execute(*self.shell, mounts).returncode:
            raise SkipTest("the kernel permits no user namespaces")
        # Every command has namespaces of its own; what it changes is in the copies.
        self.prefix = (*self.shell, f'{mounts} && exec "$@"', "sh")

    def fetch_with_curl(self) -> subprocess.CompletedProcess[str]:
        """Run curl with the CAs of the system."""
        return self.execute("curl", "-sS", "-x", self.proxy.url, URL)

    def fetch_with_java(self) -> subprocess.CompletedProcess[str]:
        """Run a Java program with the trust store of Java."""
        (self.home / "Get.java").write_text(JAVA)
        port = str(self.proxy.port)
        proxy = [f"-D{scheme}.proxy{key}" for scheme in ("http", "https") for key in ("Host=127.0.0.1", f"Port={port}")]
        return self.execute(self.java, *proxy, "Get.java", URL)

    def test_system_and_java(self) -> None:
        """Programs connect without other settings, and the real stores are unchanged."""
        bundle, cacerts = CERTS / "ca-certificates.crt", CERTS / "java" / "cacerts"
        before = digest(bundle), digest(cacerts)
        stores = ("--store", "system", "--store", "java")
        self.assertEqual(self.trust("status", *stores), (1, {"system": "not trusted", "java": "not trusted"}))
        self.assertEqual(self.fetch_with_curl().returncode, 60)
        self.assertNotIn(REASON, self.fetch_with_java().stdout)
        self.assertEqual(self.trust("install", *stores), (0, {"system": "trusted", "java": "trusted"}))
        self.assertIn(REASON, self.fetch_with_curl().stdout)
        done = self.fetch_with_java()
        self.assertEqual(sum(REASON in line for line in done.stdout.splitlines()), 2, done.stderr)
        self.assertEqual(self.trust("install", *stores), (0, {"system": "trusted", "java": "trusted"}))
        self.assertEqual(self.trust("remove", *stores), (0, {"system": "not trusted", "java": "not trusted"}))
        self.assertEqual(self.fetch_with_curl().returncode, 60)
        self.assertEqual((digest(bundle), digest(cacerts)), before)
        # The copy has the same CAs as before.
        copied = (self.directory / "certs" / "ca-certificates.crt").read_bytes()
        expected = set(certificates_in_text(bundle.read_bytes()))
        self.assertLessEqual(set(certificates_in_text(copied)), expected)
        self.assertEqual(list((self.directory / "local").iterdir()), [])

    def test_permission(self) -> None:
        """Without privileges, one line names the fix."""
        if not shutil.which("setpriv"):
            raise SkipTest("setpriv is not installed; tests/install gets it")
        (self.directory / "local").chmod(0o555)
        drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
        command = (sys.executable, "-m", "egress", "trust", "install", "--store", "system")
        done = self.execute(*drop, *command, "--ca-dir", str(self.proxy.ca.parent))
        self.assertEqual(done.returncode, 1, done)
        self.assertIn(f"{LOCAL} is not writable; run: sudo egress trust install --store system --ca-dir", done.stderr)
