"""Tests for L{egress.cli.env}."""

from __future__ import annotations

import io
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from egress.client_settings.formats import WRITERS
from egress.config.model import ProxyConfig
from egress.tls.ca_source import ca_source
from tests.files import make_directory


class EnvCommandTests(SynchronousTestCase):
    """The variables for programs behind a running proxy."""

    def setUp(self) -> None:
        self.ca_dir = make_directory(self) / "ca"
        ca_source(ProxyConfig(ca_dir=self.ca_dir)).load_or_create(datetime.now(timezone.utc))

    def egress(self, *arguments: str, status: int = 0, **environ: str) -> tuple[str, str]:
        out, errors = io.StringIO(), io.StringIO()
        self.assertEqual(cli.main(["env", "--ca-dir", str(self.ca_dir), *arguments], environ, out, errors), status)
        return out.getvalue(), errors.getvalue()

    def test_variables(self) -> None:
        found: dict[str, Any] = json.loads(self.egress("--format", "json", "--proxy", "http://p.test:3128")[0])
        self.assertEqual((found["http_proxy"], found["NO_PROXY"]), ("http://p.test:3128", None))
        self.assertEqual(Path(found["NODE_EXTRA_CA_CERTS"]).read_bytes(), (self.ca_dir / "ca.pem").read_bytes())
        self.assertTrue(Path(found["SSL_CERT_FILE"]).is_file())

    def test_formats(self) -> None:
        self.assertIn("export HTTP_PROXY=http://127.0.0.1:8080\n", self.egress()[0])
        for name in WRITERS:
            self.assertIn("HTTPS_PROXY", self.egress("--format", name)[0])

    def test_an_invalid_proxy(self) -> None:
        self.assertIn("--proxy 'p.test:1': write a URL with a port", self.egress("--proxy", "p.test:1", status=1)[1])

    def test_without_a_ca(self) -> None:
        self.ca_dir = self.ca_dir.parent / "absent"
        self.assertIn(str(self.ca_dir), self.egress(status=1)[1])

    def test_a_directory_that_cannot_be_written(self) -> None:
        (self.ca_dir / "clients").write_text("")
        self.assertIn("make it writable", self.egress(status=1)[1])
