"""Tests for L{egress.authz.protocols.validate}."""

from __future__ import annotations

import base64
import json
from ipaddress import ip_address
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.base import AuthzResponse
from egress.authz.protocols.request_json import add_content, add_context, encoded
from egress.authz.protocols.validate import ValidateCodec, decode_response, encode_request, headers_value
from egress.http.error_response import encode_error_response
from egress.model.authority import Authority, Origin
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, DecisionRequest, Stage, Verdict
from egress.model.errors import AuthorizerUnavailable, Denied
from egress.model.message import Direction, Message, MessageKind

REQUEST = DecisionRequest(
    request_id="id-1",
    stage=Stage.REQUEST,
    method="POST",
    origin=Origin("https", Authority("example.com", 443)),
    path="/api/endpoint?param=value",
    headers=((b"Content-Type", b"application/json"), (b"X-Pstmn-Outbound-Identifier", b"c9-post")),
    client=ClientIdentity("192.0.2.1", 1234),
    body=b"request body content as string",
)


def encode_members(**changes: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(encode_request(attrs.evolve(REQUEST, **changes)))
    return decoded


class RequestTests(SynchronousTestCase):
    """The documented members, which are strings, and the additional ones."""

    def test_all_fields(self) -> None:
        self.assertEqual(
            encode_members(),
            {
                "url": "https://example.com/api/endpoint?param=value",
                "method": "POST",
                "headers": '{"content-type":"application/json","x-pstmn-outbound-identifier":"c9-post"}',
                "queryParams": "param=value",
                "body": "request body content as string",
                "requestId": "id-1",
                "client": {"address": "192.0.2.1"},
                "stage": "request",
            },
        )

    def test_absent_values_are_omitted(self) -> None:
        for name, changes, field in (
            ("no query", {"path": "/"}, "queryParams"),
            ("empty query", {"path": "/?"}, "queryParams"),
            ("no body", {"body": None}, "body"),
            ("empty body", {"body": b""}, "body"),
        ):
            with self.subTest(name):
                self.assertNotIn(field, encode_members(**changes))

    def test_identity_and_tunnel(self) -> None:
        document = encode_members(client=ClientIdentity("192.0.2.1", 1, "runner"), stage=Stage.TUNNEL)
        self.assertEqual(document["client"], {"address": "192.0.2.1", "identity": "runner"})
        self.assertEqual(document["stage"], "tunnel")

    def test_repeated_headers(self) -> None:
        """A codec remembers the last fields, so each request has its own."""
        codec = ValidateCodec("http://authz.test/validate", "service")
        other = attrs.evolve(REQUEST, headers=((b"X-Other", b'"\\'),))
        none = attrs.evolve(REQUEST, headers=(), body=None, path="/")
        for request in (none, REQUEST, REQUEST, attrs.evolve(REQUEST, method="PUT"), other, REQUEST, none):
            content = codec.encode(request).content
            self.assertEqual(content, encode_request(request))
            members = json.loads(content)
            self.assertEqual(members["headers"], headers_value(request.headers))
            self.assertEqual((members["method"], list(members)[:3]), (request.method, ["url", "method", "headers"]))

    def test_text(self) -> None:
        """The text that the members of most requests have is that of the encoder for any document."""
        message = Message(MessageKind.WEBSOCKET, Direction.ORIGIN, "text", 7, "r")
        for changes in (
            {},
            {"path": '/"\\\x7f?q="\u20ac\\', "request_id": '"', "method": "A'B", "headers": ((b"A", b'"\xff'),)},
            {"client": ClientIdentity('"', 1, 'x"\n\x01\u2028'), "stage": Stage.TUNNEL, "body": None},
            {"body": b"\xff", "body_truncated": True, "content_length": 9, "addresses": (ip_address("192.0.2.1"),)},
            {"body": None, "body_withheld": True, "content_length": 3, "addresses_withheld": True},
            {"path": "/a.B/C", "headers": ((b"Content-Type", b"application/grpc"),), "message": message},
        ):
            request = attrs.evolve(REQUEST, **changes)
            with self.subTest(changes):
                members = {"url": request.url, "method": request.method, "headers": headers_value(request.headers)}
                if request.query:
                    members["queryParams"] = request.query
                add_content(members, request)
                add_context(members, request)
                self.assertEqual(encode_request(request), encoded(members))

    def test_headers(self) -> None:
        headers = (
            (b"Accept", b"a/b"),
            (b"ACCEPT", b"c/d"),
            (b"Cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"X-Text", "grün".encode()),
            (b"X-Bytes", b"\xff"),
        )
        self.assertEqual(
            json.loads(headers_value(headers)),
            {"accept": "a/b, c/d", "cookie": "a=1; b=2", "x-text": "grün", "x-bytes": "ÿ"},
        )

    def test_binary_body(self) -> None:
        document = encode_members(body=b"\x00\xff")
        self.assertEqual((base64.b64decode(document["body"]), document["bodyEncoding"]), (b"\x00\xff", "base64"))

    def test_truncated_body(self) -> None:
        for name, body, expected in (
            ("text", b"abc", "abc"),
            ("two bytes, cut", "aä".encode()[:-1], "a"),
            ("three bytes, cut", "a€".encode()[:-1], "a"),
            ("three bytes, cut to one", "a€".encode()[:-2], "a"),
            ("four bytes, cut", "a😀".encode()[:-1], "a"),
            ("four bytes, whole", "a😀".encode(), "a😀"),
            ("whole", "aä".encode(), "aä"),
        ):
            with self.subTest(name):
                document = encode_members(body=body, body_truncated=True)
                self.assertEqual((document["body"], document["bodyTruncated"]), (expected, True))
                self.assertNotIn("bodyEncoding", document)
        self.assertEqual(encode_members(body=b"\x80\x80\x80\x80", body_truncated=True)["bodyEncoding"], "base64")
        self.assertNotIn("bodyTruncated", encode_members())

    @given(st.binary(min_size=1, max_size=40))
    def test_any_body_can_be_decoded(self, body: bytes) -> None:
        document = encode_members(body=body)
        text = document["body"]
        found = base64.b64decode(text) if document.get("bodyEncoding") == "base64" else text.encode("utf-8")
        self.assertEqual(found, body)

    def test_text_that_cannot_be_encoded(self) -> None:
        for changes in ({"path": "/\ud800"}, {"client": ClientIdentity("192.0.2.1", 1, "\udcff")}):
            with self.subTest(changes=changes):
                error = self.assertRaises(AuthorizerUnavailable, encode_members, **changes)
                self.assertIs(error.kind, AuthzFailure.REQUEST)


NO_DECISION: dict[str, tuple[int, bytes]] = {
    "nothing": (200, b""),
    "no JSON": (200, b"yes"),
    "not UTF-8": (200, b'{"allowed": true, "reason": "\xff"}'),
    "a list": (200, b"[true]"),
    "a string": (200, b'"true"'),
    "null": (200, b"null"),
    "missing": (200, b"{}"),
    "true as text": (200, b'{"allowed": "true"}'),
    "true as a number": (200, b'{"allowed": 1}'),
    "false as a number": (200, b'{"allowed": 0}'),
    "allowed is null": (200, b'{"allowed": null}'),
    "other case": (200, b'{"Allowed": true}'),
    "a key is repeated": (200, b'{"allowed": false, "allowed": true}'),
    "a key is repeated inside": (200, b'{"allowed": true, "more": {"a": 1, "a": 2}}'),
    "NaN": (200, b'{"allowed": true, "ttl": NaN}'),
    "Infinity": (200, b'{"allowed": true, "ttl": Infinity}'),
    "two documents": (200, b'{"allowed": true}{"allowed": true}'),
    "cut short": (200, b'{"allowed": true'),
    "too deep": (200, b"[" * 100_000),
    "allowed under 201": (201, b'{"allowed": true}'),
    "allowed under 403": (403, b'{"allowed": true}'),
    "allowed under 500": (500, b'{"allowed": true}'),
    "redirect": (302, b""),
    "500 with a page": (500, b"<html>"),
    "500 without allowed": (500, b"{}"),
}


class ResponseTests(SynchronousTestCase):
    """Only a 200 with exactly C{allowed: true} allows."""

    def test_invalid(self) -> None:
        for name, (status, body) in NO_DECISION.items():
            with self.subTest(name):
                error = self.assertRaises(AuthorizerUnavailable, decode_response, status, body, "x")
                self.assertIs(error.kind, AuthzFailure.RESPONSE)
                self.assertIn("authorization service", error.reason)

    def test_allowed(self) -> None:
        decision = decode_response(200, b'{"allowed": true}', "service")
        self.assertEqual((decision.verdict, decision.decided_by), (Verdict.ALLOW, "service"))
        self.assertTrue(decision.reason)

    def test_denied_under_any_status(self) -> None:
        for status in (200, 400, 403, 500):
            with self.subTest(status=status):
                decision = decode_response(status, b'{"allowed": false}', "x")
                self.assertIs(decision.verdict, Verdict.DENY)
                self.assertTrue(decision.reason)

    def test_extra_members(self) -> None:
        body = b'{"allowed": false, "reason": "closed", "ruleId": "r1", "ttl": 30}'
        decision = decode_response(403, body, "x")
        self.assertEqual((decision.reason, decision.rule_id, decision.ttl), ("closed", "r1", 30.0))

    def test_invalid_extra_members_are_ignored(self) -> None:
        for name, extras in (
            ("types", {"reason": 1, "ruleId": None, "ttl": "30"}),
            ("negative", {"reason": "", "ruleId": [], "ttl": -1}),
            ("boolean", {"ttl": True}),
            ("too large", {"ttl": 10**400}),
        ):
            with self.subTest(name):
                decision = decode_response(200, json.dumps({"allowed": True, **extras}).encode(), "x")
                self.assertTrue(decision.allowed)
                self.assertTrue(decision.reason)
                self.assertEqual((decision.rule_id, decision.ttl), (None, None))

    def test_reason_is_one_bounded_line(self) -> None:
        body = json.dumps({"allowed": False, "reason": "a\r\nb\x00\u2028" + "x" * 1000}).encode()
        reason = decode_response(200, body, "x").reason
        self.assertTrue(reason.startswith("a b x"))
        self.assertEqual(len(reason), 500)

    def test_reason_is_printable(self) -> None:
        body = rb'{"allowed": false, "reason": "a\ud800b \u202ec", "ruleId": "\udfff"}'
        decision = decode_response(403, body, "x")
        self.assertEqual((decision.reason, decision.rule_id), ("a b  c", None))
        for accept in (None, b"text/plain"):
            with self.subTest(accept=accept):
                answer = encode_error_response(
                    Denied(decision), "id", accept=accept, head_only=False, keep_alive=True, date=b"now"
                )
                self.assertIn(b"a b  c", answer)


class CodecTests(SynchronousTestCase):
    """The contract as a codec."""

    def test_endpoint_path(self) -> None:
        for path in ("", "/", "/validate", "/validate/"):
            with self.subTest(path):
                self.assertEqual(ValidateCodec.endpoint_path(path), "/validate")
        self.assertEqual(ValidateCodec.endpoint_path("/base/"), "/base/validate")

    def test_request(self) -> None:
        document = ValidateCodec("http://authz.test/validate", "who").encode(REQUEST)
        self.assertEqual((document.method, document.url, document.fields), (b"POST", b"http://authz.test/validate", ()))
        self.assertEqual(document.content, encode_request(REQUEST))
        self.assertNotIn("request body", repr(document))

    def test_response(self) -> None:
        codec = ValidateCodec("http://authz.test/validate", "who")
        self.assertEqual(codec.decode(AuthzResponse(200, (), b'{"allowed": true}'), REQUEST).decided_by, "who")
        need = AuthzResponse(200, (), b'{"need": "body"}')
        withheld = attrs.evolve(REQUEST, body=None, body_withheld=True)
        self.assertIs(codec.decode(need, withheld).verdict, Verdict.NEED_BODY)
        self.assertRaises(AuthorizerUnavailable, codec.decode, need, REQUEST)

    def test_addresses(self) -> None:
        """Addresses that can be looked up are withheld, and can be requested."""
        codec = ValidateCodec("http://authz.test/validate", "who")
        unresolved = attrs.evolve(REQUEST, addresses=None, addresses_withheld=True)
        need = AuthzResponse(200, (), b'{"allowed": false, "need": "addresses"}')
        self.assertIs(codec.decode(need, unresolved).verdict, Verdict.NEED_ADDRESSES)
        self.assertRaises(AuthorizerUnavailable, codec.decode, need, REQUEST)
        for document, expected in (
            (unresolved, (None, True)),
            (attrs.evolve(REQUEST, addresses=(ip_address("192.0.2.1"),)), (["192.0.2.1"], None)),
            (attrs.evolve(REQUEST, addresses=None), (None, None)),
        ):
            sent = json.loads(codec.encode(document).content)
            self.assertEqual((sent.get("addresses"), sent.get("addressesWithheld")), expected)

    def test_need_requires_status_200(self) -> None:
        for status, answer, expected in (
            (200, b'{"need": "body"}', Verdict.NEED_BODY),
            (403, b'{"allowed": false, "need": "body"}', Verdict.NEED_BODY),
            (403, b'{"need": "body"}', None),
            (200, b'{"allowed": null, "need": "body"}', None),
        ):
            with self.subTest(status=status, answer=answer):
                if expected is None:
                    self.assertRaises(AuthorizerUnavailable, decode_response, status, answer, "who", True)
                else:
                    self.assertIs(decode_response(status, answer, "who", True).verdict, expected)
