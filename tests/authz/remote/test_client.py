"""Tests for L{egress.authz.remote.client}."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import attrs
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.authz.protocols.authzen import AuthZenCodec
from egress.authz.protocols.base import Codec
from egress.authz.protocols.ext_authz import ExtAuthzCodec
from egress.authz.protocols.validate import ValidateCodec, encode_request
from egress.authz.remote.agent import MAX_CONNECTIONS, MAX_WAITING, KeepAliveAgent
from egress.authz.remote.authorizer import RemoteAuthorizer
from egress.authz.remote.client import RemoteService, remote_authorizer
from egress.authz.remote.messages import BytesProducer
from egress.config.model import AuthzApi, AuthzBody, ConfigError, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, UpstreamProxy
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import DecisionRequest, Verdict
from egress.model.errors import AuthorizerUnavailable, OriginCertificateInvalid
from egress.model.no_proxy import Bypass
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.reactor import IEgressReactor
from tests.authz.fakes import REQUEST
from tests.authz.servers import Endpoint, Transport, http, refused
from tests.certificates import TestCA
from tests.files import make_directory
from tests.proxy.fakes import Wire
from tests.threads import ThreadlessReactor
from tests.transport.tls import TlsServer

ALLOWED = b'{"allowed": true}'
TOKEN = "s3cret-token"
NAME = "the authorization service http://authz.test/validate"


def service(**options: Any) -> RemoteService:
    """Return the description of the service of these tests."""
    given: dict[str, Any] = {
        "name": NAME,
        "authority": Authority("authz.test", 80),
        "tls": False,
        "codec": ValidateCodec("http://authz.test/validate", NAME),
        "timeout": 5.0,
        "max_concurrency": 256,
    }
    return RemoteService(**{**given, **options})


class RemoteTestCase(SynchronousTestCase):
    """Base: an authorizer, and its service in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.authorizer = RemoteAuthorizer(
            cast(IEgressReactor, self.clock),
            service(token=TOKEN),
            KeepAliveAgent(self.clock, self.endpoint),
            lambda failure: OriginCertificateInvalid("the certificate has expired"),
        )

    def tearDown(self) -> None:
        # The timer ends by itself.
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def decide(self) -> Deferred[Any]:
        return self.authorizer.decide(REQUEST)

    def server(self) -> Transport:
        return self.endpoint.last

    def assert_unavailable(self, call: Deferred[Any], kind: AuthzFailure | None = None) -> str:
        """Assert that the request failed.

        @return: the reason.
        """
        error = self.failureResultOf(call, AuthorizerUnavailable).value
        reason = error.reason
        if kind is not None:
            self.assertIs(error.kind, kind)
        self.assertNotIn(TOKEN, reason)
        return str(reason)


