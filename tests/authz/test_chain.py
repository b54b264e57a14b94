"""Tests for L{egress.authz.chain}."""

from __future__ import annotations

import gzip
import os
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.approvals import Approvals
from egress.authz.cache import CachingAuthorizer
from egress.authz.chain import (
    AuthorizerChain,
    DecisionSources,
    build_authorizer_chain,
    decision_sources,
)
from egress.authz.chain_dependencies import ChainDependencies
from egress.authz.content_decoding import DecodingAuthorizer
from egress.authz.fail_closed import FailClosedAuthorizer
from egress.authz.limiter import LimitedAuthorizer
from egress.authz.remote.client import CreateEndpoint
from egress.authz.secrets.table import SecretTable, parse_secret_table
from egress.config.model import AuditFailure, ConfigError, Mode, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, UpstreamProxy
from egress.model.decision import Decision, Obligations, Verdict
from egress.model.errors import AuditUnavailable
from egress.observability.audit_log import JsonLinesAudit
from egress.observability.health import NotReady
from egress.observability.metrics import Metrics
from egress.policy.parse.load import load_starter, parse_policy
from egress.policy.rules import RuleSet
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from tests.authz.fakes import REQUEST
from tests.authz.secrets.test_command import Spawner
from tests.authz.servers import Endpoint, http
from tests.files import disk_full
from tests.proxy.fakes import ScriptedAuthorizer, allow

ALL = parse_policy('version = 1\ndefault = "allow"', "all.toml", "policy all")
NONE = parse_policy("version = 1", "none.toml", "policy none")


def no_upstream(upstream: object, authority: object) -> Any:
    """No connection of these tests goes through an upstream proxy."""
    raise AssertionError(authority)


