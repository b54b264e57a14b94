"""Denials in clients that print only the status line: git, npm, apt, C{curl -f} and pip.

Reports of this class: npm/npm#17962 (C{403 Forbidden} and nothing else), chobits/ngx_http_proxy_connect_module#139.
"""

from __future__ import annotations

from egress.model.decision import Decision, Verdict
from egress.model.errors import AuthorizerUnavailable, NameNotResolved
from tests.proxy.fakes import ProxyTestCase, request


class StatusLineTests(ProxyTestCase):
    """The status line names the cause."""

    def line(self) -> bytes:
        self.client.feed(request())
        return self.client.take().partition(b"\r\n")[0]

    def test_a_denial_names_its_rule(self) -> None:
        self.authorizer.answers = [Decision(Verdict.DENY, "read only", "policy", "npm-read-only")]
        self.assertEqual(self.line(), b"HTTP/1.1 403 Denied by egress policy (rule npm-read-only)")

    def test_the_name_of_a_rule_cannot_add_a_header_field(self) -> None:
        self.authorizer.answers = [Decision(Verdict.DENY, "no", "service", "x\r\nSet-Cookie: a=b\r\n\r\n\u20ac")]
        self.assertEqual(self.line(), b"HTTP/1.1 403 Denied by egress policy (rule x??Set-Cookie: a=b?????)")

    def test_a_long_name_is_truncated(self) -> None:
        self.authorizer.answers = [Decision(Verdict.DENY, "no", "service", "x" * 300)]
        phrase = self.line().removeprefix(b"HTTP/1.1 403 ")
        self.assertEqual((len(phrase), phrase[-4:]), (80, b"...)"))

    def test_a_name_that_does_not_resolve(self) -> None:
        self.dialer.checks = [NameNotResolved("the name origin.test has no address")]
        self.assertEqual(self.line(), b"HTTP/1.1 502 Bad Gateway (name not resolved)")

    def test_an_authorizer_that_is_unavailable(self) -> None:
        self.authorizer.answers = [AuthorizerUnavailable("no answer")]
        self.assertEqual(self.line(), b"HTTP/1.1 503 Service Unavailable (authorizer unavailable)")
