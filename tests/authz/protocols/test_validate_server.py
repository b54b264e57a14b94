"""Tests for L{egress.authz.protocols.validate_server}."""

from __future__ import annotations

import base64
import json
from ipaddress import ip_address
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.validate import decode_response, encode_request
from egress.authz.protocols.validate_server import (
    UNKNOWN_CLIENT,
    InvalidRequest,
    decode_request,
    encode_rejection,
    encode_response,
)
from egress.model.authority import Authority, IPAddress, Origin
from egress.model.decision import NEEDS, ClientIdentity, Decision, DecisionRequest, Obligations, Stage, Verdict
from egress.model.message import DEFAULT_MAX_SIZE, Direction, Message, MessageKind, MessageObligation
from egress.policy.parse.load import parse_policy
from tests.proxy.test_client_session import MARK, MARKED_URLS

NOTHING = ClientIdentity(UNKNOWN_CLIENT, 0)

RULES = parse_policy(
    """
version = 1
[[rules]]
id = "closed"
action = "deny"
reason = "closed"
hosts = ["*.closed.example", "private", "single-label"]
[[rules]]
id = "admin"
action = "deny"
reason = "not the admin pages"
paths = ["/admin/**"]
[[rules]]
id = "client"
action = "deny"
reason = "not from here"
clients = ["2001:db8::/32"]
headers = { X-A = "b*" }
[[rules]]
id = "query"
action = "deny"
reason = "not this"
query = { b = "c" }
[[rules]]
id = "inside"
action = "deny"
reason = "not inside"
addresses = ["10.0.0.0/8"]
[[rules]]
id = "large"
action = "deny"
reason = "too much"
min_body = 30
[[rules]]
id = "tunnels"
action = "allow"
methods = ["CONNECT"]
ports = [443, 8443]
[[rules]]
id = "writes"
action = "allow"
methods = ["POST", "PUT"]
schemes = ["https"]
hosts = ["api.example"]
[[rules]]
id = "reads"
action = "allow"
methods = ["GET", "OPTIONS"]
""",
    "test.toml",
    "policy test",
)


def request_with(**fields: Any) -> dict[str, Any]:
    """An authorization request as a Postman runner sends it."""
    return {"url": "https://example.com/a?b=c", "method": "POST", "headers": "{}", **fields}


def read(members: object) -> DecisionRequest:
    return decode_request(json.dumps(members).encode(), "new")


