"""Tests for L{egress.cli.notify}; L{tests.notify.test_trial} has those of the messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from egress.cli import notify
from egress.config.model import ProxyConfig
from egress.notify.trial import TrialResult
from egress.testing.reactor import MemoryReactor
from tests.cli.running import CommandTestCase

GOOD = TrialResult(target="https://a.test", format="json", accepted=True, status=204, text="status 204 (5 ms)")
BAD = TrialResult(target="https://b.test", format="slack", accepted=False, status=None, text="a\x1bb")


class NotifyTests(CommandTestCase):
    """The command prints the results."""

    def setUp(self) -> None:
        super().setUp()
        self.results = [GOOD]
        self.configs: list[ProxyConfig] = []
        self.patch(notify, "run", self.run_now)
        self.patch(notify, "send_test", self.sent)

    def run_now(self, start: Callable[[Any], Deferred[Any]]) -> Any:
        return self.successResultOf(start(MemoryReactor()))

    def sent(self, reactor: object, config: ProxyConfig, route: object) -> Deferred[Any]:
        self.configs.append(config)
        return succeed(self.results)

    def test_results(self) -> None:
        arguments = ("notify", "test", "--notify-url", "slack:https://a.test/hunter2", "--notify-interval", "7s")
        self.assertEqual(self.run_egress(*arguments), (0, "ok       https://a.test (json): status 204 (5 ms)\n", ""))
        self.assertEqual([config.notify.interval for config in self.configs], [7.0])
        self.results = [GOOD, BAD]
        status, out, _ = self.run_egress(*arguments)
        self.assertEqual((status, out.splitlines()[1]), (1, "error    https://b.test (slack): a\\x1bb"))

    def test_json(self) -> None:
        self.results = [BAD]
        status, out, _ = self.run_egress(
            "notify", "test", "--json", environ={"EGRESS_NOTIFY_URL": "slack:https://a.test/"}
        )
        (result,) = json.loads(out)["results"]
        self.assertEqual((status, result["target"], result["accepted"]), (1, "https://b.test", False))

    def test_nothing_to_send_to(self) -> None:
        status, out, err = self.run_egress("notify", "test")
        self.assertEqual((status, out, self.configs), (1, "", []))
        self.assertIn("set --notify-url", err)

    def test_invalid(self) -> None:
        status, _, err = self.run_egress("notify", "test", "--notify-url", "https://a.test/hunter2")
        self.assertEqual(status, 1)
        self.assertIn("--notify-secret-file", err)
        self.assertNotIn("hunter2", err)
