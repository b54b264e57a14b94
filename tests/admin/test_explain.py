"""Tests for L{egress.admin.explain}, with the components of a proxy that is never started."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_network
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits, Mode, OversizeBody, ProxyConfig, Resolve
from egress.interfaces import IAuthorizer
from egress.model.approval import ApprovalAnswer
from egress.model.authority import Authority, UpstreamProxy
from egress.model.decision import Decision, Obligations, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.explanation import ExplainRequest, Explanation, RuleTried
from egress.model.no_proxy import Bypass
from egress.runtime.role import DRY_RUN
from egress.service import EgressProxyService
from egress.tls.ca_store import CaDirectory
from tests.authz.fakes import REQUEST
from tests.files import make_directory
from tests.proxy.fakes import ScriptedAuthorizer, deny
from tests.transport.reactors import DialingReactor

POLICY = """
version = 1
[[rules]]
id = "never"
action = "deny"
reason = "not this one"
hosts = ["denied.test"]
[[rules]]
id = "person"
action = "ask"
reason = "somebody looks"
hosts = ["asked.test"]
[[rules]]
id = "rest"
action = "allow"
"""

# One rule for each condition, which is not met.
CONDITIONS = {
    "hosts": '["b.test"]',
    "ports": "[81]",
    "schemes": '["https"]',
    "methods": '["GET"]',
    "paths": '["/y"]',
    "query": '{ q = "2" }',
    "headers": '{ X-Key = "*" }',
    "json": "{ a = 1 }",
    "max_body": "3",
    "min_body": "30",
    "clients": '["ci"]',
    # Two days ago, at any time of the test run.
    "times": f'["{(datetime.now(timezone.utc) - timedelta(days=2)):%a}"]',
    "addresses": '["private"]',
}
EVERY_CONDITION = (
    "version = 1\n"
    + "".join(
        f'[[rules]]  # {key}\nname = "by-{key}"\naction = "allow"\n{key} = {value}\n'
        for key, value in CONDITIONS.items()
    )
    + '[[rules]]  # the last\nname = "last"\naction = "deny"\nreason = "nothing else"\n'
)


class ExplainTestCase(SynchronousTestCase):
    """Base: a proxy in memory, and its explanations."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.reactor.names = {name: ["1.2.3.4", "2001:4860::1"] for name in ("a.test", "denied.test", "asked.test")}
        self.reactor.names |= {"local.test": ["1.2.3.4", "127.0.0.1"], "nowhere.test": [], "private.test": ["10.1.2.3"]}
        self.directory = make_directory(self)
        (self.directory / "policy.toml").write_text(POLICY)

    def service(self, authorizer: IAuthorizer | None = None, **options: Any) -> EgressProxyService:
        config = ProxyConfig(
            **{
                "ca_dir": self.directory / "ca",
                "policy": self.directory / "policy.toml" if authorizer is None else None,
                "audit_log": str(self.directory / "audit"),
                **options,
            }
        )
        return EgressProxyService(self.reactor, config, authorizer, role=DRY_RUN)  # type: ignore[arg-type]

    def ask(
        self,
        method: str,
        url: str,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes | None = None,
        service: EgressProxyService | None = None,
        **more: Any,
    ) -> Deferred[Explanation]:
        return (service or self.service()).explain(ExplainRequest(method, url, headers, body, **more))

    def explain(self, *arguments: Any, **more: Any) -> Explanation:
        return self.successResultOf(self.ask(*arguments, **more))

    def outcomes(self, found: Explanation) -> dict[str, str]:
        return {step.name: step.outcome for step in found.steps}

    def step(self, found: Explanation, name: str) -> Any:
        (step,) = (step for step in found.steps if step.name == name)
        return step