class RequestTests(SynchronousTestCase):
    """The decoded requests."""

    def test_documented(self) -> None:
        """The documented example of the contract, whose queryParams equal the query of its URL."""
        members = {
            "url": "https://example.com/api/endpoint?param=value",
            "method": "POST",
            "headers": '{"content-type":"application/json","x-pstmn-outbound-identifier":"c9-post"}',
            "queryParams": "param=value",
            "body": "request body content as string",
        }
        self.assertEqual(
            read(members),
            DecisionRequest(
                request_id="new",
                stage=Stage.REQUEST,
                method="POST",
                origin=Origin("https", Authority("example.com", 443)),
                path="/api/endpoint?param=value",
                headers=(
                    (b"content-type", b"application/json"),
                    (b"x-pstmn-outbound-identifier", b"c9-post"),
                ),
                client=NOTHING,
                body=b"request body content as string",
                content_length=30,
            ),
        )

    def test_urls(self) -> None:
        """A host has one canonical form, as in the proxy; the path is preserved byte for byte."""
        for url, origin, path in (
            ("HTTP://EXAMPLE.com.:80", "http://example.com", "/"),
            ("https://b\u00fccher.example:8443/%7e?", "https://xn--bcher-kva.example:8443", "/%7e?"),
            ("http://0x7f.1/", "http://127.0.0.1", "/"),
            ("https://[::ffff:10.0.0.1]?x", "https://10.0.0.1", "/?x"),
        ):
            with self.subTest(url):
                request = read(request_with(url=url))
                self.assertEqual((str(request.origin), request.path), (origin, path))

    def test_whole_server(self) -> None:
        self.assertEqual(read(request_with(url="http://example.com", method="OPTIONS")).path, "*")

    def test_headers(self) -> None:
        for headers in ('{"A":"b","c-d":"\u00e9"}', {"a": "b", "c-d": "\u00e9"}):
            self.assertEqual(read(request_with(headers=headers)).headers, ((b"a", b"b"), (b"c-d", b"\xc3\xa9")))
        nothing: Any
        for nothing in ("{}", "", {}, None):
            self.assertEqual(read(request_with(headers=nothing)).headers, ())

    def test_query(self) -> None:
        """The separate query may be encoded differently, but must be the same query."""
        for named in ("b=c", "", None, "b=%63", "%62=c"):
            self.assertEqual(read(request_with(queryParams=named)).query, "b=c")
        self.assertEqual(read(request_with(url="http://a.example/?q=a+b", queryParams="q=a%20b")).query, "q=a+b")

    def test_body(self) -> None:
        for fields, body, length in (
            ({}, None, 0),
            ({"body": ""}, None, 0),
            ({"body": "\u00e9"}, b"\xc3\xa9", 2),
            ({"body": base64.b64encode(b"\xff\0").decode(), "bodyEncoding": "base64"}, b"\xff\0", 2),
            ({"body": "ab", "contentLength": 2}, b"ab", 2),
            ({"body": "ab", "bodyTruncated": True}, b"ab", None),
            ({"body": "ab", "bodyTruncated": True, "contentLength": 9}, b"ab", 9),
            ({"body": "", "bodyTruncated": True}, b"", None),
            ({"bodyWithheld": True}, None, None),
            ({"bodyWithheld": True, "contentLength": 9}, None, 9),
        ):
            with self.subTest(fields):
                request = read(request_with(**fields))
                self.assertEqual((request.body, request.content_length), (body, length))
                self.assertEqual(request.body_truncated, "bodyTruncated" in fields)
                self.assertEqual(request.body_withheld, "bodyWithheld" in fields)

    def test_client(self) -> None:
        for client, address, identity in (
            (None, "unknown", None),
            ({}, "unknown", None),
            ({"address": "unknown", "identity": ""}, "unknown", None),
            ({"address": "unix-uid-1000"}, "unix-uid-1000", None),
            ({"address": "192.0.2.1"}, "192.0.2.1", None),
            ({"address": "2001:DB8::0", "identity": "runner \u00e9"}, "2001:db8::", "runner \u00e9"),
        ):
            with self.subTest(client):
                self.assertEqual(read(request_with(client=client)).client, ClientIdentity(address, 0, identity))

    def test_withheld_addresses(self) -> None:
        self.assertFalse(read(request_with()).addresses_withheld)
        self.assertTrue(read(request_with(addressesWithheld=True)).addresses_withheld)
        self.assertFalse(read(request_with(url="http://192.0.2.1/", addressesWithheld=True)).addresses_withheld)

    def test_addresses(self) -> None:
        self.assertIsNone(read(request_with()).addresses)
        found = read(request_with(addresses=["192.0.2.1", "2001:db8::1"])).addresses
        self.assertEqual(found, (ip_address("192.0.2.1"), ip_address("2001:db8::1")))

    def test_tunnels(self) -> None:
        for fields in ({"stage": "tunnel"}, {}):
            for url in ("https://example.com:8443", "https://example.com:8443/"):
                request = read({"url": url, "method": "CONNECT", "headers": "{}", **fields})
                self.assertEqual((request.stage, request.path), (Stage.TUNNEL, ""))
                self.assertEqual(request.authority, Authority("example.com", 8443))

    def test_messages(self) -> None:
        facts = {"kind": "sse", "direction": "origin", "type": "add", "sequence": 3, "ruleId": "feed"}
        request = read(request_with(stage="message", message=facts, body="x"))
        self.assertEqual((request.stage, request.body, request.content_length), (Stage.MESSAGE, b"x", 1))
        self.assertEqual(request.message, Message(MessageKind.SSE, Direction.ORIGIN, "add", 3, "feed"))
        request = read(request_with(stage="message", message={**facts, "ruleId": None}))
        assert request.message is not None
        self.assertEqual((request.body, request.content_length, request.message.rule_id), (b"", 0, None))

    def test_id(self) -> None:
        self.assertEqual(read(request_with()).request_id, "new")
        self.assertEqual(read(request_with(requestId="a-1")).request_id, "a-1")

    def test_unknown_members(self) -> None:
        self.assertEqual(read(request_with(somethingElse={"a": [1]})), read(request_with()))

    def test_no_message_quotes_a_url(self) -> None:
        for url in MARKED_URLS:
            for method in ("GET", "CONNECT"):
                with self.subTest(url, method=method):
                    try:
                        read(request_with(url=url.format("example.com"), method=method))
                    except InvalidRequest as error:
                        self.assertNotIn(MARK, error.reason)

    def test_invalid(self) -> None:
        for fields, words in (
            ({"url": None}, "'url' is missing"),
            ({"url": ""}, "'url' is missing"),
            ({"method": ""}, "'method' is missing"),
            ({"url": 5}, "'url' is not a string"),
            ({"url": "\ud800"}, "unpaired surrogate"),
            ({"url": "/relative"}, "not an absolute"),
            ({"url": "*", "method": "OPTIONS"}, "not an absolute"),
            ({"url": "ftp://example.com/"}, "'url' is invalid"),
            ({"url": "https://user:pw@example.com/"}, "credentials"),
            ({"url": "https://example.com/#f"}, "percent-encoded"),
            ({"url": "https://exa mple.com/"}, "percent-encoded"),
            ({"url": "https://a..b/"}, "is not a valid host name"),
            ({"url": "https://example.com:0/"}, "port"),
            ({"method": "GE T"}, "'method' is not a valid method name"),
            ({"method": "G" * 65}, "'method' is not a valid method name"),
            ({"method": "CONNECT", "stage": "request"}, "CONNECT"),
            ({"stage": "tunnel"}, "CONNECT"),
            ({"stage": "other"}, "'stage'"),
            ({"stage": "message"}, "'message' is required"),
            ({"message": {}}, "'message' is required"),
            ({"stage": "message", "message": []}, "'message' is not an object"),
            ({"stage": "message", "message": {"sequence": 0}}, "'sequence'"),
            ({"stage": "message", "message": {}}, "'sequence'"),
            ({"stage": "message", "message": {"sequence": 1, "kind": "x"}}, "websocket, sse, grpc"),
            ({"stage": "message", "message": {"sequence": 1, "kind": "sse", "direction": "x"}}, "client, origin"),
            ({"stage": "message", "message": {"sequence": 1, "kind": "sse", "direction": "client"}}, "'type'"),
            ({"stage": "message", "message": {}, "bodyWithheld": True}, "whole content"),
            ({"stage": "message", "message": {}, "addressesWithheld": True}, "whole content"),
            ({"stage": "message", "message": {}, "body": "a", "bodyTruncated": True}, "whole content"),
            ({"method": "CONNECT"}, "'url' of a tunnel must not have a path"),
            ({"queryParams": "b=d"}, "'queryParams'"),
            ({"url": "http://a.example/", "queryParams": "b=d"}, "'queryParams'"),
            ({"headers": 5}, "'headers' is neither"),
            ({"headers": "x"}, "'headers' is invalid: the content is not JSON"),
            ({"headers": "[]"}, "'headers' is invalid: the content is not a JSON object"),
            ({"headers": '{"a":"1","a":"2"}'}, "'headers' is invalid: a key is repeated"),
            ({"headers": '{"a b":"1"}'}, "invalid field name"),
            ({"headers": '{"a":1}'}, "invalid field value"),
            ({"headers": {"a": "x\r\ny: z"}}, "invalid field value"),
            ({"headers": {"a": "\udcff"}}, "unpaired surrogate"),
            ({"body": ["a"]}, "'body' is not a string"),
            ({"body": "\ud800"}, "unpaired surrogate"),
            ({"body": "a", "bodyEncoding": "gzip"}, "'bodyEncoding'"),
            ({"body": "a", "bodyEncoding": "base64"}, "not base64"),
            ({"body": "\u00e9", "bodyEncoding": "base64"}, "not base64"),
            ({"body": "a\nbc=", "bodyEncoding": "base64"}, "not base64"),
            ({"bodyTruncated": True}, "'bodyTruncated'"),
            ({"bodyTruncated": "true"}, "'bodyTruncated' is not a boolean"),
            ({"body": "a", "bodyWithheld": True}, "'bodyWithheld'"),
            ({"contentLength": 1}, "'contentLength'"),
            ({"contentLength": -1}, "out of range"),
            ({"contentLength": 2**63}, "out of range"),
            ({"contentLength": 1.0, "body": "a"}, "not an integer"),
            ({"contentLength": True, "body": "a"}, "not an integer"),
            ({"contentLength": 1, "body": "ab", "bodyTruncated": True}, "'contentLength' is less"),
            ({"client": "192.0.2.1"}, "'client' is not an object"),
            ({"client": {"address": "example.com"}}, "invalid IP address"),
            ({"client": {"address": "fe80::1%eth0"}}, "invalid IP address"),
            ({"client": {"address": "192.0.2.1", "identity": "a\nb"}}, "'identity'"),
            ({"client": {"address": "192.0.2.1", "identity": "a" * 513}}, "'identity'"),
            ({"addresses": "192.0.2.1"}, "'addresses' is not a list"),
            ({"addresses": [1]}, "not a list of strings"),
            ({"addresses": []}, "1 to 256"),
            ({"addresses": ["192.0.2.1"], "addressesWithheld": True}, "'addressesWithheld' contradicts 'addresses'"),
            ({"addressesWithheld": "yes"}, "'addressesWithheld' is not a boolean"),
            ({"addresses": ["192.0.2.1"] * 257}, "1 to 256"),
            ({"addresses": ["192.0.2.256"]}, "invalid IP address"),
            ({"requestId": "a b"}, "'requestId'"),
            ({"requestId": "a" * 129}, "'requestId'"),
        ):
            with self.subTest(fields):
                with self.assertRaises(InvalidRequest) as caught:
                    read(request_with(**fields))
                self.assertIn(words, caught.exception.reason)

    def test_malformed(self) -> None:
        for content in (b"", b"[]", b'{"url": 1, "url": 2}'):
            with self.assertRaises(InvalidRequest) as caught:
                decode_request(content, "new")
            self.assertTrue(caught.exception.reason.startswith("invalid authorization request: "))


