"""Tests for L{egress.deciding}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.secret_table import SecretTable, parse_secret_table
from egress.ca.current import CurrentTrust
from egress.ca.trust import OriginTrust
from egress.config import AuditFailure, ProxyConfig
from egress.deciding import Deciding, Surroundings, deciding_by
from egress.interfaces import IAuthorizer
from egress.model.decision import Terms
from egress.model.errors import AuditUnavailable
from egress.ops.audit import JsonLinesAudit
from egress.ops.metrics import Metrics
from egress.policy.load import load_starter, parse_policy
from egress.policy.rules import RuleSet
from tests.authz.test_chain import REQUEST
from tests.authz.test_command import Spawner
from tests.net.fakes import ScriptedAuthorizer, allow

ALL = parse_policy('version = 1\ndefault = "allow"', "all.toml", "policy all")


class DecidingTests(SynchronousTestCase):
    """What is put together for which configuration."""

    def make(
        self,
        own: IAuthorizer | None = None,
        rules: RuleSet | None = None,
        log: JsonLinesAudit | None = None,
        secrets: SecretTable | None = None,
        reactor: Any = None,
        **options: Any,
    ) -> Deciding:
        reactor = reactor or MemoryReactorClock()
        config = ProxyConfig(**options)
        trust = CurrentTrust(OriginTrust(None))
        around = Surroundings(reactor, reactor, config, trust, lambda _: None, Metrics(), log, secrets)
        return deciding_by(around, own, rules)

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

    def test_secrets(self) -> None:
        """Those that the decisions name are filled in; without any, nobody does."""
        named = attrs.evolve(allow(), terms=Terms(set_headers=((b"X", b"${secret:a}"),)))
        self.patch(os, "environ", {"A": "one", "B": "two"})
        table = '[a]\nenv = "A"\nhosts = ["a.test"]\nplain_http = true\n'
        own = ScriptedAuthorizer()
        deciding = self.make(own, secrets=parse_secret_table(table, "secrets.toml", Path()))
        for variable, value in (("A", b"one"), ("B", b"two")):
            deciding.use_secrets(parse_secret_table(table.replace('"A"', f'"{variable}"'), "secrets.toml", Path()))
            own.answers = [named]
            decision = self.successResultOf(deciding.authorizer.decide(REQUEST))
            self.assertEqual(decision.terms.set_headers, ((b"X", value),))
        deciding = self.make(own)
        deciding.use_secrets(None)
        own.answers = [named]
        self.assertIs(self.successResultOf(deciding.authorizer.decide(REQUEST)), named)

    def test_commands_are_run(self) -> None:
        """By the reactor that was passed in."""
        own = ScriptedAuthorizer()
        own.answers = [attrs.evolve(allow(), terms=Terms(set_headers=((b"X", b"${secret:a}"),)))]
        table = '[a]\ncommand = ["print"]\nhosts = ["a.test"]\nplain_http = true\n'
        spawner = Spawner()
        deciding = self.make(own, secrets=parse_secret_table(table, "secrets.toml", Path()), reactor=spawner)
        decided = deciding.authorizer.decide(REQUEST)
        spawner.protocol.outReceived(b"one")
        spawner.end(ProcessDone(0))
        self.assertEqual(self.successResultOf(decided).terms.set_headers, ((b"X", b"one"),))

    def test_audited(self) -> None:
        def full(line: bytes) -> None:
            raise OSError(28, "No space left on device")

        log = JsonLinesAudit(full, clock=Clock().seconds)
        deciding = self.make(rules=ALL, log=log, audit_failure=AuditFailure.DENY)
        self.assertTrue(self.successResultOf(deciding.authorizer.decide(REQUEST)).allowed)
        log.write_line(b"lost\n")
        self.flushLoggedErrors()
        self.failureResultOf(deciding.authorizer.decide(REQUEST), AuditUnavailable)
        self.assertEqual(list(deciding.checks), ["authorizer", "audit"])
        self.failureResultOf(deciding.checks["audit"](), AuditUnavailable)