class ChainTests(SynchronousTestCase):
    """The chain for each configuration."""

    def make(
        self,
        own: IAuthorizer | None = None,
        rules: RuleSet | None = None,
        log: JsonLinesAudit | None = None,
        secrets: SecretTable | None = None,
        reactor: Any = None,
        shadow: RuleSet | None = None,
        behind_upstream: CreateEndpoint = no_upstream,
        store: Any = None,
        **options: Any,
    ) -> AuthorizerChain:
        self.reactor = reactor = reactor or MemoryReactorClock()
        self.metrics = Metrics()
        config = ProxyConfig(**options)
        trust = ReloadableTrust(OriginTrust(None))
        around = ChainDependencies(
            reactor=reactor,
            sockets=reactor,
            config=config,
            authz_trust=trust,
            behind_upstream=behind_upstream,
            metrics=self.metrics,
            log=log,
            store=store,
            secrets=secrets,
        )
        sources = decision_sources(config, reactor, own=own, rules=rules, shadow_rules=shadow)
        chain = build_authorizer_chain(around, sources)
        self.assertEqual(chain.authorizer.name, sources.name)
        return chain

    def test_rules(self) -> None:
        chain = self.make(rules=load_starter())
        self.assertEqual(chain.authorizer.name, "policy starter")
        chain.use(ALL)
        self.assertTrue(self.successResultOf(chain.authorizer.decide(REQUEST)).allowed)
        self.assertEqual(list(chain.checks), ["authorizer"])
        self.successResultOf(chain.checks["authorizer"]())

    def test_own_authorizer(self) -> None:
        chain = self.make(ScriptedAuthorizer())
        self.assertTrue(self.successResultOf(chain.authorizer.decide(REQUEST)).allowed)
        chain.use(ALL)
        self.assertIsNone(chain.policy)

    def test_service(self) -> None:
        chain = self.make(authz_url="http://authz.test")
        self.assertEqual(chain.authorizer.name, "the authorization service http://authz.test/validate")

    def test_cache(self) -> None:
        """Decisions of the service are cached until a reload; decisions of rules are not cached."""
        own = ScriptedAuthorizer()
        own.answers += [Decision(Verdict.ALLOW, "why", "own", ttl=10)] * 2
        chain = self.make(own)
        for expected in (None, "cache"):
            self.assertEqual(self.successResultOf(chain.authorizer.decide(REQUEST)).source, expected)
        chain.use(None)
        self.assertIsNone(self.successResultOf(chain.authorizer.decide(REQUEST)).source)
        self.assertIsNone(self.make(own, authz_cache=None).cache)
        self.assertIsNone(self.make(rules=ALL).cache)

    def test_wrappers(self) -> None:
        """The embedded policy always decides immediately, so it needs no limiter."""
        service: dict[str, Any] = {"authz_url": "http://authz.test"}
        for options, kind in (
            ({"rules": ALL}, FailClosedAuthorizer),
            ({**service, "authz_cache": None}, LimitedAuthorizer),
            (service, CachingAuthorizer),
            ({**service, "authz_cache": None, "authz_decode_body": True}, DecodingAuthorizer),
            ({"own": ScriptedAuthorizer()}, CachingAuthorizer),
        ):
            with self.subTest(options):
                self.assertIsInstance(self.make(**options).without_approver, kind)

    def test_approvals(self) -> None:
        """An explanation waits for no approver, and the audit requirement is outside of the approvals."""
        asking = parse_policy('version = 1\n[[rules]]\naction = "ask"', "ask.toml", "policy ask")
        reactor: Any = MemoryReactorClock()
        around = ChainDependencies(
            reactor=reactor,
            sockets=reactor,
            config=ProxyConfig(),
            authz_trust=ReloadableTrust(OriginTrust(None)),
            behind_upstream=no_upstream,
            metrics=Metrics(),
            log=None,
            approvals=Approvals(reactor, reactor.seconds, timeout=300, limit=1, is_open=True),
        )
        chain = build_authorizer_chain(around, DecisionSources(rules=asking))
        self.assertIs(self.successResultOf(chain.without_approver.decide(REQUEST)).verdict, Verdict.ASK)
        self.assertNoResult(chain.authorizer.decide(REQUEST))
        self.assertIs(chain.rules, asking)
        chain.use(ALL)
        self.assertIs(chain.rules, ALL)
        self.assertTrue(self.successResultOf(chain.authorizer.decide(REQUEST)).allowed)
        self.assertIn(b"egress_approvals_pending 1.0", around.metrics.render()[0])

    def test_secrets(self) -> None:
        """Secrets that a decision names are filled in, if secrets are configured."""
        named = attrs.evolve(allow(), obligations=Obligations(secret_headers=((b"X", b"${secret:a}"),)))
        self.patch(os, "environ", {"A": "one", "B": "two"})
        table = '[a]\nenv = "A"\nhosts = ["a.test"]\nplain_http = true\n'
        own = ScriptedAuthorizer()
        chain = self.make(own, secrets=parse_secret_table(table, "secrets.toml", Path()))
        for variable, value in (("A", b"one"), ("B", b"two")):
            chain.use_secrets(parse_secret_table(table.replace('"A"', f'"{variable}"'), "secrets.toml", Path()))
            own.answers = [named]
            decision = self.successResultOf(chain.authorizer.decide(REQUEST))
            self.assertEqual(decision.obligations.set_headers, ((b"X", value),))
        chain = self.make(own)
        chain.use_secrets(None)
        own.answers = [named]
        self.assertIs(self.successResultOf(chain.authorizer.decide(REQUEST)), named)

    def test_secret_commands(self) -> None:
        """They run on the reactor of the chain."""
        own = ScriptedAuthorizer()
        own.answers = [attrs.evolve(allow(), obligations=Obligations(secret_headers=((b"X", b"${secret:a}"),)))]
        table = '[a]\ncommand = ["print"]\nhosts = ["a.test"]\nplain_http = true\n'
        spawner = Spawner()
        chain = self.make(own, secrets=parse_secret_table(table, "secrets.toml", Path()), reactor=spawner)
        decided = chain.authorizer.decide(REQUEST)
        spawner.protocol.outReceived(b"one")
        spawner.end(ProcessDone(0))
        self.assertEqual(self.successResultOf(decided).obligations.set_headers, ((b"X", b"one"),))

    def test_observe_mode(self) -> None:
        chain = self.make(rules=NONE, mode=Mode.OBSERVE)
        decision = self.successResultOf(chain.authorizer.decide(REQUEST))
        self.assertEqual((decision.allowed, decision.observed), (True, "deny"))
        self.assertEqual(self.metrics.registry.get_sample_value("egress_observe_mode"), 1)
        self.make(rules=NONE)
        self.assertEqual(self.metrics.registry.get_sample_value("egress_observe_mode"), 0)

    def test_observe_mode_with_audit_requirement(self) -> None:
        log = JsonLinesAudit(disk_full, clock=Clock().seconds)
        chain = self.make(
            rules=NONE, log=log, audit_log="/dev/full", audit_failure=AuditFailure.DENY, mode=Mode.OBSERVE
        )
        log.write_line(b"lost\n")
        self.failureResultOf(chain.authorizer.decide(REQUEST), AuditUnavailable)

    def test_shadow_policy(self) -> None:
        """It is called after the decision, and reloaded with the policy."""
        chain = self.make(rules=ALL, shadow=NONE)
        for shadow, result in ((NONE, "stricter"), (ALL, "same")):
            chain.use_shadow(shadow)
            self.assertTrue(self.successResultOf(chain.authorizer.decide(REQUEST)).allowed)
            self.reactor.advance(0)
            value = self.metrics.registry.get_sample_value("egress_shadow_decisions_total", {"result": result})
            self.assertEqual(value, 1)
        self.successResultOf(chain.authorizer.close())

    def test_shadow_service(self) -> None:
        """It uses neither the token nor the connections of the other service."""
        endpoints: dict[Authority, Endpoint] = defaultdict(Endpoint)
        chain = self.make(
            behind_upstream=lambda _, authority: endpoints[authority],
            authz_via_upstream=True,
            upstream_http=UpstreamProxy("http", Authority("proxy.test", 3128)),
            authz_url="http://192.0.2.1",
            authz_decode_body=True,
            authz_token="main",
            shadow_authz_url="http://192.0.2.2:9000",
            shadow_authz_token="other",
        )
        headers = ((b"Content-Encoding", b"gzip"),)
        coded = attrs.evolve(REQUEST, headers=headers, body=gzip.compress(b"decoded content"), content_length=9)
        decided = chain.authorizer.decide(coded)
        sent = endpoints[Authority("192.0.2.1", 80)].last.take()
        self.assertIn(b'"decodedBody":"decoded content"', sent)
        self.assertIn(b"\r\nAuthorization: Bearer main\r\n", sent)
        self.assertEqual(endpoints[Authority("192.0.2.2", 9000)].connections, [])
        endpoints[Authority("192.0.2.1", 80)].last.answer(http(b'{"allowed": true}', b"200 OK"))
        self.assertTrue(self.successResultOf(decided).allowed)
        self.reactor.advance(0)
        sent = endpoints[Authority("192.0.2.2", 9000)].last.take()
        self.assertTrue(sent.startswith(b"POST /validate HTTP/1.1\r\n"), sent)
        self.assertIn(b'"decodedBody":"decoded content"', sent)
        for field in (b"Host: 192.0.2.2:9000", b"Authorization: Bearer other"):
            self.assertIn(b"\r\n%b\r\n" % field, sent)
        self.assertEqual(list(chain.checks), ["authorizer"], "the proxy is ready without it")

    def test_invalid_shadows(self) -> None:
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("--shadow-authz-url", {"shadow_authz_url": "http://a_b.test"}),
            ("--shadow-log", {"shadow_authz_url": "http://a.test", "shadow_log": "/absent/log"}),
        )
        for option, options in cases:
            error = self.assertRaises(ConfigError, self.make, rules=ALL, **options)
            self.assertEqual(error.option, option)

    def test_audit_requirement(self) -> None:
        log = JsonLinesAudit(disk_full, clock=Clock().seconds)
        chain = self.make(rules=ALL, log=log, audit_log="/dev/full", audit_failure=AuditFailure.DENY)
        self.assertTrue(self.successResultOf(chain.authorizer.decide(REQUEST)).allowed)
        log.write_line(b"lost\n")
        self.flushLoggedErrors()
        self.failureResultOf(chain.authorizer.decide(REQUEST), AuditUnavailable)
        self.assertEqual(list(chain.checks), ["authorizer", "audit"])
        self.failureResultOf(chain.checks["audit"](), AuditUnavailable)

    def test_audit_note(self) -> None:
        """Without the requirement, the readiness check only notes what is not in the log."""
        for failure in AuditFailure:
            log = JsonLinesAudit(disk_full, clock=Clock().seconds)
            chain = self.make(rules=ALL, log=log, audit_log="/dev/full", audit_failure=failure)
            self.assertIsNone(self.successResultOf(chain.checks["audit"]()))
        chain = self.make(rules=ALL, log=log, audit_log="/dev/full")
        log.write_line(b"lost\n")
        self.flushLoggedErrors()
        self.assertIn("the audit log cannot be written", self.successResultOf(chain.checks["audit"]()))
        self.assertNotIn("audit", self.make(rules=ALL).checks)

    def test_starting_audit_store(self) -> None:
        """The proxy is not ready until the writer of the audit store has started."""
        for failure in AuditFailure:
            store: Any = SimpleNamespace(is_starting=True, fault=None, note=None)
            chain = self.make(rules=ALL, store=store, audit_store="postgresql://db.test/a", audit_failure=failure)
            reason = self.failureResultOf(chain.checks["audit"](), NotReady).getErrorMessage()
            self.assertEqual(reason, "the process that writes the audit store is starting")
            self.assertTrue(self.successResultOf(chain.authorizer.decide(REQUEST)).allowed)
            store.is_starting, store.note = False, "2 audit records wait in the spool"
            self.assertEqual(self.successResultOf(chain.checks["audit"]()), store.note)