class TraceTests(ExplainTestCase):
    """All steps, from the request to the connection."""

    def test_allowed(self) -> None:
        found = self.explain("GET", "HTTPS://A.test:443/x?q=1")
        self.assertEqual((found.verdict, found.rule_id, found.status), ("allow", "rest", None))
        self.assertEqual(found.url, "https://a.test/x?q=1")
        self.assertEqual(
            self.outcomes(found),
            {
                "request": "ok",
                "tunnel": "ok",
                "address": "ok",
                "decision": "ok",
                "way": "ok",
                "connection": "skipped",
            },
        )
        self.assertEqual(self.step(found, "request").details, ("written as GET HTTPS://A.test:443/x?q=1",))
        self.assertEqual(
            self.step(found, "address").details, ("1.2.3.4: a public address", "2001:4860::1: a public address")
        )
        self.assertEqual(self.step(found, "way").text, "directly")
        self.assertTrue(all(step.seconds >= 0 for step in found.steps))

    def test_no_files_are_made(self) -> None:
        self.explain("GET", "https://a.test/")
        self.assertEqual([path.name for path in self.directory.iterdir()], ["policy.toml"])

    def test_denied(self) -> None:
        found = self.explain("GET", "http://denied.test/")
        self.assertEqual((found.verdict, found.rule_id, found.reason), ("deny", "never", "not this one"))
        self.assertEqual((found.status, found.code), (403, "denied"))
        self.assertEqual(
            list(self.outcomes(found).items()), [("request", "ok"), ("decision", "no"), ("address", "skipped")]
        )
        self.assertEqual(self.reactor.looked_up, [])

    def test_a_blocked_address(self) -> None:
        found = self.explain("GET", "http://local.test/")
        self.assertEqual((found.verdict, found.code, found.decided_by), ("deny", "address-forbidden", "proxy"))
        self.assertEqual(list(self.outcomes(found).items()), [("request", "ok"), ("decision", "ok"), ("address", "no")])
        self.assertEqual(
            self.step(found, "address").details,
            ("1.2.3.4: a public address", "127.0.0.1: rejected, a loopback address"),
        )

    def test_allow_address_and_deny_address(self) -> None:
        service = self.service(allow_address=(ip_network("127.0.0.0/8"),), deny_address=(ip_network("2001:4860::/32"),))
        found = self.explain("GET", "http://local.test/", service=service)
        self.assertEqual(
            self.step(found, "address").details[1], "127.0.0.1: a loopback address, permitted by --allow-address"
        )
        found = self.explain("GET", "http://a.test/", service=service)
        self.assertEqual(
            self.step(found, "address").details[1], "2001:4860::1: rejected, excluded by the configuration"
        )
        found = self.explain("GET", "http://private.test/", service=service)
        self.assertEqual(self.step(found, "address").details, ("10.1.2.3: a private address",))

    def test_the_proxy_itself(self) -> None:
        for scheme in ("http", "https"):
            found = self.explain("GET", f"{scheme}://egressproxy.invalid/")
            self.assertEqual((found.verdict, found.decided_by, found.status), ("none", "proxy", None))
            self.assertEqual(found.reason, "the proxy itself responds to this host, without authorization")
            self.assertEqual(self.outcomes(found)["decision"], "skipped")

    def test_a_port(self) -> None:
        found = self.explain("GET", "http://a.test:81/", service=self.service(allow_ports=(range(80, 81),)))
        self.assertEqual((found.verdict, found.code), ("deny", "port-forbidden"))
        self.assertEqual(self.outcomes(found)["address"], "no")

    def test_unknown_name(self) -> None:
        """The authorizer is queried nevertheless, as by the proxy."""
        found = self.explain("GET", "http://nowhere.test/")
        self.assertEqual((found.verdict, found.code, found.status), ("none", "name-not-resolved", 502))
        self.assertEqual([step.name for step in found.steps].count("address"), 1)
        self.assertEqual(self.outcomes(found), {"request": "ok", "address": "failed", "decision": "ok"})

    def test_resolution_timeout(self) -> None:
        asked = self.ask("GET", "http://slow.test/")
        self.reactor.advance(10)
        self.assertEqual(self.successResultOf(asked).code, "resolution-timeout")

    def test_lookup_before_the_decision(self) -> None:
        """With C{--resolve before}, each name is resolved first, and the authorizer receives the addresses."""
        authorizer = ScriptedAuthorizer()
        authorizer.answers = [deny()]
        service = self.service(authorizer, resolve=Resolve.BEFORE)
        found = self.explain("GET", "http://denied.test/", service=service)
        self.assertEqual(list(self.outcomes(found)), ["request", "address", "decision"])
        self.assertEqual(len(authorizer.asked[0].addresses or ()), 2)
        for each in (service, self.service(resolve=Resolve.BEFORE)):
            found = self.explain("GET", "http://nowhere.test/", service=each)
            self.assertEqual(list(self.outcomes(found)), ["request", "address", "decision"])
            self.assertEqual((found.verdict, found.code), ("none", "name-not-resolved"))

    def test_authorizer_needs_addresses(self) -> None:
        authorizer = ScriptedAuthorizer()
        authorizer.answers = [Decision(Verdict.NEED_ADDRESSES, "", "x"), deny()]
        found = self.explain("GET", "http://a.test/", service=self.service(authorizer))
        first, second = authorizer.asked
        self.assertEqual((first.addresses, first.addresses_withheld), (None, True))
        self.assertEqual((len(second.addresses or ()), second.addresses_withheld), (2, False))
        self.assertEqual(list(self.outcomes(found)), ["request", "address", "decision"])
        self.assertEqual(self.step(found, "decision").details, ("authorized again, with the addresses",))

    def test_authorizer_needs_addresses_of_an_unknown_name(self) -> None:
        for resolve in Resolve:
            authorizer = ScriptedAuthorizer()
            authorizer.answers = [Decision(Verdict.NEED_ADDRESSES, "", "x")]
            found = self.explain("GET", "http://nowhere.test/", service=self.service(authorizer, resolve=resolve))
            self.assertEqual((found.verdict, found.code), ("none", "name-not-resolved"))
            authorizer.answers = [Decision(Verdict.NEED_ADDRESSES, "", "x")]
            found = self.explain("GET", "http://192.0.2.1/", service=self.service(authorizer, resolve=resolve))
            self.assertEqual((found.verdict, found.code), ("deny", "address-forbidden"))
            authorizer.answers = [Decision(Verdict.NEED_ADDRESSES, "", "x")]
            found = self.explain("GET", "http://1.2.3.4/", service=self.service(authorizer, resolve=resolve))
            self.assertEqual((found.verdict, found.code), ("none", "authorizer-unavailable"))

    def test_names_that_are_checked_without_a_lookup(self) -> None:
        for host in ("localhost", "a.localhost", "metadata.google.internal", "127.0.0.1"):
            found = self.explain("GET", f"http://{host}/")
            self.assertEqual(list(self.outcomes(found).items()), [("request", "ok"), ("address", "no")])
        self.assertEqual(self.reactor.looked_up, [])

    def test_an_upstream_proxy(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
        service = self.service(upstream_http=upstream, upstream_https=upstream, bypass=Bypass.parse("a.test"))
        found = self.explain("GET", "https://unknown.test/", service=service)
        self.assertEqual(self.step(found, "way").text, "through http://proxy.test:3128, in a tunnel")
        self.assertIn("proxy.test:3128 resolves the name", self.step(found, "address").text)
        found = self.explain("GET", "http://unknown.test/", service=service)
        self.assertEqual(self.step(found, "way").text, "through http://proxy.test:3128, without a tunnel")
        found = self.explain("GET", "http://a.test/", service=service)
        self.assertIn("--no-proxy", self.step(found, "way").text)
        found = self.explain("GET", "http://localhost/", service=service)
        self.assertEqual((found.code, self.step(found, "address").details), ("address-forbidden", ()))
        self.assertEqual(self.reactor.looked_up, ["a.test"])

    def test_connect(self) -> None:
        asked = self.ask("GET", "http://a.test/", connect=True)
        self.assertNoResult(asked)
        wire = self.reactor.attempts[0].accept()
        found = self.successResultOf(asked)
        self.assertEqual((found.verdict, self.outcomes(found)["connection"]), ("allow", "ok"))
        self.assertEqual(wire.take(), b"")
        self.assertTrue(wire.aborted or wire.disconnecting or wire.disconnected)

    def test_connection_failure(self) -> None:
        self.reactor.refused = {"1.2.3.4", "2001:4860::1"}
        found = self.explain("GET", "http://a.test/", connect=True)
        self.assertEqual((found.verdict, found.code), ("none", "origin-unreachable"))
        self.assertEqual(self.outcomes(found)["connection"], "failed")
        # The proxy does not connect for a denied request.
        attempts = len(self.reactor.attempts)
        self.explain("GET", "http://denied.test/", connect=True)
        self.assertEqual(len(self.reactor.attempts), attempts)


class RequestTests(ExplainTestCase):
    """Requests are parsed as the proxy parses them."""

    def test_rejected(self) -> None:
        for method, url, headers, code in (
            ("GET", "a.test", (), "invalid-target"),
            ("GET", "/path", (), "bad-request"),
            ("GET", "ftp://a.test/", (), "invalid-target"),
            ("GET", "http://user:secret@/", (), "invalid-target"),
            ("GET", "http://a.test/ b", (), "invalid-target"),
            ("G T", "http://a.test/", (), "bad-request"),
            ("GET", "http://a.test/", ((b"A b", b"c"),), "bad-request"),
            ("GET", "https://a.test/", ((b"Host", b"b.test"),), "misdirected-request"),
            ("GET", "http://a.test/" + "x" * 20000, (), "target-too-long"),
        ):
            with self.subTest(method, url=url[:40]):
                found = self.explain(method, url, headers)
                self.assertEqual((found.verdict, found.code, found.decided_by), ("deny", code, "proxy"))
                self.assertEqual(self.outcomes(found), {"request": "no"})

    def test_authorization_request(self) -> None:
        authorizer = ScriptedAuthorizer()
        service = self.service(authorizer)
        self.explain("POST", "http://a.test/?q=1", ((b"X", b"y"), (b"Connection", b"X")), b"hi", service, client="ann")
        (asked,) = authorizer.asked
        self.assertEqual((asked.method, asked.path, asked.body, asked.content_length), ("POST", "/?q=1", b"hi", 2))
        self.assertEqual(asked.headers, ((b"Host", b"a.test"), (b"Content-Length", b"2")))
        self.assertEqual((asked.client.identity, asked.addresses, asked.addresses_withheld), ("ann", None, True))

    def test_content(self) -> None:
        """Content is withheld where no rule needs it, and passed when the authorizer needs it."""
        authorizer = ScriptedAuthorizer()
        authorizer.needs_body = False
        authorizer.answers = [Decision(Verdict.NEED_BODY, "", "x"), deny()]
        found = self.explain("POST", "http://a.test/", (), b"hi", self.service(authorizer))
        first, second = authorizer.asked
        self.assertEqual(
            (first.body, first.body_withheld, second.body, second.body_withheld), (None, True, b"hi", False)
        )
        self.assertEqual(
            (found.verdict, self.step(found, "decision").details), ("deny", ("authorized again, with the content",))
        )
        authorizer.answers = [Decision(Verdict.NEED_BODY, "", "x")] * 2
        found = self.explain("POST", "http://a.test/", (), b"hi", self.service(authorizer))
        self.assertEqual((found.verdict, found.code), ("none", "authorizer-unavailable"))

    def test_content_over_the_limit(self) -> None:
        authorizer = ScriptedAuthorizer()
        options: dict[str, Any] = {"limits": Limits(body=1)}
        found = self.explain("POST", "http://a.test/", (), b"hi", self.service(authorizer, **options))
        self.assertEqual((found.verdict, found.code), ("deny", "content-too-large"))
        options["oversize_body"] = OversizeBody.TRUNCATE
        self.explain("POST", "http://a.test/", (), b"hi", self.service(authorizer, **options))
        (asked,) = authorizer.asked
        self.assertEqual((asked.body, asked.body_truncated), (b"h", True))

    def test_an_upgrade(self) -> None:
        headers = (
            (b"Connection", b"Upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        )
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        service = self.service(upstream_http=upstream)
        found = self.explain("GET", "http://a.test/", headers, service=service)
        self.assertIn("in a tunnel", self.step(found, "way").text)

    def test_an_upstream_proxy_for_one_scheme(self) -> None:
        """Often only one of the two variables is set; the step names it."""
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        for field, url, variable in (
            ("upstream_http", "https://a.test/", "HTTP_PROXY applies only to http"),
            ("upstream_https", "http://a.test/", "HTTPS_PROXY applies only to https"),
        ):
            options: dict[str, Any] = {field: upstream}
            found = self.explain("GET", url, service=self.service(**options))
            text = f"directly, not through the upstream proxy ({variable})"
            self.assertEqual(self.step(found, "way").text, text)

    def test_an_upgrade_to_another_protocol(self) -> None:
        headers = ((b"Connection", b"Upgrade"), (b"Upgrade", b"tcp"))
        authorizer = ScriptedAuthorizer()
        found = self.explain("POST", "http://a.test/", headers, service=self.service(authorizer))
        self.assertEqual((found.verdict, found.code), ("deny", "unsupported-request"))
        service = self.service(authorizer, upgrade_protocols=("TCP",))
        self.assertEqual(self.explain("POST", "http://a.test/", headers, service=service).verdict, "allow")
        self.assertIn((b"Upgrade", b"tcp"), authorizer.asked[0].headers)

    def test_client_authentication(self) -> None:
        secrets = self.directory / "clients"
        secrets.write_text("")
        service = self.service(client_auth=secrets)
        found = self.explain("GET", "http://a.test/", service=service)
        self.assertEqual((found.verdict, found.status, self.outcomes(found)), ("deny", 407, {"client": "no"}))
        found = self.explain("GET", "http://a.test/", service=service, client="ann")
        self.assertEqual((found.verdict, self.outcomes(found)["client"]), ("allow", "ok"))


class TunnelTests(ExplainTestCase):
    """CONNECT requests and intercepted requests."""

    def test_passthrough(self) -> None:
        authorizer = ScriptedAuthorizer()
        for option, why in (
            ({"passthrough": ("a.test",)}, "--passthrough"),
            ({"opaque_ports": (range(443, 444),)}, "--opaque-ports"),
        ):
            for method, url in (("GET", "https://a.test/x"), ("CONNECT", "a.test:443")):
                with self.subTest(why, method=method):
                    found = self.explain(method, url, service=self.service(authorizer, **option))
                    self.assertEqual(found.verdict, "allow")
                    self.assertIn(why, self.step(found, "tunnel").text)
                    asked = authorizer.asked[-1]
                    self.assertEqual((asked.stage.value, asked.method, asked.path), ("tunnel", "CONNECT", ""))
        found = self.explain("CONNECT", "nowhere.test:443", service=self.service(passthrough=("nowhere.test",)))
        self.assertEqual((found.code, self.outcomes(found)["address"]), ("name-not-resolved", "failed"))

    def test_intercepted(self) -> None:
        found = self.explain("CONNECT", "a.test:8443")
        self.assertEqual((found.verdict, found.url), ("none", "a.test:8443"))
        self.assertEqual(self.outcomes(found)["decision"], "skipped")

    def test_the_ca(self) -> None:
        limits: dict[str, Any] = {"ca_name_constraints": ("example.com",)}
        found = self.explain("GET", "https://a.test/", service=self.service(**limits))
        self.assertEqual((found.verdict, found.code), ("deny", "certificate-not-permitted"))
        self.assertEqual(self.outcomes(found)["tunnel"], "no")
        found = self.explain("GET", "https://a.test/")
        self.assertIn("there is no CA", self.step(found, "tunnel").details[0])
        # An existing CA has its own constraints, and its key is not read.
        directory = CaDirectory(self.directory / "ca", ("example.com",))
        directory.load_or_create(datetime.now(timezone.utc))
        self.assertEqual(self.explain("GET", "https://a.test/").code, "certificate-not-permitted")


class DecisionTests(ExplainTestCase):
    """The decision step and its details."""

    def test_obligations(self) -> None:
        authorizer = ScriptedAuthorizer()
        terms = Obligations(((b"Authorization", b"hunter2"),), (b"cookie",), 7, 60)
        authorizer.answers = [Decision(Verdict.ALLOW, "yes", "x", obligations=terms, source="cache")]
        found = self.explain("GET", "http://a.test/", service=self.service(authorizer))
        self.assertEqual(
            self.step(found, "decision").details,
            ("from: cache", "at most 7 bytes", "authorized again after 60 s", "sets Authorization", "removes cookie"),
        )
        self.assertNotIn("hunter2", str(found))

    def test_only_observed(self) -> None:
        for url in ("http://denied.test/", "http://asked.test/"):
            found = self.explain("GET", url, service=self.service(mode=Mode.OBSERVE))
            self.assertEqual(found.verdict, "allow")
            self.assertEqual(
                self.step(found, "decision").details,
                ("authorized again, with the addresses", "observe mode: in enforce mode, the result would be deny"),
            )

    def test_no_log_is_opened(self) -> None:
        log = self.directory / "shadow.jsonl"
        self.explain(
            "GET", "http://a.test/", service=self.service(shadow_authz_url="http://b.test", shadow_log=str(log))
        )
        self.assertFalse(log.exists())

    def test_authorizer_failure(self) -> None:
        authorizer = ScriptedAuthorizer()
        authorizer.answers = [AuthorizerUnavailable("it is gone")]
        found = self.explain("GET", "http://a.test/", service=self.service(authorizer))
        self.assertEqual((found.verdict, found.code, found.status), ("none", "authorizer-unavailable", 503))
        self.assertEqual(self.outcomes(found)["decision"], "failed")

    def test_no_query_with_no_ask(self) -> None:
        authorizer = ScriptedAuthorizer()
        found = self.explain("GET", "http://a.test/", service=self.service(authorizer), ask=False)
        self.assertEqual((found.verdict, authorizer.asked), ("none", []))
        self.assertEqual(self.outcomes(found)["decision"], "skipped")
        # The embedded policy is evaluated without a query.
        self.assertEqual(self.explain("GET", "http://a.test/", ask=False).verdict, "allow")

    def test_rule_by_rule(self) -> None:
        """For each rule, the first unmet condition is named, with the file and the line of the rule."""
        (self.directory / "policy.toml").write_text(EVERY_CONDITION)
        found = self.explain("POST", "http://a.test/x?q=1", ((b"Content-Type", b"application/json"),), b'{"a": 2}')
        step = self.step(found, "decision")
        where = f"{self.directory}/policy.toml"
        lines = EVERY_CONDITION.split("\n")
        self.assertEqual(
            step.rules,
            (
                *(
                    RuleTried(f"by-{key}", "allow", False, key, f"{where}:{lines.index(f'[[rules]]  # {key}') + 1}")
                    for key in CONDITIONS
                ),
                RuleTried("last", "deny", True, None, f"{where}:{lines.index('[[rules]]  # the last') + 1}"),
            ),
        )
        self.assertIn("authorized again, with the content", step.details)

    def test_ambiguous_requests(self) -> None:
        """A rule that would allow the request says why it does not, and so does the reason."""
        text = "version = 1\n[[rules]]\nname = 'npm'\naction = 'allow'\npaths = ['/@a/*']\n"
        (self.directory / "policy.toml").write_text(text)
        found = self.explain("GET", "http://a.test/@a%2fb")
        doubt = "its path contains %2F, which servers read in different ways"
        self.assertEqual([rule.doubt for rule in self.step(found, "decision").rules], [doubt, None])
        self.assertIn(f"; {doubt}, so the rule npm does not allow it", found.reason)

    def test_many_rules(self) -> None:
        """Only the last rules are shown."""
        many = "".join(f'[[rules]]\naction = "allow"\nhosts = ["h{number}.test"]\n' for number in range(600))
        (self.directory / "policy.toml").write_text(f"version = 1\n{many}")
        step = self.step(self.explain("GET", "http://a.test/x"), "decision")
        self.assertEqual(len(step.rules), 500)
        self.assertEqual((step.rules[-1].rule_id, step.details), ("default", ("101 earlier rules did not match",)))

    def test_secret(self) -> None:
        """A secret that is unavailable, or must not be sent to the origin, is reported; its value is never shown."""
        rule = '[[rules]]\naction = "allow"\nset_headers = { Authorization = "Bearer ${secret:key}" }\n'
        (self.directory / "policy.toml").write_text(f"version = 1\n{rule}")
        (self.directory / "key").write_text("s3cr3t")
        (self.directory / "key").chmod(0o600)
        secrets = self.directory / "secrets.toml"
        secrets.write_text(f'[key]\nfile = "{self.directory.absolute()}/key"\nhosts = ["a.test"]\n')
        service = self.service(secrets=secrets.absolute())
        found = self.explain("GET", "https://a.test/", service=service)
        self.assertEqual((found.verdict, self.step(found, "decision").details), ("allow", ("sets Authorization",)))
        self.assertNotIn("s3cr3t", str(found))
        found = self.explain("GET", "https://denied.test/", service=service)
        self.assertEqual((found.verdict, self.outcomes(found)["decision"]), ("none", "failed"))
        (self.directory / "key").unlink()
        found = self.explain("GET", "https://a.test/", service=self.service(secrets=secrets.absolute()))
        self.assertEqual((found.verdict, self.outcomes(found)["decision"]), ("none", "failed"))

    def test_approval(self) -> None:
        """An explanation notifies no approver."""
        found = self.explain("GET", "http://asked.test/")
        self.assertEqual((found.verdict, found.status), ("deny", 403))
        self.assertIn("start the proxy with --admin", found.reason)

        service = self.service(admin="unix:/a")
        found = self.explain("GET", "http://asked.test/", service=service)
        self.assertEqual((found.verdict, found.rule_id), ("ask", "person"))
        self.assertEqual(
            self.step(found, "approval").text, "pending until an approver allows or denies it, for up to 300 s"
        )
        self.assertEqual(service.admin_backend.pending_approvals(), [])

        origin = attrs.evolve(REQUEST.origin, authority=Authority("asked.test", 80))
        client = attrs.evolve(REQUEST.client, address="127.0.0.1")
        service.authorizer.decide(attrs.evolve(REQUEST, origin=origin, client=client))
        (one,) = service.admin_backend.pending_approvals()
        service.admin_backend.answer(one["id"], ApprovalAnswer(True, 60, by="ann"))
        found = self.explain("GET", "http://asked.test/", service=service)
        self.assertEqual((found.verdict, self.outcomes(found)["approval"]), ("allow", "ok"))
        self.assertIn("allowed by ann until", found.reason)
        service.stopService()
