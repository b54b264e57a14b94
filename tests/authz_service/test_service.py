"""Tests for L{egress.authz_service.service}."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.application.service import IService
from twisted.internet.error import CannotListenError

from egress.authz.policy_watch import LOOK_EVERY
from egress.config.model import AuditFailure, ConfigError
from egress.model.decision import Decision, Verdict
from tests.authz.fakes import FixedAuthorizer
from tests.authz_service.callers import ALLOWED, DENIED, CallerTestCase, post
from tests.authz_service.test_validate_resource import secret
from tests.certificates import CLIENT, TestCA, TestCertificate
from tests.files import make_directory
from tests.proxy.fakes import Wire, content_of, status_of
from tests.transport.tls import TlsClient, TlsEnd, presenting

ALL_DENIED = 'version = 1\n[[rules]]\nid = "closed"\naction = "deny"\nreason = "closed for today"\n'


class ServiceTests(CallerTestCase):
    """The composed service."""

    def test_listens(self) -> None:
        service = self.serve()
        self.assertTrue(IService.providedBy(service))
        self.assertEqual(len(self.successResultOf(service.listening())), 1)
        ((port, _, _, interface),) = self.reactor.tcpServers
        self.assertEqual((port, interface), (9000, "127.0.0.1"))

    def test_busy_port(self) -> None:
        def busy(port: int, *args: Any, **kwargs: Any) -> Any:
            raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))

        self.patch(self.reactor, "listenTCP", busy)
        service = self.serve()
        self.failureResultOf(service.listening(), CannotListenError)

    def test_starter_policy(self) -> None:
        service = self.serve(policy=None)
        self.assertEqual(service.authorizer.name, "policy starter")
        self.assertEqual(self.ask({**ALLOWED, "url": "https://10.0.0.1/"})[1]["ruleId"], "private-addresses")
        self.assertEqual(self.ask({**ALLOWED, "addresses": ["10.0.0.1"]})[0], 403)
        self.assertEqual(self.ask()[0], 200)

    def test_invalid_policy(self) -> None:
        self.policy.write_text("garbage", "utf-8")
        with self.assertRaises(ConfigError) as caught:
            self.serve()
        self.assertIn("--policy: ", str(caught.exception))

    def test_policy_with_budgets(self) -> None:
        """The service does not see which requests are forwarded, so it refuses a policy that counts them."""
        self.policy.write_text(
            'version = 1\n[[rules]]\nname = "api"\naction = "allow"\n[rules.rate]\nrequests = 1\nper = "1m"\n'
        )
        error = self.assertRaises(ConfigError, self.serve)
        self.assertIn("rule api: only a proxy with --policy counts budgets: remove [rules.rate]", str(error))

    def test_policy_reload(self) -> None:
        """A changed policy applies within seconds, also on open connections; an invalid one does not."""
        self.serve()
        wire = self.connect()
        self.assertEqual(self.ask(wire=wire)[0], 200)
        self.reactor.pump([LOOK_EVERY, LOOK_EVERY])
        self.policy.write_text(ALL_DENIED, "utf-8")
        self.reactor.pump([LOOK_EVERY, LOOK_EVERY])
        self.assertEqual(self.ask(wire=wire)[1]["ruleId"], "closed")
        self.assertEqual((self.number("egress_policy_rules"), self.number("egress_policy_reloads_total")), (1, 1))
        self.policy.write_text("garbage", "utf-8")
        self.reactor.pump([LOOK_EVERY, LOOK_EVERY])
        self.assertEqual(self.ask(wire=wire)[1]["ruleId"], "closed")
        self.assertEqual(self.number("egress_policy_last_reload_successful"), 0)
        self.assertEqual(self.number("egress_policy_reload_failures_total"), 1)

    def test_reload(self) -> None:
        service = self.serve()
        self.policy.write_text("garbage", "utf-8")
        self.failureResultOf(service.reload(), ConfigError)
        self.assertEqual(self.ask()[0], 200)
        self.policy.write_text(ALL_DENIED, "utf-8")
        self.successResultOf(service.reload())
        self.assertEqual(self.ask()[0], 403)

    def test_private_addresses_of_a_reloaded_policy(self) -> None:
        self.serve()
        question = {**ALLOWED, "addresses": ["10.0.0.1"]}
        self.assertEqual(self.ask(question)[0], 200)
        self.policy.write_text('version = 1\nprivate_addresses = "deny"\ndefault = "allow"\n', "utf-8")
        self.successResultOf(self.service.reload())
        self.assertEqual(self.ask(question)[1]["ruleId"], "private-addresses")
        self.assertEqual(self.ask()[0], 200)

    def test_secrets_of_a_policy(self) -> None:
        """The service knows no values: it sends their names, to authenticated callers only."""
        self.policy.write_text(
            'version = 1\n[[rules]]\nid = "key"\naction = "allow"\nhosts = ["example.com"]\n'
            'set_headers = { X-Key = "${secret:key}" }\n',
            "utf-8",
        )
        self.serve(token="t")
        status, answer = self.ask(None, "Authorization: Bearer t")
        self.assertEqual((status, answer["setSecretHeaders"]), (200, {"x-key": "${secret:key}"}))

    def test_withheld_content(self) -> None:
        """Rules that read content request it, once they know that there is content."""
        self.policy.write_text(
            'version = 1\ndefault = "allow"\n[[rules]]\nid = "drop"\naction = "deny"\nreason = "no"\n'
            'json = { "action" = ["drop"] }\n',
            "utf-8",
        )
        self.serve()
        question = {**DENIED, "headers": '{"content-type":"application/json"}'}
        status, answer = self.ask({**question, "bodyWithheld": True, "contentLength": 17})
        self.assertEqual((status, answer["allowed"], answer["need"]), (200, False, "body"))
        self.assertEqual(self.ask({**question, "body": '{"action":"drop"}'})[1]["ruleId"], "drop")
        self.assertEqual(self.ask({**question, "body": '{"action":"keep"}'})[0], 200)

    def test_own_authorizer(self) -> None:
        """An application can provide the authorizer; then there is no policy."""
        fake = FixedAuthorizer(Decision(Verdict.DENY, "never", "fake", "r"))
        error = self.assertRaises(ConfigError, self.serve, fake, policy=Path("/nowhere"))
        self.assertEqual((error.option, error.value), ("policy", "/nowhere"))
        service = self.serve(fake)
        self.assertEqual(self.ask()[1], {"allowed": False, "reason": "never", "ruleId": "r"})
        self.successResultOf(service.reload())
        self.assertNotIn(b"egress_policy", service.metrics.render()[0])

    def test_audit_log(self) -> None:
        log = Path(self.mktemp())
        service = self.serve(audit_log=str(log))
        self.ask({**DENIED, "requestId": "id-7"})
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        (line,) = map(json.loads, log.read_text("utf-8").splitlines())
        self.assertEqual(
            {name: line[name] for name in ("requestId", "client", "verdict", "outcome", "ruleId", "url", "status")},
            {
                "requestId": "id-7",
                "client": "unknown:0",
                "verdict": "deny",
                "outcome": "decided",
                "ruleId": "no-writes",
                "url": "https://example.com/a?token=REDACTED",
                "status": 403,
            },
        )

    def test_audit_log_that_cannot_be_opened(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.serve(audit_log="/nowhere/audit")
        self.assertIn("--audit-log", str(caught.exception))

    def test_audit_log_that_cannot_be_written(self) -> None:
        """On a full disk, for example, the audit_failure setting applies."""
        for failure, status in ((AuditFailure.CONTINUE, 200), (AuditFailure.DENY, 503)):
            with self.subTest(failure):
                self.reactor.tcpServers.clear()
                service = self.serve(audit_log="/dev/full", audit_failure=failure)
                self.ask()
                self.assertEqual(self.ask()[0], status)
                self.assertGreaterEqual(self.number("egress_audit_lines_lost_total"), 1)
                self.assertEqual("audit" in service.checks, failure is AuditFailure.DENY)

    def test_sink_that_fails(self) -> None:
        def fail(record: object) -> None:
            raise RuntimeError("full")

        self.write = fail  # type: ignore[method-assign]
        self.serve()
        self.assertEqual(self.ask()[0], 200)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_metrics_and_health(self) -> None:
        service = self.serve(metrics_port=9090)
        self.assertEqual(len(self.successResultOf(service.listening())), 1)
        self.ask()
        for path, words in (
            ("/metrics", b'egressauthz_requests_total{verdict="allow"} 1.0'),
            ("/health/live", b'"live"'),
            ("/health/ready", b'"authorizer": "ok"'),
        ):
            answer = self.connect(9090).feed(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).take()
            self.assertEqual(status_of(answer), 200)
            self.assertIn(words, content_of(answer))

    def test_stopped(self) -> None:
        """A stopped service does not check the policy any more."""
        service = self.serve()
        self.successResultOf(service.stopService())
        self.policy.write_text(ALL_DENIED, "utf-8")
        self.reactor.pump([LOOK_EVERY, LOOK_EVERY])
        self.assertEqual(self.number("egress_policy_reloads_total"), 0)


class TlsTests(CallerTestCase):
    """Callers over TLS."""

    def listen(self, *settings: str, **config: Any) -> None:
        directory = make_directory(self).absolute()
        self.ca = TestCA("test CA")
        pem = self.ca.issue("authz.example").write_combined(directory, "server")
        self.ca.write(directory, "ca")
        entrance = ":".join([f"ssl:9443:privateKey={pem}", *settings]).format(ca=directory / "ca.pem")
        self.serve(FixedAuthorizer(secret()), listen=(entrance,), **config)

    def over_tls(self, mine: TestCertificate | None = None, wire: Wire | None = None) -> TlsEnd:
        return TlsClient(wire or self.connect(9443), None, context=presenting(mine)).shake()

    def status(self, end: TlsEnd) -> int:
        end.feed(post(json.dumps(ALLOWED).encode()))
        return status_of(end.take())

    def test_tls(self) -> None:
        """The caller is not authenticated, so the names of secrets are not sent."""
        self.listen()
        end = self.over_tls()
        self.assertEqual((self.status(end), self.status(end)), (403, 403))

    def test_certificate(self) -> None:
        """A certificate is equivalent to a token; where one is required, no connection works without it."""
        self.listen("client-ca={ca}")
        self.assertEqual(self.status(self.over_tls(self.ca.issue("proxy", usage=CLIENT))), 200)
        # In TLS 1.3 the handshake of the client is complete before the server rejects it.
        stranger = self.over_tls()
        self.assertRaises(SSL.Error, stranger.read)
        self.assertEqual(self.number("egressauthz_requests_total"), 0)

    def test_connection_limit(self) -> None:
        self.listen(connections=1)
        end = self.over_tls()
        self.connect(9443)
        self.reactor.advance(0)
        self.assertTrue(end.read().closed, "an idle one makes room")

    def test_drain(self) -> None:
        self.listen()
        end = self.over_tls()
        stopped = self.service.stopService()
        self.reactor.advance(0)
        self.assertTrue(end.read().closed)
        end.close()
        self.reactor.advance(20)
        self.reactor.advance(1)
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(stopped))

    def test_abort(self) -> None:
        """A stop does not wait for aborted connections."""
        self.listen()
        self.over_tls()
        stopped = self.service.stopService()
        self.service.abort()
        for _ in range(3):
            self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(stopped))

    def test_invalid_certificates(self) -> None:
        bad = Path(self.mktemp()).absolute()
        bad.write_text("garbage", "utf-8")
        with self.assertRaises(ConfigError) as caught:
            self.serve(listen=(f"ssl:9443:privateKey={bad}",))
        self.assertEqual(caught.exception.option, "--listen")
