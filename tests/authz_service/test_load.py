"""Tests for L{egress.authz_service.load}."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.load import load_authz_service_config, reference
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.config.model import MIB, AuditFailure, ConfigError
from egress.config.options import BY_NAME
from tests.files import make_directory

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "egressauthz.md"


class LoadTests(SynchronousTestCase):
    """Options override the environment, which overrides the file."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()

    def load(self, *given: str, **environ: str) -> AuthzServiceConfig:
        arguments: dict[str, list[str]] = {}
        for each in given:
            name, _, text = each.partition("=")
            arguments.setdefault(name, []).append(text)
        return load_authz_service_config(arguments, environ, None, self.directory)

    def refused(self, *given: str, **environ: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.load(*given, **environ)
        return str(caught.exception)

    def test_defaults(self) -> None:
        self.assertEqual(self.load(), AuthzServiceConfig())
        self.assertEqual(self.load(EGRESS_LISTEN="tcp:1", EGRESS_POLICY="/nowhere"), AuthzServiceConfig())

    def test_all_options(self) -> None:
        for name, text in (("policy.toml", "version = 1\n"), ("token", "s3cret\n")):
            (self.directory / name).write_text(text, "utf-8")
        self.assertEqual(
            self.load(
                "listen=tcp:1",
                "listen=unix:/run/a.sock",
                "policy=policy.toml",
                "token-file=token",
                "allow-address=10.0.0.0/8",
                "body-limit=2m",
                "max-connections=5",
                "idle-timeout=1m",
                "request-timeout=2s",
                "drain-timeout=3",
                "audit-log=-",
                "audit-failure=deny",
                "metrics-port=90",
                "metrics-interface=::1",
            ),
            AuthzServiceConfig(
                listen=("tcp:1", "unix:/run/a.sock"),
                policy=self.directory / "policy.toml",
                token="s3cret",
                allow_address=(ip_network("10.0.0.0/8"),),
                body_limit=2 * MIB,
                connections=5,
                idle_timeout=60.0,
                request_timeout=2.0,
                drain_timeout=3.0,
                audit_log="-",
                audit_failure=AuditFailure.DENY,
                metrics_port=90,
                metrics_interface="::1",
            ),
        )

    def test_layers(self) -> None:
        (self.directory / "f.toml").write_text("body-limit = 5\nidle-timeout = 6\nmetrics-port = 7\n", "utf-8")
        config = self.load(
            "config=f.toml", "metrics-port=9", EGRESSAUTHZ_IDLE_TIMEOUT="8", EGRESSAUTHZ_METRICS_PORT="1"
        )
        self.assertEqual((config.body_limit, config.idle_timeout, config.metrics_port), (5, 8.0, 9))

    def test_token(self) -> None:
        self.assertEqual(self.load(EGRESSAUTHZ_TOKEN="s3cret").token, "s3cret")
        self.assertIsNone(self.load("token-file=none", EGRESSAUTHZ_TOKEN="s3cret").token)
        self.assertNotIn("not one word", self.refused(EGRESSAUTHZ_TOKEN="not one word"))

    def test_invalid(self) -> None:
        for given, words in (
            ("listen=tcp:1:https=allow", "--listen 'tcp:1:https=allow': remove https"),
            ("listen=tcp:1:client-auth=none", "--listen 'tcp:1:client-auth=none': remove client-auth"),
            ("audit-failure=deny", "--audit-failure 'deny': has no effect without an audit log"),
            ("policy=nowhere.toml", "--policy 'nowhere.toml': must be a readable file"),
        ):
            with self.subTest(given):
                self.assertIn(words, self.refused(given))

    def test_working_directory(self) -> None:
        self.assertEqual(load_authz_service_config({}, {}), AuthzServiceConfig())


class DocumentationTests(SynchronousTestCase):
    """The page contains the current table, no other options, and all metrics."""

    def test_table(self) -> None:
        self.assertIn(reference(), PAGE.read_text("utf-8"), f"put this into the page:\n{reference()}")

    def test_no_other_option(self) -> None:
        """All options on the page are options of the service, of the proxy, or of the runner."""
        named = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", PAGE.read_text("utf-8")))
        own = {option.name for option in AUTHZ_SERVICE_OPTIONS}
        self.assertLessEqual(named - own, {*BY_NAME, "egress-proxy-authz-url"})
        self.assertLessEqual(own, named)
