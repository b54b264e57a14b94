"""Tests for L{egress.cli.check}; L{tests.test_preflight} has those of the findings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from egress.cli import check
from egress.config.model import ProxyConfig
from egress.preflight import Finding, Level
from tests.cli.running import CommandTestCase

FINDINGS = [Finding(Level.OK, "--listen", "tcp:8080"), Finding(Level.WARNING, "--admin", "a\x1bb")]


class CheckTests(CommandTestCase):
    """The command prints the findings."""

    def setUp(self) -> None:
        super().setUp()
        self.findings = FINDINGS
        self.configs: list[ProxyConfig] = []
        self.patch(check, "run", self.run_now)
        self.patch(check, "check_configuration", self.checked)

    def run_now(self, start: Callable[[Any], Deferred[Any]]) -> Any:
        return self.successResultOf(start(None))

    def checked(self, reactor: object, config: ProxyConfig) -> Deferred[list[Finding]]:
        self.configs.append(config)
        return succeed(self.findings)

    def test_lines(self) -> None:
        self.assertEqual(
            self.run_egress("check", "--listen", "tcp:1"),
            (0, "ok       --listen: tcp:8080\nwarning  --admin: a\\x1bb\n", ""),
        )
        self.assertEqual([listener.endpoint for config in self.configs for listener in config.listen], ["tcp:1"])

    def test_colors(self) -> None:
        out = self.run_egress("check", environ={"FORCE_COLOR": "1"})[1]
        self.assertTrue(out.startswith("\x1b[32mok      \x1b[0m --listen: tcp:8080\n"), repr(out))

    def test_error(self) -> None:
        self.findings = [Finding(Level.ERROR, "--authz-url", "refused the connection")]
        self.assertEqual(self.run_egress("check")[0], 1)

    def test_invalid_value(self) -> None:
        """An invalid value is a finding, too."""
        status, out, err = self.run_egress("check", "--mode", "x")
        self.assertEqual((status, err), (1, ""))
        self.assertEqual(out, "error    --mode: 'x': choose enforce or observe\n")

    def test_json(self) -> None:
        status, out, _ = self.run_egress("check", "--json")
        self.assertEqual((status, json.loads(out)), (0, {"findings": [each.as_json() for each in FINDINGS]}))