HOSTS = st.sampled_from(
    ["api.example", "a.closed.example", "10.0.0.1", "localhost", "xn--bcher-kva.example", "2001:db8::1", "192.0.2.1"]
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Accept", b"X-A", b"x-a"]),
        st.sampled_from([b"b", b"a", b"a, b", b"\xff", b""])
        | st.binary(max_size=20).map(lambda value: value.translate(None, b"\x00\r\n").strip()),
    ),
    max_size=5,
).map(tuple)
REQUESTS = st.builds(
    DecisionRequest,
    request_id=st.just("id-1"),
    stage=st.just(Stage.REQUEST),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "get", "OPTIONS"]),
    origin=st.builds(
        Origin, st.sampled_from(["http", "https"]), st.builds(Authority, HOSTS, st.sampled_from([80, 443, 8443]))
    ),
    path=st.sampled_from(["/", "/?", "/admin/x", "/%61dmin/x", "/a/../admin/x", "/a?b=c&d=%20+", "//x", "/\u00e9"]),
    headers=HEADERS,
    client=st.builds(
        ClientIdentity, st.sampled_from(["192.0.2.7", "2001:db8::7", "unknown"]), st.just(0), st.none() | st.just("n")
    ),
    body=st.none() | st.binary(min_size=1, max_size=40),
    addresses=st.none(),
)
TUNNELS = REQUESTS.map(
    lambda request: attrs.evolve(
        request,
        stage=Stage.TUNNEL,
        method="CONNECT",
        path="",
        origin=Origin("https", request.authority),
        body=None,
    )
)

