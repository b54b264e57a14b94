"""Tests for L{egress.launch.client_files}."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.serialization import pkcs12
from twisted.trial.unittest import SynchronousTestCase

from egress.client_settings.variables import PASSWORD
from egress.launch import client_files as module
from egress.launch.client_files import system_certificates, write_client_files
from egress.tls.issuer import CaError, pem_of
from egress.tls.truststore import Form, write_certificates
from tests.certificates import TestCA
from tests.client_settings.test_variables import PROXY
from tests.files import make_directory

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
JKS_MAGIC = b"\xfe\xed\xfe\xed"


class SystemCertificatesTests(SynchronousTestCase):
    """The CAs that programs trust without the proxy."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.patch(module, "_BUNDLES", ())
        self.patch(ssl, "get_default_verify_paths", lambda: mock.Mock(cafile=None))

    def bundle(self, name: str, text: str = "-----BEGIN CERTIFICATE-----") -> Path:
        path = self.directory / name
        path.write_text(f"{text} {name}")
        return path

    def test_none(self) -> None:
        self.assertEqual(system_certificates({}), b"")

    def test_of_the_system(self) -> None:
        self.patch(module, "_BUNDLES", ("/absent", str(self.bundle("a")), str(self.bundle("b"))))
        self.assertTrue(system_certificates({}).endswith(b" a"))
        self.patch(ssl, "get_default_verify_paths", lambda: mock.Mock(cafile=str(self.bundle("c"))))
        self.assertTrue(system_certificates({}).endswith(b" c"))

    def test_of_the_user(self) -> None:
        """A bundle of the user may have the CA of an upstream proxy."""
        self.patch(module, "_BUNDLES", (str(self.bundle("a")),))
        self.assertTrue(system_certificates({"CURL_CA_BUNDLE": str(self.bundle("own"))}).endswith(b" own"))
        for unusable in ("/absent", str(self.directory), str(self.bundle("empty", "")), ""):
            self.assertTrue(system_certificates({"SSL_CERT_FILE": unusable}).endswith(b" a"), unusable)


class WriteTests(SynchronousTestCase):
    """The files that clients trust."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.own, self.other = (TestCA(name).certificate for name in ("Own", "Other"))

    def test_files(self) -> None:
        files = write_client_files(self.directory, [self.own], pem_of(self.other), NOW, proxy=PROXY, environ={})
        self.assertEqual(files.ca.read_bytes(), pem_of(self.own))
        self.assertEqual(files.bundle.read_bytes(), pem_of(self.own, self.other))
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.directory.iterdir()}
        self.assertEqual({name for name, mode in modes.items() if mode != 0o644}, {"wgetrc", "apt.conf", "php"})
        self.assertEqual((modes["wgetrc"], modes["apt.conf"], modes["php"]), (0o600, 0o600, 0o755))
        # A second time, the files are replaced.
        write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ={})
        self.assertEqual(files.bundle.read_bytes(), pem_of(self.own))

    def test_curl(self) -> None:
        """The last of several values wins; the first of several files is read."""
        home, other = make_directory(self), make_directory(self)
        for environ in ({}, {"HOME": str(home), "CURL_HOME": ""}):
            files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ=environ)
            self.assertIsNone(files.curl)
        for directory, environ in ((home, {"HOME": str(home)}), (other, {"CURL_HOME": str(other), "HOME": str(home)})):
            (directory / ".curlrc").write_text(f"user-agent = {directory.name}\nproxy = http://other.test")
            files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ=environ)
            assert files.curl is not None
            path = files.curl / ".curlrc"
            lines = path.read_text().splitlines()
            self.assertEqual(lines[:2], [f"user-agent = {directory.name}", "proxy = http://other.test"])
            self.assertEqual(lines[2:], [f'proxy = "{PROXY}"', 'noproxy = ""', f'cacert = "{files.bundle}"'])
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_php(self) -> None:
        files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ={})
        self.assertIn(f'curl.cainfo = "{files.bundle}"\n', (files.php / "egress.ini").read_text())

    def test_apt(self) -> None:
        """It overrides the files that it includes, also when one of them is an earlier file of this function."""
        main, own = (make_directory(self) / name for name in ("main", "own"))
        self.patch(module, "_APT_MAIN", main)
        files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ={"APT_CONFIG": str(own)})
        text = files.apt.read_text()
        self.assertNotIn("#include", text)
        for line in (
            f'Dir::Etc::main "{files.apt}";',
            f'Acquire::http::Proxy "{PROXY}";',
            f'Acquire::https::CAInfo "{files.bundle}";',
        ):
            self.assertIn(line, text.splitlines())
        for path in (main, own):
            path.write_text("")
        for before, included in ((own, [own, main]), (files.apt, [main]), ("", [main])):
            environ = {"APT_CONFIG": str(before)}
            files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ=environ)
            lines = [line for line in files.apt.read_text().splitlines() if "#include" in line]
            self.assertEqual(lines, [f'#include "{path}";' for path in included])

    def test_wgetrc(self) -> None:
        """It extends the configuration of the user, also when that is an earlier file of this function."""
        home = make_directory(self)
        (home / ".wgetrc").write_text("user = me\nhttps_proxy = http://other.test\nNo-Proxy=a.test\nUSEPROXY=off")
        environ = {"HOME": str(home)}
        for _ in range(2):
            files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ=environ)
            text = files.wgetrc.read_text()
            self.assertEqual(text.splitlines()[0], "user = me")
            own = ["use_proxy = on", f"http_proxy = {PROXY}", f"https_proxy = {PROXY}", "no_proxy ="]
            self.assertEqual(text.splitlines()[1:], [*own, f"ca_certificate = {files.bundle}"])
            environ["WGETRC"] = str(files.wgetrc)
        self.assertEqual(text.count("ca_certificate"), 1)

    def test_truststore(self) -> None:
        """It has the certificates of the system that can be parsed, each once."""
        damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        files = write_client_files(
            self.directory, [self.own], damaged + pem_of(self.other, self.own), NOW, proxy=PROXY, environ={}
        )
        store = files.truststore.read_bytes()
        if store.startswith(JKS_MAGIC):
            self.assertEqual(store, write_certificates([self.own, self.other], Form.JKS, PASSWORD, NOW))
            return
        found = pkcs12.load_pkcs12(store, PASSWORD.encode()).additional_certs
        self.assertEqual({each.certificate for each in found}, {self.own, self.other})

    def test_truststore_with_an_old_library(self) -> None:
        def write(certificates: object, form: Form, password: str, now: datetime) -> bytes:
            if form is Form.PKCS12:
                raise CaError("requires cryptography 45 or newer")
            self.assertIs(form, Form.JKS)
            return b"jks"

        self.patch(module, "write_certificates", write)
        files = write_client_files(self.directory, [self.own], b"", NOW, proxy=PROXY, environ={})
        self.assertEqual(files.truststore.read_bytes(), b"jks")
