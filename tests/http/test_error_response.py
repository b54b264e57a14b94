"""Tests for L{egress.http.error_response}."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.call import Kind
from egress.http.error_response import encode_error_response, prefers_text, reason_phrase
from egress.http.heads import MAX_ACCEPT
from egress.model.decision import Decision, Verdict
from egress.model.errors import (
    OUTCOMES,
    AddressForbidden,
    AuthorizerUnavailable,
    BadRequest,
    BudgetExhausted,
    ClientAuthBusy,
    ClientAuthRequired,
    ClientCredentialsRejected,
    ClientDisconnected,
    Denied,
    EgressError,
    InternalError,
    MaxForwardsReached,
    NameNotResolved,
    OriginTimeout,
    PortForbidden,
    ProxyAddressed,
    UpstreamRefused,
)

DECISION = Decision(Verdict.DENY, "writes are closed", "x", rule_id="no-writes")
DENIED = Denied(DECISION)
# The further arguments of errors.
MORE: dict[type[EgressError], tuple[int, ...]] = {UpstreamRefused: (407,)}


def denied(rule_id: str | None) -> Denied:
    return Denied(Decision(Verdict.DENY, "no", "x", rule_id=rule_id))


BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def response(error: EgressError = DENIED, **options: object) -> tuple[str, dict[str, str], bytes]:
    """Create an error response.

    @return: its status line, its fields, its content.
    """
    arguments: dict[str, object] = {"accept": None, "head_only": False, "keep_alive": True, "date": b"now", **options}
    head, _, content = encode_error_response(error, "id-1", **arguments).partition(b"\r\n\r\n")  # type: ignore[arg-type]
    line, *fields = head.decode("latin-1").split("\r\n")
    return line, dict(field.split(": ", 1) for field in fields), content


class ErrorResponseTests(SynchronousTestCase):
    """Error responses for people and programs."""

    def test_problem_document(self) -> None:
        line, fields, content = response()
        self.assertEqual(line, "HTTP/1.1 403 Denied by egress policy (rule no-writes)")
        self.assertEqual(fields["Content-Type"], "application/problem+json")
        self.assertEqual(fields["Content-Length"], str(len(content)))
        self.assertEqual(fields["Cache-Control"], "no-store")
        self.assertEqual(
            json.loads(content),
            {
                "type": "urn:egressproxy:denied",
                "title": "Denied by the egress policy",
                "status": 403,
                "detail": "writes are closed",
                "reason": "writes are closed",
                "stage": "authz",
                "decisionId": "id-1",
                "ruleId": "no-writes",
            },
        )

    def test_proxy_status(self) -> None:
        self.assertEqual(
            response()[1]["Proxy-Status"],
            'egressproxy; error=http_request_denied; details="writes are closed"',
        )
        self.assertTrue(response(UpstreamRefused("no", 407))[1]["Proxy-Status"].endswith("; received-status=407"))

    def test_text(self) -> None:
        _, fields, content = response(accept=BROWSER)
        self.assertTrue(fields["Content-Type"].startswith("text/plain"))
        text = content.decode("utf-8")
        for part in ("Denied by the egress policy (403)", "writes are closed", "authz", "id-1", "no-writes"):
            with self.subTest(part):
                self.assertIn(part, text)
        self.assertNotIn(b"rule:", response(BadRequest("bad"), accept=BROWSER)[2])

    def test_head_has_no_content_but_its_length(self) -> None:
        _, fields, content = response(head_only=True)
        self.assertEqual(content, b"")
        self.assertEqual(fields["Content-Length"], response()[1]["Content-Length"])

    def test_connection(self) -> None:
        self.assertEqual(response()[1]["Connection"], "keep-alive")
        self.assertEqual(response(keep_alive=False)[1]["Connection"], "close")

    def test_authentication_challenges(self) -> None:
        for error in (ClientAuthRequired("say who you are"), ClientCredentialsRejected("no")):
            line, _, _ = response(error)
            self.assertEqual(line, "HTTP/1.1 407 Proxy Authentication Required")
            head = encode_error_response(error, "id-1", accept=None, head_only=True, keep_alive=True, date=b"now")
            self.assertIn(b'\r\nProxy-Authenticate: Basic realm="egressproxy", charset="UTF-8"\r\n', head)
            self.assertIn(b'\r\nProxy-Authenticate: Bearer realm="egressproxy"\r\n', head)
        self.assertNotIn("Proxy-Authenticate", response()[1])

    def test_retry_after(self) -> None:
        line, fields, _ = response(ClientAuthBusy("later"))
        self.assertEqual((line, fields["Retry-After"]), ("HTTP/1.1 429 Too Many Requests", "1"))
        self.assertNotIn("Proxy-Authenticate", fields)

    def test_exhausted_budget(self) -> None:
        error = BudgetExhausted("the rule api permits 5 requests per 1m", "api", "rate.requests", 7)
        line, fields, content = response(error)
        self.assertEqual((line, fields["Retry-After"]), ("HTTP/1.1 429 Too Many Requests", "7"))
        document = json.loads(content)
        self.assertEqual((document["ruleId"], document["budget"]), ("api", "rate.requests"))
        self.assertEqual((document["type"], document["stage"]), ("urn:egressproxy:budget-exhausted", "budget"))
        self.assertEqual(document["title"], "Denied by the egress policy")
        self.assertNotIn("Retry-After", response(BudgetExhausted("too large", "api", "budget.bytes"))[1])

    def test_retry_after_of_the_authorizer(self) -> None:
        self.assertEqual(response(AuthorizerUnavailable("x", retry_after=7))[1]["Retry-After"], "7")
        for error in (AuthorizerUnavailable("x"), DENIED):
            self.assertNotIn("Retry-After", response(error)[1])

    def test_errors_without_a_response(self) -> None:
        self.assertRaises(ValueError, response, ClientDisconnected("gone"))

    def test_head_that_prefers_text(self) -> None:
        _, fields, content = response(head_only=True, accept=BROWSER)
        self.assertEqual((content, fields["Content-Length"]), (b"", str(len(response(accept=BROWSER)[2]))))

    def test_every_error_with_a_response(self) -> None:
        for kind, outcome in OUTCOMES.items():
            if outcome.status is None or kind in (MaxForwardsReached, ProxyAddressed):
                continue
            with self.subTest(kind.__name__):
                error = kind(DECISION) if issubclass(kind, Denied) else kind("x", *MORE.get(kind, ()))
                line, fields, content = response(error)
                phrase = reason_phrase(error, outcome.code, outcome.status).decode("ascii")
                self.assertEqual(line, f"HTTP/1.1 {outcome.status.value} {phrase}")
                self.assertIn(f"; error={outcome.proxy_error};", fields["Proxy-Status"])
                problem = json.loads(content)
                self.assertEqual(problem["type"], f"urn:egressproxy:{outcome.code}")
                self.assertEqual((problem["status"], problem["stage"]), (outcome.status.value, outcome.stage))

    def test_max_forwards_reached(self) -> None:
        """The response is that of an OPTIONS request, without an error."""
        line, fields, content = response(MaxForwardsReached("no hop is left"))
        self.assertEqual((line, content), ("HTTP/1.1 200 OK", b""))
        self.assertEqual(set(fields), {"Date", "Content-Length", "Connection"})
        self.assertEqual((fields["Content-Length"], fields["Connection"]), ("0", "keep-alive"))
        self.assertEqual(response(MaxForwardsReached("x"), keep_alive=False)[1]["Connection"], "close")

    def test_proxy_addressed(self) -> None:
        """The response is no error, and names the proxy but not its version."""
        line, fields, content = response(ProxyAddressed("it works"))
        self.assertEqual(line, "HTTP/1.1 200 OK")
        self.assertEqual(fields["Content-Type"], "application/json")
        self.assertEqual(fields["Proxy-Status"], 'egressproxy; details="it works"')
        self.assertEqual(
            json.loads(content),
            {
                "type": "urn:egressproxy:proxy-addressed",
                "title": "Response of the proxy",
                "status": 200,
                "detail": "it works",
                "reason": "it works",
                "stage": "request",
                "decisionId": "id-1",
            },
        )
        text = response(ProxyAddressed("it works"), accept=BROWSER)[2].decode("ascii")
        self.assertTrue(text.startswith("egressproxy: Response of the proxy (200)\n\nit works\n"), text)

    def test_the_status_line_names_the_cause(self) -> None:
        for error, phrase in (
            (denied("npm-writes"), "Denied by egress policy (rule npm-writes)"),
            (denied(None), "Denied by egress policy"),
            (denied("für\r\nX: y"), "Denied by egress policy (rule f?r??X: y)"),
            (denied("a" * 48), f"Denied by egress policy (rule {'a' * 48})"),
            (denied("a" * 50), f"Denied by egress policy (rule {'a' * 46}...)"),
            (AddressForbidden("x"), "Denied by egress policy (address forbidden)"),
            (PortForbidden("x"), "Denied by egress policy (port forbidden)"),
            (NameNotResolved("x"), "Bad Gateway (name not resolved)"),
            (UpstreamRefused("x", 407), "Bad Gateway (upstream refused)"),
            (AuthorizerUnavailable("x"), "Service Unavailable (authorizer unavailable)"),
            (OriginTimeout("x"), "Gateway Timeout (origin timeout)"),
            (BadRequest("x"), "Bad Request"),
            (ClientAuthRequired("x"), "Proxy Authentication Required"),
            (InternalError("x"), "Internal Server Error"),
        ):
            with self.subTest(phrase):
                line = response(error)[0]
                self.assertEqual(line.split(" ", 2)[2], phrase)
                self.assertLessEqual(len(phrase), 80)

    @given(st.text(max_size=200))
    def test_rule_names_are_escaped_in_the_status_line(self, name: str) -> None:
        phrase = response(denied(name))[0].split(" ", 2)[2]
        self.assertTrue(phrase.startswith("Denied by egress policy (rule ") and phrase.endswith(")"), phrase)
        self.assertTrue(phrase.isascii() and phrase.isprintable() and len(phrase) <= 80, phrase)

    def test_reasons_in_a_structured_field(self) -> None:
        for name, reason, details in (
            ("quotes", 'say "no"', r'"say \"no\""'),
            ("backslashes", "a\\b", r'"a\\b"'),
            ("other letters", "für € 5", '"f?r ? 5"'),
            ("line ends", "a\r\nSet-Cookie: b", '"a  Set-Cookie: b"'),
            ("other control characters", "\x00\x1b[31m\x7f", '"  [31m "'),
            ("half a character", "\ud800", '"?"'),
            ("long", "x" * 5000, '"' + "x" * 397 + '..."'),
        ):
            with self.subTest(name):
                self.assertTrue(response(BadRequest(reason))[1]["Proxy-Status"].endswith(f"details={details}"))

    def test_text_has_no_terminal_control_characters(self) -> None:
        denied = Denied(Decision(Verdict.DENY, "a\x1b[31m\x9b31m\r\nb\ud800\u2028ü", "x", rule_id="r\x1b"))
        content = response(denied, accept=b"text/plain")[2].decode("utf-8")
        self.assertIn("\na [31m 31m  b  ü\n", content)
        self.assertIn("rule: r \n", content)

    @given(st.text(st.characters(), max_size=60))
    def test_a_reason_cannot_inject_fields(self, reason: str) -> None:
        _, fields, content = response(BadRequest(reason))
        self.assertEqual(json.loads(content)["reason"], reason.encode("utf-8", "replace").decode("utf-8"))
        self.assertEqual(len(content), int(fields["Content-Length"]))
        _, text_fields, text = response(BadRequest(reason), accept=BROWSER)
        self.assertEqual(len(text), int(text_fields["Content-Length"]))
        self.assertEqual(set(text_fields), set(fields))
        self.assertEqual(
            set(fields), {"Date", "Content-Type", "Content-Length", "Cache-Control", "Proxy-Status", "Connection"}
        )
        details = fields["Proxy-Status"].partition("details=")[2]
        self.assertRegex(details, r'\A"(?:[ !#-\[\]-~]|\\["\\])*"\Z')


class GrpcTests(SynchronousTestCase):
    """The responses to gRPC requests."""

    def test_status(self) -> None:
        line, fields, content = response(grpc=Kind.GRPC, accept=b"text/html")
        self.assertEqual((line, content), ("HTTP/1.1 200 OK", b""))
        self.assertEqual(fields["Content-Type"], "application/grpc")
        self.assertEqual((fields["grpc-status"], fields["grpc-message"]), ("7", "writes are closed"))
        self.assertIn("grpc-status-details-bin", fields)
        self.assertEqual((fields["Content-Length"], fields["Connection"]), ("0", "keep-alive"))
        self.assertEqual(fields["Proxy-Status"], response()[1]["Proxy-Status"])

    def test_web(self) -> None:
        line, fields, content = response(grpc=Kind.WEB)
        self.assertEqual((line, fields["Content-Type"]), ("HTTP/1.1 200 OK", "application/grpc-web"))
        self.assertEqual(int(fields["Content-Length"]), len(content))
        self.assertIn(b"grpc-status: 7\r\n", content)
        self.assertNotIn("grpc-status", fields)

    def test_every_error_with_a_response(self) -> None:
        for error, outcome in OUTCOMES.items():
            if outcome.status is not None and error is not MaxForwardsReached:
                made = error.__new__(error)
                EgressError.__init__(made, "why")
                made.__dict__.update(rule_id=None, budget=None, retry_after=2, status=502)
                self.assertNotEqual(response(made, grpc=Kind.GRPC)[1]["grpc-status"], "0", error)

    def test_fields_for_retries(self) -> None:
        _, fields, _ = response(AuthorizerUnavailable("no response", retry_after=7), grpc=Kind.GRPC)
        self.assertEqual((fields["grpc-status"], fields["Retry-After"]), ("14", "7"))


class LongAcceptTests(SynchronousTestCase):
    """Long Accept values are read only up to a limit."""

    def test_long_values_are_truncated(self) -> None:
        self.assertTrue(prefers_text(b"," * (MAX_ACCEPT - 10) + b"text/plain"))
        self.assertFalse(prefers_text(b"," * MAX_ACCEPT + b"text/plain"))


class PrefersTextTests(SynchronousTestCase):
    """JSON by default, text for clients that prefer it."""

    def test_prefers_text(self) -> None:
        for accept, expected in (
            (None, False),
            (b"", False),
            (b"*/*", False),
            (b"text/plain", True),
            (BROWSER, True),
            (b"application/json", False),
            (b"application/json, text/plain, */*", False),
            (b"application/problem+json;q=0.5, text/plain", True),
            (b"text/plain;q=0.5, application/*", False),
            (b"text/plain;q=nonsense", False),
            (b"text/plain;q=nan", False),
            (b"text/html;q=0", False),
            (b"TEXT/HTML; Q=0.5", True),
            (b"\xff;;=,,", False),
            (b"text/*;charset=utf-8;q=0.1", True),
        ):
            with self.subTest(accept=accept):
                self.assertEqual(prefers_text(accept), expected)
