"""Tests for L{egress.authz.protocols.ext_authz}."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.base import AuthzResponse
from egress.authz.protocols.ext_authz import ExtAuthzCodec
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Decision, Headers, Stage, Verdict
from egress.model.errors import AuthorizerUnavailable
from tests.authz.protocols.requests import REQUEST, changed

CODEC = ExtAuthzCodec("http://authz.test/check", "who", ["X-User", "x-team"])
PLAIN = ExtAuthzCodec("http://authz.test", "who")
TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


def decoded(status: int, fields: Headers = (), content: bytes = b"") -> Decision:
    return CODEC.decode(AuthzResponse(status, fields, content), REQUEST)


class RequestTests(SynchronousTestCase):
    """The check resembles the request."""

    def test_request(self) -> None:
        encoded = CODEC.encode(REQUEST)
        self.assertEqual(
            (encoded.method, encoded.url, encoded.content), (b"POST", b"http://authz.test/check/a/b?c=d", b"")
        )
        self.assertEqual(
            encoded.fields,
            (
                (b"Host", b"example.com:8443"),
                (b"Accept", b"a/b"),
                (b"X-Request-Id", b"id-1"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"example.com:8443"),
                (b"X-Forwarded-Uri", b"/a/b?c=d"),
                (b"X-Forwarded-Method", b"POST"),
                (b"X-Forwarded-For", b"192.0.2.1"),
            ),
        )
        self.assertEqual(PLAIN.encode(REQUEST).url, b"http://authz.test/a/b?c=d")
        self.assertEqual(CODEC.endpoint_path("/check/"), "/check")

    def test_content(self) -> None:
        for changes, content, partial in (
            ({"body": b"abc"}, b"abc", b"false"),
            ({"body": b"abc", "body_truncated": True}, b"abc", b"true"),
            ({"body_withheld": True}, b"", b"true"),
            ({"body": b""}, b"", None),
        ):
            with self.subTest(changes):
                encoded = CODEC.encode(changed(**changes))
                self.assertEqual(encoded.content, content)
                self.assertEqual(dict(encoded.fields).get(b"X-Envoy-Auth-Partial-Body"), partial)

    def test_reserved_fields(self) -> None:
        names = (
            *(b"X-Forwarded-For", b"x_forwarded_method", b"X-Forwarded-Client-Cert", b"X-Egress-Identity"),
            *(b"X-Original-URL", b"X-Original_Method", b"X-Rewrite-URL", b"X-Real-IP"),
            *(b"X-Request-ID", b"X_Request_Id", b"X-Envoy-Auth-Partial-Body", b"Forwarded", b"Host"),
            *(b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"Proxy-Authorization"),
        )
        encoded = CODEC.encode(changed(headers=tuple((name, b"forged") for name in names)))
        self.assertNotIn(b"forged", [value for _, value in encoded.fields])

    def test_authorization_is_passed_on(self) -> None:
        encoded = CODEC.encode(changed(headers=((b"Authorization", b"Bearer x"),)))
        self.assertEqual(dict(encoded.fields)[b"Authorization"], b"Bearer x")

    def test_addresses(self) -> None:
        """The addresses are included if they are known: for a host that is an address, and where names are resolved
        before the request.
        """
        for addresses, expected in (
            (None, []),
            ((ip_address("192.0.2.1"), ip_address("2001:db8::1")), [b"192.0.2.1, 2001:db8::1"]),
        ):
            request = changed(addresses=addresses, headers=((b"X-Egress-Addresses", b"8.8.8.8"),))
            fields = CODEC.encode(request).fields
            self.assertEqual([value for name, value in fields if name == b"X-Egress-Addresses"], expected)
        # A check cannot request them.
        encoded = changed(addresses_withheld=True)
        self.assertIs(CODEC.decode(AuthzResponse(403, ((b"need", b"addresses"),), b""), encoded).verdict, Verdict.DENY)

    def test_identity(self) -> None:
        encoded = CODEC.encode(changed(client=ClientIdentity("192.0.2.1", 1, "ci")))
        self.assertEqual(dict(encoded.fields)[b"X-Egress-Identity"], b"ci")

    def test_unsupported_requests(self) -> None:
        for changes, words in (
            ({"stage": Stage.TUNNEL, "method": "CONNECT", "path": ""}, "a tunnel"),
            ({"stage": Stage.MESSAGE}, "a message"),
            ({"path": "*", "method": "OPTIONS"}, "this request-target"),
            ({"path": "/\u00e4"}, "this request-target"),
            ({"path": "/a b"}, "this request-target"),
            ({"path": "/a\r\nHost: x"}, "this request-target"),
            ({"method": "GET /admin"}, "this method"),
            ({"path": "/../admin"}, "leaves the path"),
            ({"path": "/a/%2e%2E/b"}, "leaves the path"),
            ({"path": "/a\\..\\b"}, "leaves the path"),
            ({"path": "/a%2f.%2e;x"}, "leaves the path"),
            ({"path": "/a/.."}, "leaves the path"),
        ):
            with self.subTest(changes):
                error = self.assertRaises(AuthorizerUnavailable, CODEC.encode, changed(**changes))
                self.assertIn(words, error.reason)
                self.assertIs(error.kind, AuthzFailure.REQUEST)

    def test_path_with_other_characters(self) -> None:
        encoded = PLAIN.encode(changed(path="/\u00e4%2f\\|?q=\u20ac%"))
        self.assertEqual(encoded.url, b"http://authz.test/%C3%A4%2f\\|?q=%E2%82%AC%")
        self.assertEqual(dict(encoded.fields)[b"X-Forwarded-Uri"], b"/%C3%A4%2f\\|?q=%E2%82%AC%")

    def test_dots_that_are_permitted(self) -> None:
        for codec, path in ((PLAIN, "/../a"), (CODEC, "/a..b/...?x=/../y")):
            with self.subTest(path):
                self.assertTrue(codec.encode(changed(path=path)).url.endswith(path.encode()))


class ResponseTests(SynchronousTestCase):
    """The status code is the decision."""

    def test_statuses(self) -> None:
        for status, expected in ((200, Verdict.ALLOW), (401, Verdict.DENY), (403, Verdict.DENY)):
            with self.subTest(status):
                self.assertIs(decoded(status).verdict, expected)
        for status in (201, 204, 302, 400, 404, 429, 500, 503):
            with self.subTest(status):
                error = self.assertRaises(AuthorizerUnavailable, decoded, status)
                self.assertEqual(error.reason, f"the authorization service responded with status {status}")

    def test_reasons(self) -> None:
        default = "the authorization service denied the request"
        for fields, content, expected in (
            ((TEXT,), b"no\nentry", "no entry"),
            ((TEXT,), b"", default),
            ((TEXT, (b"X-Egress-Reason", b"better")), b"no entry", "better"),
            (((b"Content-Type", b"text/html"),), b"<p>no entry", default),
            (((b"Content-Type", b"application/json"),), b"{}", default),
            ((), b"no entry", default),
        ):
            with self.subTest(fields=fields):
                self.assertEqual(decoded(403, fields, content).reason, expected)

    def test_members(self) -> None:
        fields = (
            (b"X-Egress-Rule-Id", b"r1"),
            (b"X-Egress-Policy-Version", b"7"),
            (b"x-egress-ttl", b"5.5"),
            (b"X-EGRESS-STALE-IF-ERROR", b"60"),
            (b"X-Egress-Cache-Key", b"method, path"),
            (b"X-Egress-Cache-Key", b"header:x-a,"),
        )
        decision = decoded(200, fields)
        self.assertEqual((decision.rule_id, decision.ttl, decision.stale_if_error), ("r1", 5.5, 60.0))
        self.assertEqual(decision.policy_version, "7")
        self.assertEqual(decision.cache_key, ("method", "path", "header:x-a"))
        self.assertIsNone(decoded(200, ((b"X-Egress-Ttl", b"soon"),)).ttl)

    def test_enforced_denial(self) -> None:
        for value, expected in ((b"true", True), (b"1", True), (b"False", False)):
            with self.subTest(value):
                self.assertIs(decoded(403, ((b"X-Egress-Firm", value),)).enforce_in_observe, expected)

    def test_fields_for_the_request(self) -> None:
        """Only the configured fields are copied."""
        fields = ((b"X-USER", b"alice"), (b"X-Team", b"a"), (b"x-team", b"b"), (b"X-Other", b"c"))
        self.assertEqual(decoded(200, fields).obligations.set_headers, ((b"x-team", b"a, b"), (b"x-user", b"alice")))
        self.assertEqual(PLAIN.decode(AuthzResponse(200, fields, b""), REQUEST).obligations.set_headers, ())

    def test_secrets(self) -> None:
        """Only fields with the prefix are templates; a field that a service reflects under another name is not."""
        fields = ((b"X-Egress-Secret-X-User", b"Bearer ${secret:key}"), (b"x-team", b"a"))
        terms = decoded(200, fields).obligations
        self.assertEqual(terms.secret_headers, ((b"x-user", b"Bearer ${secret:key}"),))
        self.assertEqual(terms.set_headers, ((b"x-team", b"a"),))
        for more, says in (
            (((b"x-user", b"${secret:key}"),), "only setSecretHeaders"),
            (((b"x-user", b"a"), (b"x-egress-secret-x-user", b"${secret:key}")), "twice"),
            (((b"x-egress-secret-x-other", b"${secret:key}"),), "--authz-response-headers"),
            (((b"x-egress-secret-", b"${secret:key}"),), "--authz-response-headers"),
        ):
            with self.subTest(more):
                self.assertIn(says, self.assertRaises(AuthorizerUnavailable, decoded, 200, more).reason)
        # A client cannot have a service reflect such a field.
        encoded = CODEC.encode(changed(headers=((b"X_Egress-Secret-X-User", b"${secret:key}"),)))
        self.assertNotIn(b"${secret:key}", [value for _, value in encoded.fields])

    def test_fields_to_remove(self) -> None:
        terms = decoded(200, ((b"x-envoy-auth-headers-to-remove", b"Cookie, x-a"),)).obligations
        self.assertEqual(terms.remove_headers, (b"cookie", b"x-a"))
        error = self.assertRaises(AuthorizerUnavailable, decoded, 200, ((b"x-envoy-auth-headers-to-remove", b"Host"),))
        self.assertIn("the field host cannot be set or removed", error.reason)

    def test_no_need(self) -> None:
        """A check cannot request the content, whatever its content is."""
        answer = AuthzResponse(403, (TEXT,), b'{"need": "body"}')
        changes: dict[str, Any] = {"body_withheld": True}
        self.assertIs(CODEC.decode(answer, changed(**changes)).verdict, Verdict.DENY)
