"""Tests for L{egress.authz.chain}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.approvals import Approvals
from egress.authz.chain import AuthorizerChain, ChainDependencies, build_authorizer_chain
from egress.authz.secrets.table import SecretTable, parse_secret_table
from egress.config.model import AuditFailure, ConfigError, Mode, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, Obligations, Verdict
from egress.model.errors import AuditUnavailable
from egress.observability.audit_log import JsonLinesAudit
from egress.observability.metrics import Metrics
from egress.policy.parse.load import load_starter, parse_policy
from egress.policy.rules import RuleSet
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from tests.authz.secrets.test_command import Spawner
from tests.authz.test_fail_closed import REQUEST
from tests.proxy.fakes import ScriptedAuthorizer, allow

ALL = parse_policy('version = 1\ndefault = "allow"', "all.toml", "policy all")
NONE = parse_policy("version = 1", "none.toml", "policy none")


class DecidingTests(SynchronousTestCase):
    """What is put together for which configuration."""

    def make(
        self,
        own: IAuthorizer | None = None,
        rules: RuleSet | None = None,
        log: JsonLinesAudit | None = None,
        secrets: SecretTable | None = None,
        reactor: Any = None,
        shadow: RuleSet | None = None,
        **options: Any,
    ) -> AuthorizerChain:
        self.reactor = reactor = reactor or MemoryReactorClock()
        self.metrics = Metrics()
        config = ProxyConfig(**options)
        trust = ReloadableTrust(OriginTrust(None))
        around = ChainDependencies(reactor, reactor, config, trust, lambda _: None, self.metrics, log, secrets)
        return build_authorizer_chain(around, own, rules, shadow)

    def test_rules(self) -> None:
        deciding = self.make(rules=load_starter())
        self.assertEqual(deciding.authorizer.name, "policy starter")
        deciding.use(ALL)
        self.assertTrue(self.successResultOf(deciding.authorizer.decide(REQUEST)).allowed)
        self.assertEqual(list(deciding.checks), ["authorizer"])
        self.successResultOf(deciding.checks["authorizer"]())

    def test_own(self) -> None:
        deciding = self.make(ScriptedAuthorizer())
        self.assertTrue(self.successResultOf(deciding.authorizer.decide(REQUEST)).allowed)
        deciding.use(ALL)
        self.assertIsNone(deciding.policy)

    def test_service(self) -> None:
        deciding = self.make(authz_url="http://authz.test")
        self.assertEqual(deciding.authorizer.name, "the authorization service http://authz.test/validate")

    def test_reuse(self) -> None:
        """As the authorizer directs, until everything is read anew; rules are asked each time."""
        own = ScriptedAuthorizer()
        own.answers += [Decision(Verdict.ALLOW, "why", "own", ttl=10)] * 2
        deciding = self.make(own)
        for expected in (None, "cache"):
            self.assertEqual(self.successResultOf(deciding.authorizer.decide(REQUEST)).source, expected)
        deciding.use(None)
        self.assertIsNone(self.successResultOf(deciding.authorizer.decide(REQUEST)).source)
        self.assertIsNone(self.make(own, authz_cache=None).cache)
        self.assertIsNone(self.make(rules=ALL).cache)

    def test_a_person(self) -> None:
        """Who explains asks none, and who audits stands outside."""
        asking = parse_policy('version = 1\n[[rules]]\naction = "ask"', "ask.toml", "policy ask")
        reactor: Any = MemoryReactorClock()
        around = ChainDependencies(
            *(reactor, reactor, ProxyConfig(), ReloadableTrust(OriginTrust(None)), lambda _: None, Metrics(), None),
            approvals=Approvals(reactor, reactor.seconds, 300, 1, is_open=True),
        )
        deciding = build_authorizer_chain(around, None, asking)
        self.assertIs(self.successResultOf(deciding.without_approver.decide(REQUEST)).verdict, Verdict.ASK)
        self.assertNoResult(deciding.authorizer.decide(REQUEST))
        self.assertIs(deciding.rules, asking)
        deciding.use(ALL)
        self.assertIs(deciding.rules, ALL)
        self.assertTrue(self.successResultOf(deciding.authorizer.decide(REQUEST)).allowed)
        self.assertIn(b"egress_approvals_pending 1.0", around.metrics.render()[0])

    def test_secrets(self) -> None:
        """Those that the decisions name are filled in; without any, nobody does."""
        named = attrs.evolve(allow(), obligations=Obligations(secret_headers=((b"X", b"${secret:a}"),)))
        self.patch(os, "environ", {"A": "one", "B": "two"})
        table = '[a]\nenv = "A"\nhosts = ["a.test"]\nplain_http = true\n'
        own = ScriptedAuthorizer()
        deciding = self.make(own, secrets=parse_secret_table(table, "secrets.toml", Path()))
        for variable, value in (("A", b"one"), ("B", b"two")):
            deciding.use_secrets(parse_secret_table(table.replace('"A"', f'"{variable}"'), "secrets.toml", Path()))
            own.answers = [named]
            decision = self.successResultOf(deciding.authorizer.decide(REQUEST))
            self.assertEqual(decision.obligations.set_headers, ((b"X", value),))
        deciding = self.make(own)
        deciding.use_secrets(None)
        own.answers = [named]
        self.assertIs(self.successResultOf(deciding.authorizer.decide(REQUEST)), named)

    def test_commands_are_run(self) -> None:
        """By the reactor that was passed in."""
        own = ScriptedAuthorizer()
        own.answers = [attrs.evolve(allow(), obligations=Obligations(secret_headers=((b"X", b"${secret:a}"),)))]
        table = '[a]\ncommand = ["print"]\nhosts = ["a.test"]\nplain_http = true\n'
        spawner = Spawner()
        deciding = self.make(own, secrets=parse_secret_table(table, "secrets.toml", Path()), reactor=spawner)
        decided = deciding.authorizer.decide(REQUEST)
        spawner.protocol.outReceived(b"one")
        spawner.end(ProcessDone(0))
        self.assertEqual(self.successResultOf(decided).obligations.set_headers, ((b"X", b"one"),))

    def test_observing(self) -> None:
        deciding = self.make(rules=NONE, mode=Mode.OBSERVE)
        decision = self.successResultOf(deciding.authorizer.decide(REQUEST))
        self.assertEqual((decision.allowed, decision.observed), (True, "deny"))
        self.assertEqual(self.metrics.registry.get_sample_value("egress_observe_mode"), 1)
        self.make(rules=NONE)
        self.assertEqual(self.metrics.registry.get_sample_value("egress_observe_mode"), 0)

    def test_observing_holds_what_is_not_on_record(self) -> None:
        def full(line: bytes) -> None:
            raise OSError(28, "No space left on device")

        log = JsonLinesAudit(full, clock=Clock().seconds)
        deciding = self.make(
            rules=NONE, log=log, audit_log="/dev/full", audit_failure=AuditFailure.DENY, mode=Mode.OBSERVE
        )
        log.write_line(b"lost\n")
        self.failureResultOf(deciding.authorizer.decide(REQUEST), AuditUnavailable)

    def test_shadow_policy(self) -> None:
        """It is asked after the first, and read anew with it."""
        deciding = self.make(rules=ALL, shadow=NONE)
        for shadow, result in ((NONE, "stricter"), (ALL, "same")):
            deciding.use_shadow(shadow)
            self.assertTrue(self.successResultOf(deciding.authorizer.decide(REQUEST)).allowed)
            self.reactor.advance(0)
            value = self.metrics.registry.get_sample_value("egress_shadow_decisions_total", {"result": result})
            self.assertEqual(value, 1)
        self.successResultOf(deciding.authorizer.close())

    def test_shadow_service(self) -> None:
        """It gets neither the token nor the connections of the first."""
        deciding = self.make(
            authz_url="http://192.0.2.1",
            authz_token="main",
            shadow_authz_url="http://192.0.2.2:9000",
            shadow_authz_token="other",
        )
        shadow = deciding.authorizer._shadow._authorizer  # type: ignore[attr-defined]
        self.assertEqual(shadow.name, "the authorization service http://192.0.2.2:9000/validate")
        self.assertEqual(shadow._headers.getRawHeaders("Authorization"), ["Bearer other"])
        self.assertEqual(list(deciding.checks), ["authorizer"], "the proxy is ready without it")

    def test_shadows_that_cannot_be(self) -> None:
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("--shadow-authz-url", {"shadow_authz_url": "http://a_b.test"}),
            ("--shadow-log", {"shadow_authz_url": "http://a.test", "shadow_log": "/absent/log"}),
        )
        for option, options in cases:
            error = self.assertRaises(ConfigError, self.make, rules=ALL, **options)
            self.assertEqual(error.option, option)

    def test_audited(self) -> None:
        def full(line: bytes) -> None:
            raise OSError(28, "No space left on device")

        log = JsonLinesAudit(full, clock=Clock().seconds)
        deciding = self.make(rules=ALL, log=log, audit_log="/dev/full", audit_failure=AuditFailure.DENY)
        self.assertTrue(self.successResultOf(deciding.authorizer.decide(REQUEST)).allowed)
        log.write_line(b"lost\n")
        self.flushLoggedErrors()
        self.failureResultOf(deciding.authorizer.decide(REQUEST), AuditUnavailable)
        self.assertEqual(list(deciding.checks), ["authorizer", "audit"])
        self.failureResultOf(deciding.checks["audit"](), AuditUnavailable)