class DecisionTests(RemoteTestCase):
    """Responses that are decisions."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.authorizer)

    def test_request(self) -> None:
        call = self.decide()
        sent = self.server().take()
        head, _, content = sent.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /validate HTTP/1.1\r\n"))
        for field in (b"Content-Type: application/json", b"Authorization: Bearer " + TOKEN.encode()):
            with self.subTest(field=field):
                self.assertIn(field, head)
        self.assertIn(b'"url":"http://a.test/"', content)
        self.server().answer(http(ALLOWED))
        self.successResultOf(call)

    def test_allowed_and_denied(self) -> None:
        for status, body, verdict in (
            (b"200 OK", ALLOWED, Verdict.ALLOW),
            (b"200 OK", b'{"allowed": false}', Verdict.DENY),
            (b"403 Forbidden", b'{"allowed": false}', Verdict.DENY),
            (b"400 Bad Request", b'{"allowed": false}', Verdict.DENY),
        ):
            with self.subTest(status=status, body=body):
                call = self.decide()
                self.server().answer(http(body, status))
                self.assertIs(self.successResultOf(call).verdict, verdict)
        self.assertEqual(len(self.endpoint.connections), 1)

    def test_requests_share_no_state(self) -> None:
        sent = []
        for _ in range(2):
            call = self.decide()
            sent.append(self.server().take())
            self.server().answer(http(ALLOWED))
            self.successResultOf(call)
        self.assertEqual(sent[0], sent[1])

    def test_request_that_cannot_be_encoded(self) -> None:
        request = attrs.evolve(REQUEST, path="/\ud800")
        call = self.authorizer.decide(request)
        self.assertIn("cannot express", self.assert_unavailable(call, AuthzFailure.REQUEST))
        self.assertEqual(self.endpoint.connections, [])

    def test_no_cookies(self) -> None:
        call = self.decide()
        self.server().answer(http(ALLOWED, fields=b"Set-Cookie: a=b; Path=/\r\n"))
        self.successResultOf(call)
        self.server().take()
        self.decide().addErrback(lambda _: None).cancel()
        self.assertNotIn(b"cookie", self.server().take().lower())

    def test_stale_connection_is_replaced(self) -> None:
        call = self.decide()
        self.server().answer(http(ALLOWED))
        self.successResultOf(call)
        call = self.decide()
        self.server().close()
        self.server().answer(http(ALLOWED))
        self.assertTrue(self.successResultOf(call).allowed)
        self.assertEqual(self.authorizer.retries(), 1)


ANSWERS: dict[str, bytes] = {
    "500": http(b"oops", b"500 Internal Server Error"),
    "500 that allows": http(ALLOWED, b"500 Internal Server Error"),
    "302": http(b"", b"302 Found", b"Location: http://authz.test/other\r\n"),
    # The redirect status that a client would follow after a POST.
    "303": http(b"", b"303 See Other", b"Location: http://authz.test/other\r\n"),
    "302 that allows": http(ALLOWED, b"302 Found", b"Location: http://authz.test/other\r\n"),
    "true as text": http(b'{"allowed": "true"}'),
    "true as a number": http(b'{"allowed": 1}'),
    "no JSON": http(b"allowed"),
    "a key is repeated": http(b'{"allowed": false, "allowed": true}'),
    "10 MB": http(b'{"allowed": true, "x": "' + b"x" * 10_000_000 + b'"}'),
    "gzip bomb": http(
        gzip.compress(b'{"allowed": true, "x": "' + b"x" * 1_000_000 + b'"}'), fields=b"Content-Encoding: gzip\r\n"
    ),
    "compressed": http(gzip.compress(ALLOWED), fields=b"Content-Encoding: gzip\r\n"),
    "gzip bomb in a gzip bomb": http(
        gzip.compress(gzip.compress(b'{"allowed": true, "x": "' + b"x" * 10_000_000 + b'"}')),
        fields=b"Content-Encoding: gzip, gzip\r\n",
    ),
    "gzip that is none": http(ALLOWED, fields=b"Content-Encoding: gzip\r\n"),
    "no HTTP": b"SSH-2.0\r\n",
}

CUT: dict[str, bytes] = {
    "before anything": b"",
    "cut short": http(ALLOWED, length=50),
    "chunked cut short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" + ALLOWED + b"\r\n",
    "in the head": b"HTTP/1.1 200 OK\r\n",
}


class FailClosedTests(RemoteTestCase):
    """Every failure is an error without a decision."""

    def test_invalid_responses(self) -> None:
        for name, data in ANSWERS.items():
            with self.subTest(name):
                call = self.decide()
                self.server().answer(data)
                self.assertIn("authorization service", self.assert_unavailable(call, AuthzFailure.RESPONSE))

    def test_too_large_for_the_service(self) -> None:
        """Express, for example, accepts 100 kB by default; the response says how to change that."""
        call = self.decide()
        self.server().answer(http(b"<pre>PayloadTooLargeError: too large</pre>", b"413 Payload Too Large"))
        reason = self.assert_unavailable(call, AuthzFailure.REQUEST)
        size = f"status 413, {len(encode_request(REQUEST)):,} bytes"
        for part in (size, "express.json({limit: '25mb'})", "--authz-body on-demand or never"):
            self.assertIn(part, reason)
        # It may also be a decision: about this request, and in the terms of the contract.
        call = self.decide()
        self.server().answer(http(b'{"allowed": false, "reason": "too large for us"}', b"413 Payload Too Large"))
        self.assertEqual(self.successResultOf(call).reason, "too large for us")

    def test_truncated(self) -> None:
        for name, data in CUT.items():
            for error in (None, ConnectionLost()):
                with self.subTest(name, error=error):
                    call = self.decide()
                    if data:
                        self.server().answer(data)
                    self.server().close(error)
                    reason = self.assert_unavailable(call, AuthzFailure.CONNECTION)
                    self.assertIn("before its response was complete", reason)

    def test_connecting(self) -> None:
        for error, words in (
            (refused(), "refused the connection"),
            (DNSLookupError(), "does not resolve"),
            (ConnectError(string="unreachable"), "cannot be reached"),
            (SSL.Error([("SSL routines", "", "certificate verify failed")]), "the certificate has expired"),
            (ConnectTimeout(), "did not accept the connection within 5 s"),
            (ConnectionDone(), "the certificate has expired"),
            (RuntimeError(TOKEN), "RuntimeError"),
        ):
            with self.subTest(words):
                self.endpoint.failing = error
                self.assertIn(words, self.assert_unavailable(self.decide(), AuthzFailure.CONNECTION))
                self.assertIn(words, self.assert_unavailable(self.authorizer.check_ready()))

    def test_close_without_tls(self) -> None:
        authorizer = RemoteAuthorizer(
            cast(IEgressReactor, self.clock), service(), KeepAliveAgent(self.clock, self.endpoint)
        )
        self.endpoint.failing = ConnectionLost()
        self.assertIn("before its response was complete", self.assert_unavailable(authorizer.decide(REQUEST)))

    def test_too_many_requests(self) -> None:
        call = [self.decide() for _ in range(MAX_CONNECTIONS + MAX_WAITING)]
        self.assertIn("queued requests is reached", self.assert_unavailable(self.decide(), AuthzFailure.OVERLOAD))
        self.clock.advance(5)
        for one in call:
            self.assertIn("within 5 s", self.assert_unavailable(one))

    def test_tls_error_on_the_connection(self) -> None:
        call = self.decide()
        self.server().close(SSL.Error([("SSL routines", "", "certificate verify failed")]))
        self.assertIn("the certificate has expired", self.assert_unavailable(call))

    def test_other_errors(self) -> None:
        call = self.decide()
        self.server().close(RuntimeError("x"))
        self.assertIn("RuntimeError", self.assert_unavailable(call))

    def test_silence(self) -> None:
        call = self.decide()
        self.clock.advance(4.9)
        self.assertNoResult(call)
        self.clock.advance(0.1)
        self.assertIn("within 5 s", self.assert_unavailable(call, AuthzFailure.TIMEOUT))
        self.assertTrue(self.server().aborted)

    def test_slow_response(self) -> None:
        call = self.decide()
        data = http(ALLOWED)
        for index in range(40):
            self.server().answer(data[index : index + 1])
            self.clock.advance(0.125)
        self.assertIn("within 5 s", self.assert_unavailable(call))
        self.assertTrue(self.server().aborted)

    def test_timeout_includes_connecting(self) -> None:
        self.endpoint.slow = True
        call = self.decide()
        self.clock.advance(5)
        self.assertIn("within 5 s", self.assert_unavailable(call))
        self.assertEqual(self.endpoint.cancelled, 1)

    def test_cancelling_drops_the_connection(self) -> None:
        call = self.decide()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertTrue(self.server().aborted)


WITHHELD = attrs.evolve(REQUEST, method="POST", body_withheld=True, content_length=7)


class OtherApiTests(RemoteTestCase):
    """The differences between the APIs in their encoded form."""

    def ask_by(self, codec: Codec, request: DecisionRequest = REQUEST, body: AuthzBody = AuthzBody.ALWAYS) -> Any:
        agent = KeepAliveAgent(self.clock, self.endpoint)
        authorizer = RemoteAuthorizer(cast(IEgressReactor, self.clock), service(codec=codec, body=body), agent)
        return authorizer.decide(request)

    def test_fields_of_one_request(self) -> None:
        call = self.ask_by(AuthZenCodec("http://authz.test/access/v1/evaluation", NAME))
        sent = self.server().take()
        self.assertIn(b"\r\nX-Request-Id: " + REQUEST.request_id.encode() + b"\r\n", sent)
        self.assertIn(b"\r\nContent-Type: application/json\r\n", sent)
        self.server().answer(http(b'{"decision": true}'))
        self.assertTrue(self.successResultOf(call).allowed)

    def test_trace(self) -> None:
        """The context of the trace replaces that of the client, and belongs to one request."""
        client = ((b"Traceparent", b"theirs"), (b"tracestate", b"theirs=1"))
        context = ((b"traceparent", b"ours"),)
        for codec in (AuthZenCodec("http://authz.test/x", NAME), ExtAuthzCodec("http://authz.test/check", NAME)):
            with self.subTest(type(codec).__name__):
                for trace, expected in ((context, [b"ours"]), ((), [])):
                    given = attrs.evolve(REQUEST, headers=client if trace else (), trace=trace)
                    call = self.ask_by(codec, given)
                    head, _, _ = self.server().take().partition(b"\r\n\r\n")
                    fields = [line.partition(b": ") for line in head.split(b"\r\n")]
                    self.assertEqual([value for name, _, value in fields if name.lower() == b"traceparent"], expected)
                    self.assertNotIn(b"theirs=1", head)
                    call.cancel()
                    self.failureResultOf(call)

    def test_a_check(self) -> None:
        """Method, path and host are those of the request; the response is decoded from its fields."""
        call = self.ask_by(ExtAuthzCodec("http://authz.test/check", NAME, ["x-user"]))
        head, _, _ = self.server().take().partition(b"\r\n\r\n")
        self.assertEqual(head.partition(b"\r\n")[0].split()[0], REQUEST.method.encode())
        self.assertIn(b"\r\nHost: " + REQUEST.origin.netloc.encode() + b"\r\n", head)
        self.assertNotIn(b"authz.test", head)
        self.server().answer(http(fields=b"X-User: alice\r\n"))
        self.assertEqual(self.successResultOf(call).obligations.set_headers, ((b"x-user", b"alice"),))

    def test_response_to_head_has_no_content(self) -> None:
        codec = ExtAuthzCodec("http://authz.test", NAME)
        call = self.ask_by(codec, attrs.evolve(REQUEST, method="HEAD"))
        self.server().answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n")
        self.assertIs(self.successResultOf(call).verdict, Verdict.DENY)

    def test_on_demand(self) -> None:
        call = self.ask_by(ValidateCodec("http://authz.test/validate", NAME), WITHHELD, AuthzBody.ON_DEMAND)
        self.assertIn(b'"bodyWithheld":true,"contentLength":7', self.server().take())
        self.server().answer(http(b'{"need": "body"}'))
        self.assertIs(self.successResultOf(call).verdict, Verdict.NEED_BODY)

    def test_never(self) -> None:
        call = self.ask_by(ValidateCodec("http://authz.test/validate", NAME), WITHHELD, AuthzBody.NEVER)
        self.server().answer(http(b'{"need": "body"}'))
        self.assertIn("--authz-body is never", self.assert_unavailable(call, AuthzFailure.REQUEST))

    def test_unsupported_request(self) -> None:
        call = self.ask_by(ExtAuthzCodec("http://authz.test", NAME), attrs.evolve(REQUEST, path="*"))
        self.assertIn("request-target", self.assert_unavailable(call, AuthzFailure.REQUEST))
        self.assertEqual(self.endpoint.connections, [])


class LifeTests(RemoteTestCase):
    """Readiness and closing."""

    def test_ready(self) -> None:
        self.successResultOf(self.authorizer.check_ready())
        self.assertEqual(self.server().take(), b"")

    def test_readiness_has_a_timeout(self) -> None:
        self.endpoint.slow = True
        ready = self.authorizer.check_ready()
        self.clock.advance(5)
        self.assertIn("within 5 s", self.assert_unavailable(ready))

    def test_close(self) -> None:
        self.successResultOf(self.authorizer.check_ready())
        self.successResultOf(self.authorizer.close())
        self.assertTrue(self.server().disconnecting)

    def test_body_producer_methods(self) -> None:
        content = BytesProducer(b"x")
        for call in (content.pauseProducing, content.resumeProducing, content.stopProducing):
            call()
        self.assertEqual(content.length, 1)


UPSTREAM = UpstreamProxy("http", Authority("upstream.test", 3128))
BY_UPSTREAM: dict[str, Any] = {"authz_via_upstream": True, "upstream_https": UPSTREAM}


class FactoryTests(SynchronousTestCase):
    """The authorizer for a configuration."""

    def make(self, url: str, behind: Any = None, **options: Any) -> RemoteAuthorizer:
        config = ProxyConfig(authz_url=url, **options)
        trust = ReloadableTrust(OriginTrust())

        def behind_upstream(upstream: UpstreamProxy, authority: Authority) -> Any:
            self.assertEqual(upstream, UPSTREAM)
            return behind

        return remote_authorizer(
            cast(IEgressReactor, ThreadlessReactor()), RemoteService.of(config), trust, behind_upstream
        )

    def test_names(self) -> None:
        for url in ("http://authz.test", "https://authz.test:8443/base"):
            with self.subTest(url):
                self.assertEqual(self.make(url).name, f"the authorization service {url}/validate")

    def test_tls_errors_are_described(self) -> None:
        endpoint = Endpoint()
        endpoint.failing = SSL.Error([("x", "", "oops")])
        for url, words in (
            ("http://authz.test", "failed: Error"),
            ("https://authz.test", "has a TLS error: the TLS handshake with authz.test:443 failed: oops"),
        ):
            with self.subTest(url):
                decided = self.make(url, endpoint, **BY_UPSTREAM).decide(REQUEST)
                self.assertIn(words, self.failureResultOf(decided, AuthorizerUnavailable).value.reason)

    def test_through_the_upstream_proxy(self) -> None:
        endpoint = Endpoint()
        other = UpstreamProxy("http", Authority("other.test", 3128))
        cases: tuple[tuple[dict[str, Any], int], ...] = (
            (BY_UPSTREAM, 1),
            ({"authz_via_upstream": True, "upstream_http": UPSTREAM}, 1),
            ({**BY_UPSTREAM, "upstream_http": other}, 1),
            ({**BY_UPSTREAM, "bypass": Bypass.parse("authz.test")}, 0),
            ({**BY_UPSTREAM, "authz_via_upstream": False}, 0),
            ({"upstream_https": UPSTREAM}, 0),
        )
        for options, expected in cases:
            with self.subTest(options):
                before = len(endpoint.connections)
                authorizer = self.make("http://authz.test", endpoint, **options)
                ready = authorizer.check_ready().addErrback(lambda _: None)
                self.assertEqual(len(endpoint.connections) - before, expected)
                ready.cancel()

    def test_one_connection_for_each_concurrent_request(self) -> None:
        endpoint = Endpoint()
        authorizer = self.make("http://authz.test", endpoint, **BY_UPSTREAM, authz_max_concurrency=2)
        for _ in range(3):
            authorizer.decide(REQUEST)
        self.assertEqual(len(endpoint.connections), 2)

    def test_any_name_through_the_upstream_proxy(self) -> None:
        self.make("http://authz_service", Endpoint(), **BY_UPSTREAM)
        self.assertRaises(ConfigError, self.make, "http://authz_service")

    def test_canonical_host(self) -> None:
        name = self.make("HTTP://B\u00fccher.TEST.:80/a").name
        self.assertEqual(name, "the authorization service http://xn--bcher-kva.test/a/validate")

    def test_invalid_urls(self) -> None:
        for url in (
            *("authz.test", "http://authz.test:0", "http://not a host", "http://authz_service"),
            *("ftp://authz.test", "http://", "http://[::1", "http://authz.test/a b", "http://authz.test/\u00e4"),
            *("http://user:secret@authz.test", "http://user@authz.test", "http://authz.test/?a=b"),
            "http://authz.test/#x",
        ):
            with self.subTest(url):
                error = self.assertRaises(ConfigError, self.make, url)
                self.assertIn(error.option, ("authz_url", "--authz-url"))
                self.assertNotIn("secret", str(error))

    def test_endpoint_paths(self) -> None:
        for api, url, name in (
            (AuthzApi.AUTHZEN, "http://authz.test", "http://authz.test/access/v1/evaluation"),
            (AuthzApi.OPA, "http://authz.test/v1/data/egress/decision", "http://authz.test/v1/data/egress/decision"),
            (AuthzApi.EXT_AUTHZ, "http://authz.test/check/", "http://authz.test/check"),
            (AuthzApi.EXT_AUTHZ, "http://authz.test", "http://authz.test"),
        ):
            with self.subTest(api):
                self.assertEqual(self.make(url, authz_api=api).name, f"the authorization service {name}")

    def test_unsupported_options(self) -> None:
        for option, options in (
            ("--authz-url", {"authz_api": AuthzApi.OPA}),
            ("--authz-body", {"authz_api": AuthzApi.EXT_AUTHZ, "authz_body": AuthzBody.ON_DEMAND}),
            ("--authz-token-file", {"authz_api": AuthzApi.EXT_AUTHZ, "authz_token": TOKEN}),
            ("--passthrough", {"authz_api": AuthzApi.EXT_AUTHZ, "passthrough": ("a.test",)}),
            ("--opaque-ports", {"authz_api": AuthzApi.EXT_AUTHZ, "opaque_ports": (range(22, 23),)}),
            ("--authz-response-headers", {"authz_api": AuthzApi.EXT_AUTHZ, "authz_response_headers": ("host",)}),
            ("authz_response_headers", {"authz_response_headers": ("x-user",)}),
        ):
            with self.subTest(option):
                error = self.assertRaises(ConfigError, self.make, "http://authz.test", **options)
                self.assertEqual(error.option, option)
                self.assertNotIn(TOKEN, str(error))

    def test_fields_for_the_request(self) -> None:
        options: dict[str, Any] = {"authz_api": AuthzApi.EXT_AUTHZ, "authz_response_headers": ("x-user", "cookie")}
        self.assertEqual(self.make("http://authz.test", **options).name, "the authorization service http://authz.test")

    def test_when_the_body_is_sent(self) -> None:
        for body, needs in ((AuthzBody.ALWAYS, True), (AuthzBody.ON_DEMAND, False), (AuthzBody.NEVER, False)):
            with self.subTest(body):
                self.assertIs(self.make("http://authz.test", authz_body=body).needs_body, needs)


class TlsTests(SynchronousTestCase):
    """An authorizer over TLS in memory, with a real implementation on both sides."""

    def setUp(self) -> None:
        self.clock = ThreadlessReactor()
        self.wires: list[Wire] = []
        self.ca = TestCA()
        directory = make_directory(self)
        trust = ReloadableTrust(OriginTrust(self.ca.write(directory)))
        config = ProxyConfig(authz_url="https://authz.test", authz_token=TOKEN, **BY_UPSTREAM)
        below: Any = self
        self.authorizer = remote_authorizer(
            cast(IEgressReactor, self.clock), RemoteService.of(config), trust, lambda *_: below
        )

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect the factory to the server, as the inner endpoint."""
        wire = Wire(self.clock)
        self.wires.append(wire)
        protocol = factory.buildProtocol(None)
        wire.connect(protocol)
        return succeed(protocol)

    def server(self, *names: str) -> TlsServer:
        return TlsServer(self.wires[-1], self.ca.issue(*names))

    def test_decision(self) -> None:
        call = self.authorizer.decide(REQUEST)
        server = self.server("authz.test").shake()
        self.assertIn(b"Authorization: Bearer " + TOKEN.encode(), server.take())
        server.send(http(ALLOWED))
        self.assertTrue(self.successResultOf(call).allowed)
        self.assertTrue(self.wires[0].no_delay)

    def test_ready_is_after_the_handshake(self) -> None:
        ready = self.authorizer.check_ready()
        self.assertNoResult(ready)
        server = self.server("authz.test").shake()
        self.successResultOf(ready)
        self.assertEqual(server.take(), b"")

    def test_token_is_not_sent_to_another_server(self) -> None:
        for use in (lambda: self.authorizer.decide(REQUEST), self.authorizer.check_ready):
            with self.subTest(use=use):
                call: Deferred[Any] = use()
                server = self.server("other.test")
                self.assertRaises(SSL.Error, server.shake)
                self.clock.advance(0)
                reason = self.failureResultOf(call, AuthorizerUnavailable).value.reason
                self.assertIn("is for another host: other.test", reason)

    def test_closed_in_the_handshake(self) -> None:
        call = self.authorizer.decide(REQUEST)
        self.wires[-1].lose()
        reason = self.failureResultOf(call, AuthorizerUnavailable).value.reason
        self.assertIn("the TLS handshake with authz.test:443 failed: the connection was closed", reason)

    def test_silence_in_the_handshake(self) -> None:
        call = self.authorizer.check_ready()
        self.clock.advance(5)
        self.assertIn("within 5 s", self.failureResultOf(call, AuthorizerUnavailable).value.reason)
        self.assertTrue(self.wires[-1].aborted)

    def test_no_global_reactor(self) -> None:
        """Neither treq nor TLS imports the global reactor for a request.  The test uses a new interpreter, because
        trial has one.
        """
        code = (
            "import sys\n"
            "from tests.authz.remote.test_client import TlsTests\n"
            "case = TlsTests('test_decision')\n"
            "case.setUp(); case.test_decision()\n"
            "print('twisted.internet.reactor' in sys.modules)\n"
        )
        root = Path(__file__).parent.parent.parent.parent
        # It runs without trial on purpose, whose runner has a reactor.
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.mktemp_directory(), env=environment, capture_output=True, text=True
        )
        self.assertEqual((done.stdout.strip(), done.stderr, done.returncode), ("False", "", 0))

    def mktemp_directory(self) -> str:
        path = make_directory(self)
        return str(path)
