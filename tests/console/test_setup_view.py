"""Tests for L{egress.console.setup_view}."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta, timezone
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Fix, error, fault, ok, skipped, warning
from egress.client_settings.formats import WRITERS
from egress.console.setup_view import (
    DIRECTORY,
    CheckRun,
    SetupForm,
    ca_rows,
    der_of,
    files_script,
    settings_of,
    trust_commands,
)
from egress.tls.issuer import CertificateAuthority, fingerprint_of, pem_of

NOW = datetime(2026, 11, 29, tzinfo=timezone.utc)
DEFAULT = "http://127.0.0.1:8080"


def form(**parameters: str) -> SetupForm:
    return SetupForm.parse("/console/setup", parameters, DEFAULT)


class FormTests(SynchronousTestCase):
    """The choices of the visitor."""

    def test_defaults(self) -> None:
        found = form(format="exe")
        self.assertEqual((found.proxy, found.directory, found.format, found.errors), (DEFAULT, DIRECTORY, "sh", {}))

    def test_proxies(self) -> None:
        for text, valid in (
            ("http://proxy.example:8080", True),
            ("https://proxy.example:8080/", True),
            ("http://[2001:db8::1]:8080", True),
            ("http://proxy.example", False),
            ("http://proxy.example:0", False),
            ("http://proxy.example:x", False),
            ("http://proxy.example:99999", False),
            ("http://a:b@proxy.example:8080", False),
            ("http://proxy.example:8080/x", False),
            ("http://proxy.example:8080?x", False),
            ("http://proxy.example;id:8080", False),
            ("http://$(id):8080", False),
            ("http://[x:8080", False),
            ("ftp://proxy.example:21", False),
            ("x", False),
        ):
            with self.subTest(text):
                self.assertEqual("proxy" not in form(proxy=text).errors, valid)

    def test_directories(self) -> None:
        for text, valid in (
            ("/opt/my ca/", True),
            ("/", True),
            ("ca", False),
            ("/a;b", False),
            ("/a\nb", False),
            ("/'", False),
        ):
            with self.subTest(text):
                self.assertEqual("directory" not in form(directory=text).errors, valid)
        self.assertEqual(form(directory="/opt/my ca/").directory, "/opt/my ca")

    def test_formats(self) -> None:
        links = form(format="json", directory="/opt/ca").formats
        self.assertEqual([link.current for link in links], [False] * 4 + [True])
        self.assertEqual(
            links[0].path, "/console/setup?proxy=http%3A%2F%2F127.0.0.1%3A8080&directory=%2Fopt%2Fca#settings"
        )
        self.assertEqual(len(links), len(WRITERS))


class SettingsTests(SynchronousTestCase):
    """The settings are those of C{egress env}, for files that exist."""

    def variables(self, *, requires_auth: bool = False, **parameters: str) -> Any:
        return json.loads(settings_of(form(format="json", **parameters), requires_auth=requires_auth))

    def test_variables(self) -> None:
        found = self.variables(proxy="http://proxy.example:8080/", directory="/opt/my ca")
        self.assertEqual(found["HTTPS_PROXY"], "http://proxy.example:8080")
        self.assertEqual(found["SSL_CERT_FILE"], "/opt/my ca/bundle.pem")
        self.assertEqual(found["NODE_EXTRA_CA_CERTS"], "/opt/my ca/ca.pem")
        self.assertIsNone(found["NO_PROXY"])
        self.assertIn("-Dhttps.proxyHost=proxy.example", found["JAVA_TOOL_OPTIONS"])
        # No value names a file that the commands do not make.
        text = json.dumps(found)
        for name in ("trustStore=", "wgetrc", "apt.conf", "php"):
            self.assertNotIn(name, text)

    def test_credentials(self) -> None:
        found = self.variables(requires_auth=True)
        self.assertEqual(found["HTTPS_PROXY"], "http://NAME:PASSWORD@127.0.0.1:8080")

    def test_all_formats(self) -> None:
        for name in WRITERS:
            self.assertIn("SSL_CERT_FILE", settings_of(form(format=name), requires_auth=False))


class CaTests(SynchronousTestCase):
    """The certificates of the CA."""

    def setUp(self) -> None:
        self.authority = CertificateAuthority.create("test", NOW)
        self.next = CertificateAuthority.create("next", NOW)

    def test_rows(self) -> None:
        one, other = self.authority.certificate, self.next.certificate
        rows = ca_rows(one, [one, other], NOW)
        self.assertEqual(rows[0].fingerprint, fingerprint_of(one))
        self.assertEqual([row.role for row in rows], ["signs now", "trusted, for a rotation"])
        self.assertEqual((rows[0].kind, rows[0].name), ("good", one.subject.rfc4514_string()))
        end = one.not_valid_after_utc
        self.assertEqual(ca_rows(one, [one], end - timedelta(days=5))[0].kind, "warn")
        self.assertEqual(ca_rows(one, [one], end)[0].kind, "bad")

    def test_der(self) -> None:
        self.assertTrue(der_of(self.authority.certificate).startswith(b"\x30\x82"))

    def test_script(self) -> None:
        """A shell reads the certificate and the names as they are."""
        script = files_script(form(directory="/opt/my ca"), [self.authority.certificate])
        self.assertIn("sudo mkdir -p '/opt/my ca'\n", script)
        self.assertIn("'/opt/my ca/bundle.pem'", script)
        # With sudo replaced, tee writes the certificate to the standard output.
        functions = "exec 3>&1; sudo() { case $1 in tee) cat >&3;; esac; }; "
        done = subprocess.run(
            ["/bin/sh", "-c", functions + script], capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        self.assertTrue(done.stdout.startswith(pem_of(self.authority.certificate)), done)

    def test_commands(self) -> None:
        commands = trust_commands(("--ca-dir", "/my ca"))
        self.assertEqual(commands[0].text, "egress trust install --ca-dir '/my ca'")


class CheckTests(SynchronousTestCase):
    """The results of the checks."""

    def test_rows(self) -> None:
        findings = [
            ok("ca", "is valid"),
            skipped("upstream", "none"),
            warning("clock", "is late", Fix("timedatectl")),
            fault("other", "is broken", Fix("fix it")),
            error("dns", "failed"),
        ]
        run = CheckRun.of(findings, 1_800_000_000.0)
        self.assertEqual(
            [(row.name, row.kind, row.status, row.fix) for row in run.rows],
            [
                ("CA", "good", "ok", ""),
                ("Upstream proxy", "none", "skipped", ""),
                ("Clock", "warn", "warning", "timedatectl"),
                ("other", "bad", "fault", "fix it"),
                ("DNS", "warn", "not checked", ""),
            ],
        )
        self.assertEqual((run.when, run.summary), ("2027-01-15 08:00:00 UTC", "2 to fix"))
        self.assertEqual(CheckRun.of([ok("ca", "x")], 0.0).summary, "nothing to fix")