MESSAGES = st.builds(
    lambda request, body, message: attrs.evolve(request, stage=Stage.MESSAGE, body=body, message=message),
    REQUESTS,
    st.binary(max_size=40),
    st.builds(
        Message,
        st.sampled_from(MessageKind),
        st.sampled_from(Direction),
        st.sampled_from(["text", "add", "a b"]),
        st.integers(1, 2**40),
        st.none() | st.just("rule"),
    ),
)


def _known(
    request_with: DecisionRequest, kept: str, length: int | None, addresses: tuple[IPAddress, ...] | None
) -> DecisionRequest:
    """An authorization request with all members that a proxy sends.

    @param kept: the part of the body that is included.
    """
    request_with = attrs.evolve(request_with, addresses=addresses)
    if request_with.stage is not Stage.REQUEST or kept == "all":
        return attrs.evolve(request_with, content_length=len(request_with.body or b""))
    if kept == "nothing":
        return attrs.evolve(request_with, body=None, body_withheld=True, content_length=length)
    if not request_with.body:
        return request_with
    return attrs.evolve(request_with, body_truncated=True, content_length=None if length is None else 100 + length)


QUESTIONS = st.builds(
    _known,
    REQUESTS | TUNNELS | MESSAGES,
    st.sampled_from(["all", "beginning", "nothing"]),
    st.none() | st.integers(1, 2**40),
    st.none()
    | st.lists(st.sampled_from(["10.0.0.1", "1.1.1.1", "2001:db8::1"]), min_size=1).map(
        lambda texts: tuple(map(ip_address, texts))
    ),
)


