"""Tests for L{egress.launch.secrets}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.launch.secrets import secret_files, without_secrets
from tests.files import make_directory


class SecretsTests(SynchronousTestCase):
    """What a command must not get."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.secrets, self.token = self.directory / "secrets.toml", self.directory / "token"
        self.secrets.write_text('[a]\nfile = "token"\nhosts = ["a.test"]\n[b]\nenv = "MINE"\nhosts = ["a.test"]\n')
        self.secrets.chmod(0o600)
        self.token.write_text("hunter2")
        self.token.chmod(0o600)

    def test_files(self) -> None:
        keys = [self.directory / "key.pem", self.directory / "next.pem"]
        found = secret_files(ProxyConfig(ca_dir=self.directory))
        self.assertEqual(len(found), len(keys))
        self.assertTrue(all(path.startswith(str(self.directory)) for path in found))
        others = secret_files(ProxyConfig(ca_dir=self.directory, secrets=self.secrets))
        self.assertEqual(others, [*found, str(self.secrets), str(self.token)])
        key = self.directory / "audit.key"
        signing = ProxyConfig(ca_dir=self.directory, audit_store="sqlite:a.db", audit_signing_key=key)
        self.assertEqual(secret_files(signing), [*found, str(key)])

    def test_variables(self) -> None:
        environ = {
            "MINE": "hunter2",
            "EGRESS_AUTHZ_TOKEN": "hunter2",
            "EGRESS_SHADOW_AUTHZ_TOKEN": "hunter2",
            "EGRESS_ADMIN_TOKEN": "hunter2",
            "EGRESS_NOTIFY_SECRET": "hunter2",
            "EGRESS_NOTIFY_URL": "https://hooks.test/hunter2",
            "EGRESS_UPSTREAM_PROXY": "http://me:hunter2@p.test:1",
            "PATH": "/bin",
        }
        self.assertEqual(without_secrets(environ, ProxyConfig(secrets=self.secrets)), {"PATH": "/bin"})
        self.assertEqual(without_secrets(environ, ProxyConfig()), {"MINE": "hunter2", "PATH": "/bin"})
