"""Tests for L{egress.authz.protocols.base}: the decision is the same with every API."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.protocols.authzen import AuthZenCodec
from egress.authz.protocols.base import AuthzResponse, Codec, ending_in
from egress.authz.protocols.ext_authz import ExtAuthzCodec
from egress.authz.protocols.opa import OpaCodec
from egress.authz.protocols.request_json import joined
from egress.authz.protocols.validate import ValidateCodec
from egress.config.model import AuthzApi
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Obligations, Stage, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.policy.parse.load import parse_policy
from tests.authz.deciders import DECIDERS, PATHS

RULES = parse_policy(
    """
    version = 1
    default = "deny"

    [[rules]]
    id = "no-admin"
    action = "deny"
    reason = "nobody needs that here"
    paths = ["/admin/**"]

    [[rules]]
    id = "reads"
    action = "allow"
    hosts = ["*.example.com", "192.0.2.7"]
    methods = ["GET", "HEAD"]

    [[rules]]
    id = "api"
    action = "allow"
    hosts = ["api.example.com"]
    ports = [443, 8443]
    paths = ["/v1/*", "/"]

    [[rules]]
    id = "clear-text"
    action = "deny"
    reason = "only encrypted"
    schemes = ["http"]

    [[rules]]
    id = "database"
    action = "allow"
    hosts = ["db.example.org"]
    methods = ["CONNECT"]
    """,
    "parity.toml",
    "policy parity",
)

CODECS: dict[AuthzApi, type[Codec]] = {
    AuthzApi.POSTMAN: ValidateCodec,
    AuthzApi.AUTHZEN: AuthZenCodec,
    AuthzApi.OPA: OpaCodec,
    AuthzApi.EXT_AUTHZ: ExtAuthzCodec,
}

_SEGMENTS = st.sampled_from(
    ["v1", "users", "admin", "a%2Fb", "..", "%2e%2e", ";x", "a b".replace(" ", "%20"), "", "~", "\u00e4"]
)
_PATHS = st.lists(_SEGMENTS, max_size=3).map(lambda segments: "/" + "/".join(segments))
_QUERIES = st.sampled_from(["", "?", "?a=b", "?a=b&c=%20?", "?/admin/x"])
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"Accept", b"Cookie", b"X-Team", b"Authorization"]),
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=8).map(str.encode),
    ),
    max_size=4,
).map(tuple)
_CLIENTS = st.builds(
    ClientIdentity,
    st.sampled_from(["192.0.2.1", "2001:db8::1"]),
    st.just(0),
    st.sampled_from([None, "ci", "192.0.2.1"]),
)


@st.composite
def requests(draw: Any) -> DecisionRequest:
    origin = Origin(
        draw(st.sampled_from(["http", "https"])),
        Authority(
            draw(st.sampled_from(["api.example.com", "www.example.com", "192.0.2.7", "2001:db8::2", "db.example.org"])),
            draw(st.sampled_from([80, 443, 8443])),
        ),
    )
    common: dict[str, Any] = {"request_id": "id-1", "origin": origin, "client": draw(_CLIENTS)}
    common["addresses"] = draw(st.sampled_from([None, (ip_address("192.0.2.7"),)]))
    common["addresses_withheld"] = common["addresses"] is None and draw(st.booleans())
    if draw(st.integers(0, 9)) == 0:
        return DecisionRequest(stage=Stage.TUNNEL, method="CONNECT", path="", headers=(), **common)
    body = draw(st.none() | st.binary(min_size=1, max_size=9))
    withheld = body is None and draw(st.booleans())
    method = draw(st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND", "get"]))
    path = "*" if method == "OPTIONS" and draw(st.booleans()) else draw(_PATHS) + draw(_QUERIES)
    return DecisionRequest(
        stage=Stage.REQUEST,
        method=method,
        path=path,
        headers=draw(_HEADERS),
        body=body,
        body_withheld=withheld,
        content_length=len(body) if body is not None else 7 if withheld else 0,
        **common,
    )


def codec_of(api: AuthzApi) -> Codec:
    kind = CODECS[api]
    return kind("http://authz.test" + kind.endpoint_path(PATHS[api]), "who")


def through(api: AuthzApi, request: DecisionRequest, decide: Any) -> Decision:
    """Send a request to a server side, in encoded form."""
    codec = codec_of(api)
    encoded = codec.encode(request)
    fields = joined((*codec.fields, *encoded.fields))
    target = encoded.url.decode().removeprefix("http://authz.test")
    reply = DECIDERS[api](decide).answer(encoded.method.decode(), target, fields, encoded.content)
    return codec.decode(AuthzResponse(reply.status, reply.fields, reply.content), request)


class ParityTests(SynchronousTestCase):
    """The verdict and the rule are the same with every API."""

    @settings(max_examples=300, deadline=None)
    @given(requests())
    def test_rules(self, request: DecisionRequest) -> None:
        expected = RULES.decide(request)
        for api in AuthzApi:
            try:
                decision = through(api, request, RULES.decide)
            except AuthorizerUnavailable:
                # A check resembles the request, so it cannot express one without a path.
                self.assertIs(api, AuthzApi.EXT_AUTHZ)
                odd = request.stage is Stage.TUNNEL or request.path == "*"
                self.assertTrue(odd or ".." in request.path or "%2e%2e" in request.path or not request.path.isascii())
                continue
            self.assertEqual((decision.verdict, decision.rule_id), (expected.verdict, expected.rule_id))

    @settings(max_examples=100, deadline=None)
    @given(requests())
    def test_requests(self, request: DecisionRequest) -> None:
        """The service receives the same request that the proxy authorizes."""
        seen: list[DecisionRequest] = []

        def decide(rebuilt: DecisionRequest) -> Decision:
            seen.append(rebuilt)
            return RULES.decide(rebuilt)

        headers = tuple((name.encode(), value.encode()) for name, value in joined(request.headers).items())
        for api in (AuthzApi.POSTMAN, AuthzApi.AUTHZEN, AuthzApi.OPA):
            through(api, request, decide)
            self.assertEqual(seen.pop(), attrs.evolve(request, headers=headers))

    def test_responses(self) -> None:
        """All members of a response."""
        request = DecisionRequest(
            "id-1",
            Stage.REQUEST,
            "PUT",
            Origin("https", Authority("api.example.com", 443)),
            "/v1/x",
            (),
            ClientIdentity("192.0.2.1", 0),
            body_withheld=True,
            addresses_withheld=True,
        )
        terms = Obligations(((b"x-key", b"plain"),), (b"cookie",), 1000, 60.0, ((b"x-token", b"${secret:KEY}"),))
        for decision in (
            Decision(Verdict.ALLOW, "why", "who", "r", 5.0, 60.0, ("path", "header:x-a"), terms),
            Decision(Verdict.DENY, "why", "who", "r", 5.0),
            Decision(Verdict.ASK, "why", "who", "r", obligations=terms),
            Decision(Verdict.NEED_BODY, "why", "who"),
            Decision(Verdict.NEED_ADDRESSES, "why", "who"),
        ):
            for api in (AuthzApi.POSTMAN, AuthzApi.AUTHZEN, AuthzApi.OPA):
                with self.subTest(api, decision=decision):
                    found = through(api, request, lambda _, decision=decision: decision)
                    self.assertEqual(found.reason.removesuffix(" (OPA decision 4ca636c1)"), "why")
                    self.assertEqual(attrs.evolve(found, reason="why"), decision)

    def test_reasons_in_checks(self) -> None:
        request = DecisionRequest(
            "id-1",
            Stage.REQUEST,
            "GET",
            Origin("https", Authority("api.example.com", 443)),
            "/admin/x",
            (),
            ClientIdentity("192.0.2.1", 0),
        )
        self.assertEqual(through(AuthzApi.EXT_AUTHZ, request, RULES.decide).reason, "nobody needs that here")


class PathTests(SynchronousTestCase):
    """The suffix of the path of an API."""

    def test_suffix(self) -> None:
        for path, expected in (("", "/x"), ("/", "/x"), ("/a/", "/a/x"), ("/a/x/", "/a/x"), ("/ax", "/ax/x")):
            with self.subTest(path):
                self.assertEqual(ending_in(path, "/x"), expected)