class ParityTests(SynchronousTestCase):
    """The service decides on a request of the proxy as the embedded policy of the proxy does."""

    @given(QUESTIONS)
    def test_verdict_and_rule(self, request: DecisionRequest) -> None:
        found = decode_request(encode_request(request), "new")
        self.assertEqual(RULES.decide(found), RULES.decide(request))

    @given(QUESTIONS)
    def test_request_round_trip(self, request: DecisionRequest) -> None:
        """Only the number of field lines, the case of field names and a partial character at the limit change."""
        found = decode_request(encode_request(request), "new")
        body = found.body if request.body_truncated else request.body
        self.assertEqual(attrs.evolve(found, headers=()), attrs.evolve(request, headers=(), body=body))
        if request.body_truncated:
            assert request.body is not None
            assert body is not None
            self.assertTrue(request.body.startswith(body))
            self.assertLess(len(request.body) - len(body), 4)

    def test_every_rule_decides(self) -> None:
        """The generated requests match most of the rules."""
        met = set()

        # The requests are the same each time, and enough of them: this test is about the generator.
        @settings(max_examples=400, derandomize=True, database=None)
        @given(QUESTIONS)
        def look(request: DecisionRequest) -> None:
            met.add(RULES.decide(request).rule_id)

        look()
        self.assertGreaterEqual(len(met), 5)


TERMS = st.builds(
    Obligations,
    set_headers=st.dictionaries(
        st.sampled_from([b"authorization", b"x-a", b"x-b"]),
        st.sampled_from([b"Bearer x", b"\xc3\xa9", b"x"]),
    ).map(lambda fields: tuple(fields.items())),
    secret_headers=st.sampled_from([(), ((b"x-key", b"Bearer ${secret:api}"),)]),
    remove_headers=st.lists(st.sampled_from([b"cookie", b"x-c"]), unique=True).map(tuple),
    max_bytes=st.none() | st.integers(0, 2**40),
    expires_in=st.none() | st.floats(1, 86400),
    messages=st.none()
    | st.builds(
        MessageObligation, st.frozensets(st.sampled_from(Direction), min_size=1), st.sampled_from([1, DEFAULT_MAX_SIZE])
    ),
)
DECISIONS = st.builds(
    Decision,
    verdict=st.sampled_from(Verdict),
    reason=st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=50),
    decided_by=st.just("policy"),
    rule_id=st.none() | st.just("rule-1"),
    ttl=st.none() | st.floats(0, 3600),
    stale_if_error=st.none() | st.floats(0, 3600),
    cache_key=st.none() | st.lists(st.sampled_from(["method", "path", "header:a"])).map(tuple),
    obligations=TERMS,
    enforce_in_observe=st.booleans(),
).map(
    lambda decision: decision if decision.verdict is Verdict.DENY else attrs.evolve(decision, enforce_in_observe=False)
)


