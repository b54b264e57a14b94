"""Tests for L{egress.authz.secret_injection}."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.secret_injection import SecretInjectingAuthorizer
from egress.authz.secrets.table import parse_secret_table
from egress.authz.secrets.vault import Vault
from egress.http.obligations import validate
from egress.model.decision import Decision, DecisionRequest, Obligations
from egress.model.errors import AuthorizerUnavailable
from tests.authz.fakes import REQUEST
from tests.authz.secrets.test_table import DIRECTORY
from tests.proxy.fakes import ScriptedAuthorizer, allow, deny
from tests.untyped import untyped

TEXT = """
[user]
env = "USER_NAME"
hosts = ["a.test"]
plain_http = true
[slow]
command = ["print"]
hosts = ["a.test"]
plain_http = true
[far]
env = "USER_NAME"
hosts = ["elsewhere.test"]
"""


class SecretInjectionTests(SynchronousTestCase):
    """The names of secrets are replaced with values, where that is permitted."""

    def setUp(self) -> None:
        self.authorizer = ScriptedAuthorizer()
        self.command: Deferred[bytes] = Deferred()
        table = parse_secret_table(TEXT, "secrets.toml", DIRECTORY)
        vault = Vault(table, Clock(), lambda _: self.command, {"USER_NAME": "s3cr3t"})
        self.credentialed = SecretInjectingAuthorizer(self.authorizer, vault)

    def decide(self, value: bytes, decision: Decision | None = None) -> Deferred[Decision]:
        """Decide with a template in one field and a value in another."""
        obligations = Obligations(set_headers=((b"X", b"y"),), max_bytes=7, secret_headers=((b"Authorization", value),))
        self.authorizer.answers = [attrs.evolve(decision or allow(), obligations=obligations)]
        return self.credentialed.decide(REQUEST)

    def refused(self, value: bytes, says: str) -> None:
        error = self.failureResultOf(self.decide(value), AuthorizerUnavailable).value
        self.assertIn(says, error.reason)
        self.assertNotIn("s3cr3t", error.reason)

    def test_filled_in(self) -> None:
        decision = self.successResultOf(self.decide(b"Basic ${secret:user}:${secret:user}!"))
        self.assertEqual(decision.obligations.set_headers, ((b"X", b"y"), (b"Authorization", b"Basic s3cr3t:s3cr3t!")))
        self.assertEqual(decision.obligations.secret_headers, ())
        self.assertEqual((decision.obligations.max_bytes, decision.allowed), (7, True))
        self.assertNotIn("s3cr3t", repr(decision))
        self.assertIsNone(validate(decision.obligations))

    def test_without_secrets(self) -> None:
        self.assertEqual(self.successResultOf(self.credentialed.decide(REQUEST)), allow())
        self.assertEqual(
            self.successResultOf(self.decide(b"plain")).obligations.set_headers[1], (b"Authorization", b"plain")
        )
        plain = attrs.evolve(allow(), obligations=Obligations(set_headers=((b"X", b"y"),)))
        self.authorizer.answers = [plain]
        self.assertIs(self.successResultOf(self.credentialed.decide(REQUEST)), plain)

    def test_other_text_is_no_template(self) -> None:
        """An ordinary field, a reason or a rule id may contain text of a client."""
        mark = "${secret:user}"
        for obligations in (Obligations(set_headers=((b"X-User-Agent", mark.encode()),)), Obligations(max_bytes=1)):
            for more in (Obligations(), Obligations(secret_headers=((b"Authorization", mark.encode()),))):
                whole = attrs.evolve(obligations, secret_headers=more.secret_headers)
                said = attrs.evolve(allow(), reason=f"for {mark}", rule_id=mark, obligations=whole)
                with self.subTest(obligations=obligations, more=more):
                    self.authorizer.answers = [said]
                    decision = self.successResultOf(self.credentialed.decide(REQUEST))
                    self.assertEqual((decision.reason, decision.rule_id), (said.reason, mark))
                    kept = [value for name, value in decision.obligations.set_headers if name == b"X-User-Agent"]
                    self.assertEqual(kept, [value for _, value in obligations.set_headers])
                    if obligations.set_headers:
                        # It is not sent unchanged either: an older service may mean a template by it.
                        self.assertIn("only setSecretHeaders can contain", validate(decision.obligations) or "")

    def test_value_that_takes_time(self) -> None:
        call = self.decide(b"${secret:user}${secret:slow}")
        self.assertNoResult(call)
        self.command.callback(b"42\n")
        self.assertEqual(self.successResultOf(call).obligations.set_headers[1][1], b"s3cr3t42")

    def test_authorizer_that_takes_time(self) -> None:
        pending = self.authorizer.pending()
        call = self.credentialed.decide(REQUEST)
        pending.callback(attrs.evolve(allow(), obligations=Obligations(secret_headers=((b"X", b"${secret:user}"),))))
        self.assertEqual(self.successResultOf(call).obligations.set_headers, ((b"X", b"s3cr3t"),))

    def test_refused(self) -> None:
        self.refused(b"${secret:none}", "the secret none")
        self.refused(b"${secret:user} ${secret:far}", "the secret far may not be sent to a.test")
        for value in (b"${secret:}", b"${secret:user", b"${secret:user}${secret:a b}"):
            self.refused(value, "invalid reference")

    def test_denial_has_no_secrets(self) -> None:
        decision = self.successResultOf(self.decide(b"${secret:far}", deny()))
        self.assertEqual(decision.obligations.secret_headers[0][1], b"${secret:far}")

    def test_invalid_obligations_pass(self) -> None:
        invalid = attrs.evolve(allow(), obligations=Obligations(secret_headers=((b"Host", b"${secret:user}"),)))
        for decision in (invalid, *untyped(attrs.evolve, allow(), obligations=None)):
            self.authorizer.answers = [decision]
            self.assertIs(self.successResultOf(self.credentialed.decide(REQUEST)), decision)

    def test_failure_passes(self) -> None:
        self.authorizer.answers = [AuthorizerUnavailable("down")]
        self.failureResultOf(self.credentialed.decide(REQUEST), AuthorizerUnavailable)

    def test_close(self) -> None:
        call = self.decide(b"${secret:slow}")
        self.successResultOf(self.credentialed.close())
        self.failureResultOf(call, AuthorizerUnavailable)

    def test_request(self) -> None:
        self.credentialed.decide(REQUEST)
        self.assertEqual([type(call) for call in self.authorizer.asked], [DecisionRequest])
