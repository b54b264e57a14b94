"""Tests for L{egress.config.wording}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.load import load_config
from egress.config.model import ConfigError
from egress.config.options import OPTIONS
from egress.config.wording import Spellings
from tests.files import make_directory


class WordingTests(SynchronousTestCase):
    """Contradictions use the names of the command line, the environment or the file."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()

    def refused(self, arguments: dict[str, list[str]], environ: dict[str, str], expected: str) -> None:
        error = self.assertRaises(ConfigError, load_config, arguments, environ, None, self.directory)
        self.assertEqual(str(error), expected)

    def write(self, name: str, text: str = "") -> str:
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def test_command_line(self) -> None:
        self.write("c.pem")
        self.refused(
            {"audit-failure": ["deny"]},
            {},
            "--audit-failure 'deny': has no effect without an audit log: set --audit-log or --audit-store",
        )
        # The missing option, and the option that requires it.
        self.refused({"ca-cert": ["c.pem"]}, {}, "--ca-key: is required with --ca-cert")
        self.refused(
            {"approval-queue": ["5"]},
            {},
            "--approval-queue '5': has no effect without the admin API: set --admin",
        )
        self.refused(
            {"authz-queue": ["5"]},
            {},
            "--authz-queue '5': applies only to an authorization service: set --authz-url, or remove this",
        )

    def test_variables(self) -> None:
        """A variable without effect is ignored; a contradictory one is rejected by its name."""
        self.write("policy.toml", "version = 1\n")
        environ = {"EGRESS_APPROVAL_QUEUE": "5", "EGRESS_AUTHZ_QUEUE": "7", "EGRESS_ADMIN_TOKEN": "hunter2"}
        config = load_config({}, environ, None, self.directory)
        self.assertEqual((config.approval_queue, config.authz_queue, config.admin_token), (100, 1024, None))
        config = load_config({"authz-url": ["http://a.test"]}, environ, None, self.directory)
        self.assertEqual(config.authz_queue, 7)
        self.refused(
            {"policy": ["policy.toml"]},
            {"POSTMAN_RUNNER_AUTHZ_URL": "http://a.test"},
            "--policy 'policy.toml': cannot be combined with POSTMAN_RUNNER_AUTHZ_URL: remove one of them, "
            "or set it to none",
        )

    def test_file(self) -> None:
        path = self.write("egress.toml", 'metrics-interface = "0.0.0.0"\n')
        self.refused(
            {"config": ["egress.toml"]},
            {},
            f"metrics-interface in {path}:1 '0.0.0.0': has no effect without a metrics port: set --metrics-port",
        )

    def test_spellings(self) -> None:
        """Errors that are found after the configuration is loaded use the same names."""
        path = self.write("egress.toml", 'mode = "observe"\n\nsecrets = "x"\n')
        environ = {
            "EGRESS_POLICY": "x",
            "EGRESS_AUTHZ_TOKEN": "hunter2",
            "HTTP_PROXY": "http://p",
            "https_proxy": "http://q",
        }
        spellings = Spellings(OPTIONS, {"config": [path], "ca-dir": ["x"]}, environ)
        for option, expected in (
            ("--ca-dir", "--ca-dir"),
            ("--policy", "EGRESS_POLICY"),
            ("--authz-token-file", "EGRESS_AUTHZ_TOKEN"),
            ("--secrets", f"secrets in {path}:3"),
            ("--upstream-proxy", "HTTP_PROXY and https_proxy"),
            ("--listen", "--listen"),
            ("workers", "workers"),
        ):
            with self.subTest(option):
                self.assertEqual(spellings.of(option), expected)
        error = spellings.reworded(ConfigError("--policy", "x", "rule 3 has no reason"))
        self.assertEqual(str(error), "EGRESS_POLICY 'x': rule 3 has no reason")

    def test_spellings_of_an_invalid_configuration(self) -> None:
        """The error that is reported names the problem."""
        self.assertEqual(Spellings(OPTIONS, {"config": ["/no/such/file"]}, {}).of("--policy"), "--policy")

    def test_secrets(self) -> None:
        self.write("token", "hunter2")
        self.refused(
            {"admin-token-file": ["token"]},
            {},
            "--admin-token-file 'token': has no effect without the admin API: set --admin",
        )