class ResponseTests(SynchronousTestCase):
    """A decision as a response."""

    def answer(self, verdict: Verdict = Verdict.ALLOW, **fields: Any) -> tuple[int, dict[str, Any]]:
        status, content = encode_response(Decision(verdict, "because", "policy", **fields))
        found: dict[str, Any] = json.loads(content)
        return status, found

    def test_documented(self) -> None:
        self.assertEqual(self.answer(), (200, {"allowed": True, "reason": "because"}))
        self.assertEqual(self.answer(Verdict.DENY), (403, {"allowed": False, "reason": "because"}))
        self.assertEqual(json.loads(encode_rejection("no")), {"allowed": False, "reason": "no"})

    def test_undecided(self) -> None:
        """A response with a need or an ask never allows, whichever caller reads it."""
        self.assertEqual(
            self.answer(Verdict.NEED_ADDRESSES), (200, {"allowed": False, "reason": "because", "need": "addresses"})
        )
        self.assertEqual(self.answer(Verdict.NEED_BODY), (200, {"allowed": False, "reason": "because", "need": "body"}))
        self.assertEqual(self.answer(Verdict.ASK), (403, {"allowed": False, "reason": "because", "ask": True}))

    def test_all_fields(self) -> None:
        terms = Obligations(
            set_headers=((b"X-A", b"\xc3\xa9"),),
            secret_headers=((b"Authorization", b"Bearer ${secret:api}"),),
            remove_headers=(b"cookie",),
            max_bytes=0,
            expires_in=60.0,
            messages=MessageObligation(frozenset({Direction.CLIENT}), 5),
        )
        status, fields = self.answer(
            rule_id="r", ttl=0.0, stale_if_error=5.0, cache_key=("method", "header:a"), obligations=terms
        )
        self.assertEqual(status, 200)
        self.assertEqual(
            fields,
            {
                "allowed": True,
                "reason": "because",
                "ruleId": "r",
                "ttl": 0.0,
                "staleIfError": 5.0,
                "cacheKey": ["method", "header:a"],
                "setHeaders": {"x-a": "\u00e9"},
                "setSecretHeaders": {"authorization": "Bearer ${secret:api}"},
                "removeHeaders": ["cookie"],
                "maxBytes": 0,
                "expiresIn": 60.0,
                "messages": {"directions": ["client"], "maxSize": 5},
            },
        )
        self.assertIs(self.answer(obligations=Obligations(messages=MessageObligation()))[1]["messages"], True)

    def test_enforced_denial(self) -> None:
        """Only a denial contains this member."""
        self.assertIs(self.answer(Verdict.DENY, enforce_in_observe=True)[1]["firm"], True)
        for verdict in (Verdict.ALLOW, Verdict.ASK, *NEEDS):
            self.assertNotIn("firm", self.answer(verdict, enforce_in_observe=True)[1])

    def test_no_parts(self) -> None:
        """A decision that depends on no part has an empty list; one that depends on all parts has no list."""
        self.assertEqual(self.answer(cache_key=())[1]["cacheKey"], [])

    @given(DECISIONS)
    def test_round_trip(self, decision: Decision) -> None:
        """The proxy decodes the same decision, with all of its obligations."""
        withheld = decision.verdict is Verdict.NEED_BODY
        unresolved = decision.verdict is Verdict.NEED_ADDRESSES
        self.assertEqual(decode_response(*encode_response(decision), "policy", withheld, unresolved), decision)
