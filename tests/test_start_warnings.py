"""Tests for L{egress.start_warnings}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.config.shared import SharedSettings
from egress.model.file_access import FileMode
from egress.resources import load_resources
from egress.start_warnings import start_warnings
from egress.tracing import telemetry as telemetry_module
from tests.files import make_directory

ASK = """version = 1
[[rules]]
name = "one"
action = "ask"
reason = "release"
hosts = ["one.example"]
[[rules]]
name = "two"
action = "allow"
reason = "always"
hosts = ["two.example"]
"""


class StartWarningsTests(SynchronousTestCase):
    """What a configuration intends, but cannot do."""

    def setUp(self) -> None:
        self.directory = make_directory(self)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def warnings(self, environ: Mapping[str, str] = MappingProxyType({}), **options: Any) -> list[str]:
        config = ProxyConfig(**options)
        resources = load_resources(config, embedded=config.authz_url is None)
        return [str(warning) for warning in start_warnings(config, resources, Clock(), environ)]

    def test_nothing(self) -> None:
        self.assertEqual(self.warnings(), [])
        self.assertEqual(self.warnings(authz_url="http://authz.test"), [])

    def test_rule_without_approver(self) -> None:
        policy = self.write("policy.toml", ASK)
        (warning,) = self.warnings(policy=policy)
        self.assertTrue(warning.startswith("--admin: is not set, so no approver"), warning)
        self.assertIn(f"of the rule one ({policy}:2), and they are denied", warning)
        self.assertEqual(self.warnings(policy=policy, admin="unix:/run/admin.sock"), [])

    def test_several_rules(self) -> None:
        policy = self.write("policy.toml", ASK.replace('"allow"', '"ask"'))
        (warning,) = self.warnings(policy=policy)
        self.assertIn(f"of the rule one ({policy}:2) and 1 more, and", warning)

    def test_nothing_to_share(self) -> None:
        settings: Any = {"location": "redis://a.test", "key": bytes(32)}
        shared = SharedSettings(**settings)
        self.assertIn(
            "--shared: has no effect on decisions of a policy without budgets", self.warnings(shared=shared)[0]
        )
        self.assertEqual(self.warnings(shared=shared, authz_url="http://authz.test"), [])
        (warning,) = self.warnings(shared=shared, authz_url="http://authz.test", authz_cache=None)
        self.assertIn("without a cache", warning)

    def test_telemetry(self) -> None:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
        wrong = {**endpoint, "OTEL_TRACES_EXPORTER": "zipkin"}
        self.patch(telemetry_module, "find_spec", lambda name: name)
        self.assertEqual(self.warnings(endpoint), [])
        (warning,) = self.warnings(wrong)
        self.assertEqual(warning, "OTEL_TRACES_EXPORTER: zipkin is not supported: use otlp or none")
        self.patch(telemetry_module, "find_spec", lambda name: None)
        (warning,) = self.warnings(endpoint)
        self.assertIn("--otel: the environment has OTEL_ variables, but the OpenTelemetry SDK is not", warning)
        self.assertIn("install egressproxy[opentelemetry]", warning)
        self.assertEqual(self.warnings(wrong, otel="off"), [])

    def test_unreadable_secret(self) -> None:
        self.write("token", "s3cr3t")
        text = '[{0}]\nfile = "{1}"\nhosts = ["a.example"]\n'
        secrets = self.write("secrets.toml", text.format("good", "token") + text.format("bad", "missing"))
        (warning,) = self.warnings(secrets=secrets)
        self.assertIn("--secrets: the secret bad cannot be read: its file", warning)
        self.assertIn("503", warning)

    def test_permissions_of_the_audit_log(self) -> None:
        """The permissions of an existing file do not change."""
        path = self.write("audit log", "")
        self.assertEqual(self.warnings(audit_log=str(path)), [])
        group = path.stat().st_gid
        self.assertEqual(
            self.warnings(audit_log=str(path), audit_log_mode=FileMode.GROUP_READS, audit_log_group=group + 1),
            [
                f"--audit-log-mode: the file exists with the mode 600: run chmod 640 '{path}'",
                f"--audit-log-group: the file exists with the group {group}: run chgrp {group + 1} '{path}'",
            ],
        )
        path.chmod(0o640)
        given: dict[str, Any] = {"audit_log_mode": FileMode.GROUP_READS, "audit_log_group": group}
        for target in (path, self.directory / "absent", "/dev/null"):
            self.assertEqual(self.warnings(audit_log=str(target), **given), [])
