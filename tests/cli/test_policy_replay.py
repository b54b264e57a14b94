"""Tests for L{egress.cli.policy_replay}."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.cli import policy_replay as replay
from egress.model.decision import Decision, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.policy.learn.replay import Change, Recording
from tests.authz.fakes import ManualAuthorizer
from tests.cli.running import CommandTestCase
from tests.policy.audit import audit_line, read

POLICY = b'version = 1\n[[rules]]\nid = "r"\naction = "allow"\nhosts = ["a.test"]\n'
A, B = audit_line("GET", "https://a.test/"), audit_line("GET", "https://b.test/")


class ReplayCommandTests(CommandTestCase):
    """Replay against another policy or a service."""

    def test_policy(self) -> None:
        policy = self.write("policy.toml", POLICY)
        status, out, err = self.run_egress("policy", "replay", self.write("a", A), "--policy", policy)
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("1 request unchanged.\n"), out)
        status, out, _ = self.run_egress("policy", "replay", self.write("b", A + B), "--policy", policy)
        self.assertEqual(status, 1)
        self.assertIn("Newly denied: 1 request\n", out)

    def test_json(self) -> None:
        policy = self.write("policy.toml", POLICY)
        status, out, _ = self.run_egress("policy", "replay", "--json", self.write("b", B), "--policy", policy)
        self.assertEqual(status, 1)
        self.assertEqual(json.loads(out)["differences"][0]["change"], "newly denied")

    def test_misused(self) -> None:
        audit = self.write("a", A)
        garbage = self.write("garbage", b"garbage")
        for arguments, words in (
            (["--policy", str(self.directory / "absent")], "cannot be read"),
            (["--policy", garbage], "is not TOML"),
            (["--authz-url", "ftp://a.test"], "--authz-url"),
            (["--authz-url", "none"], "specify a service"),
            (["--policy", garbage, "--authz-timeout", "3s"], "applies only to --authz-url; remove it"),
            (["--authz-url", "http://a.test", "--ssl-extra-ca-certs", garbage], "garbage"),
            (["--authz-url", "http://a.test", "--policy", "x"], "not allowed with"),
            ([], "is required"),
        ):
            status, out, err = self.run_egress("policy", "replay", audit, *arguments)
            self.assertEqual((status, out), (2, ""), arguments)
            self.assertIn(words, err)

    def test_service(self) -> None:
        """The service is queried as the proxy would query it, on the command's own reactor."""
        asked: list[Any] = []

        def run(start: Callable[[Any], Deferred[Any]]) -> Any:
            reactor: Any = MemoryReactorClock()
            asking = start(reactor)
            asked.extend(reactor.tcpClients)
            reactor.advance(60)
            return self.successResultOf(asking)

        self.patch(replay, "run", run)
        status, out, _ = self.run_egress(
            *("policy", "replay", self.write("a", A), "--authz-url", "http://127.0.0.1:9000", "--authz-timeout", "3s")
        )
        self.assertEqual((status, [client[:2] for client in asked]), (1, [("127.0.0.1", 9000)]))
        self.assertIn("Without a decision: 1 request", out)

    def test_api(self) -> None:
        """Another API has another path."""
        paths = []

        def remote(reactor: Any, service: Any, *more: Any) -> Any:
            paths.append(service.name)
            return ManualAuthorizer()

        self.patch(replay, "remote_authorizer", remote)
        self.patch(replay, "run", lambda start: start(MemoryReactorClock()) and [])
        arguments = ("--authz-url", "http://127.0.0.1:9000/v1/data/egress", "--authz-api", "opa")
        self.run_egress("policy", "replay", self.write("a", A), *arguments)
        self.assertEqual(paths, ["the authorization service http://127.0.0.1:9000/v1/data/egress"])

    def test_unresolvable_name(self) -> None:
        self.patch(replay, "run", lambda start: start(MemoryReactorClock()))
        status, _, err = self.run_egress("policy", "replay", self.write("a", A), "--authz-url", "http://a_b.test")
        self.assertEqual(status, 2)
        self.assertIn("without an underscore", err)


class AuthorizeAllTests(SynchronousTestCase):
    """Authorization requests are sent with limited concurrency."""

    def test_bounded(self) -> None:
        recording = Recording()
        for line in read(*(audit_line("GET", f"http://h{number}.test/") for number in range(5))):
            recording.add(line)
        slow = ManualAuthorizer()
        asking = replay.authorize_all(slow, recording, 2)
        self.assertEqual(len(slow.asked), 2)
        slow.asked[1][1].callback(Decision(Verdict.DENY, "no", "x", "r"))
        self.assertEqual(len(slow.asked), 3)
        slow.asked[0][1].errback(AuthorizerUnavailable("down"))
        for number in (2, 3, 4):
            self.assertNoResult(asking)
            slow.asked[number][1].callback(Decision(Verdict.ALLOW, "yes", "x", "r"))
        results = self.successResultOf(asking)
        self.assertEqual(
            [(result.recorded.origin.authority.host, result.change) for result in results],
            [
                ("h0.test", Change.UNAVAILABLE),
                ("h1.test", Change.NEWLY_DENIED),
                *((f"h{number}.test", Change.SAME) for number in (2, 3, 4)),
            ],
        )

    def test_unexpected_error(self) -> None:
        """An error other than an authorizer failure is raised as it is."""
        recording = Recording()
        for line in read(A):
            recording.add(line)
        slow = ManualAuthorizer()
        asking = replay.authorize_all(slow, recording, 2)
        slow.asked[0][1].errback(RuntimeError("a defect"))
        self.failureResultOf(asking)
