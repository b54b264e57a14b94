"""Tests for L{egress.authz.remote.issuer_client}."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.remote.agent import MAX_BODY
from egress.authz.remote.issuer_client import IssuerClient, IssuerFault
from egress.config.model import Limits
from egress.model.authority import Authority
from egress.model.jwt_issuer import JwtIssuer
from egress.testing.origin import MemoryOrigin, OriginRequest, OriginResponse
from egress.testing.origin_ca import OriginCa
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.reactor import IEgressReactor
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolved_endpoint import ResolvedEndpoint
from egress.upstream.resolver import Resolver
from tests.client_auth.jwt_issuer import ISSUER, key_set
from tests.files import make_directory

METADATA = "/.well-known/openid-configuration"


class IssuerClientTests(SynchronousTestCase):
    """Downloads from servers in memory, over TLS.

    @ivar responses: the content at each host and path.
    """

    def setUp(self) -> None:
        self.reactor = MemoryReactor(FixedResolver({"issuer.test": ["11.0.0.1"], "keys.test": ["11.0.0.2"]}))
        self.ca = OriginCa()
        self.directory = make_directory(self)
        self.pem = self.ca.write(self.directory / "ca.pem")
        self.responses: dict[str, Any] = {
            METADATA: {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"},
            "/keys": key_set(),
        }
        self.origins = {}
        for host, address in (("issuer.test", "11.0.0.1"), ("keys.test", "11.0.0.2")):
            origin = self.origins[host] = MemoryOrigin(self.respond)
            context = self.ca.context(Authority(host, 443))
            self.reactor.listen(address, 443, partial(origin.accept, tls=context))

    def respond(self, request: OriginRequest) -> OriginResponse:
        found = self.responses.get(request.target)
        if found is None:
            return OriginResponse(b"not found", 404)
        if isinstance(found, OriginResponse):
            return found
        return OriginResponse(found if isinstance(found, bytes) else json.dumps(found).encode())

    def fetch(self, *, trusting: bool = True, **settings: Any) -> Deferred[bytes]:
        """Download the keys."""
        reactor = cast(IEgressReactor, self.reactor)
        resolver = Resolver(reactor, ReactorLookups(reactor), Limits())
        client = IssuerClient(
            reactor,
            JwtIssuer(ISSUER, **settings),
            ReloadableTrust(OriginTrust(self.pem if trusting else None)),
            lambda authority: ResolvedEndpoint(reactor, resolver, authority, 8.0),
        )
        found = client.fetch()
        self.reactor.pass_time(0.5)
        return found

    def fault(self, **settings: Any) -> str:
        reason: str = self.failureResultOf(self.fetch(**settings), IssuerFault).value.reason
        return reason

    def requests(self, host: str = "issuer.test") -> list[tuple[str, str | None]]:
        """Return the paths and the tokens of the requests to a host."""
        return [(each.target, each.field("authorization")) for each in self.origins[host].requests]

    def token(self, text: str = "t0ken\n") -> Path:
        path = self.directory / "token"
        path.write_text(text)
        return path

    def test_discovery(self) -> None:
        self.assertEqual(self.successResultOf(self.fetch()), key_set())
        self.assertEqual(self.requests(), [(METADATA, None), ("/keys", None)])
        request = self.origins["issuer.test"].requests[0]
        self.assertEqual((request.method, request.field("host"), request.is_tls), ("GET", "issuer.test", True))
        self.assertIn("egressproxy/", request.field("user-agent") or "")

    def test_url_of_keys(self) -> None:
        """The operator can name the URL of the keys."""
        self.responses["/k?v=1"] = key_set()
        found = self.fetch(jwks="https://keys.test/k?v=1", token_file=self.token())
        self.assertEqual(self.successResultOf(found), key_set())
        self.assertEqual((self.requests(), self.requests("keys.test")), ([], [("/k?v=1", "Bearer t0ken")]))

    def test_token(self) -> None:
        """The file is read again, because tokens expire."""
        path = self.token()
        self.successResultOf(self.fetch(token_file=path))
        self.token("0ther")
        self.successResultOf(self.fetch(token_file=path))
        expected = [(METADATA, "Bearer t0ken"), ("/keys", "Bearer t0ken"), (METADATA, "Bearer 0ther")]
        self.assertEqual(self.requests()[:3], expected)

    def test_token_for_another_origin(self) -> None:
        """The metadata cannot direct the token to another server."""
        self.responses[METADATA] = {"issuer": ISSUER, "jwks_uri": "https://keys.test/keys"}
        self.successResultOf(self.fetch(token_file=self.token()))
        self.assertEqual(self.requests(), [(METADATA, "Bearer t0ken")])
        self.assertEqual(self.requests("keys.test"), [("/keys", None)])

    def test_invalid_token_file(self) -> None:
        for text in ("", "two words", "\u00e9"):
            self.assertIn("does not contain only a token", self.fault(token_file=self.token(text)))
        self.assertIn("cannot be read", self.fault(token_file=self.directory / "absent"))
        self.assertEqual(self.requests(), [])

    def test_metadata(self) -> None:
        for metadata, reason in (
            (b"x", "its metadata cannot be parsed"),
            (b"[]", "its metadata cannot be parsed"),
            (b'{"issuer": "a", "issuer": "b"}', "its metadata cannot be parsed"),
            ({}, "its metadata is for another issuer"),
            ({"issuer": f"{ISSUER}/", "jwks_uri": f"{ISSUER}/keys"}, "its metadata is for another issuer"),
            ({"issuer": ISSUER}, "names no https:// URL"),
            ({"issuer": ISSUER, "jwks_uri": 7}, "names no https:// URL"),
            ({"issuer": ISSUER, "jwks_uri": "http://issuer.test/keys"}, "names no https:// URL"),
            ({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}, "names no https:// URL"),
            ({"issuer": ISSUER, "jwks_uri": "https://issuer.test/a b\r\nX: y"}, "names no https:// URL"),
        ):
            with self.subTest(metadata):
                self.responses[METADATA] = metadata
                self.assertIn(reason, self.fault())
        self.assertNotIn("/keys", [path for path, _ in self.requests()])

    def test_status(self) -> None:
        """Redirects are not followed, and a token is not sent to where they point."""
        redirect = OriginResponse(b"", 302, ((b"Location", b"https://keys.test/keys"),))
        for response, status in ((redirect, 302), (OriginResponse(b"{}", 401), 401), (OriginResponse(b"", 204), 204)):
            self.responses["/keys"] = response
            self.assertEqual(self.fault(), f"issuer.test:443: its response has status {status}")
        self.assertEqual(self.requests("keys.test"), [])

    def test_size(self) -> None:
        self.responses["/keys"] = b" " * (MAX_BODY + 1)
        self.assertIn(f"over {MAX_BODY} bytes", self.fault())

    def test_untrusted(self) -> None:
        self.assertIn("issuer.test:443: TLS error:", self.fault(trusting=False))
        self.assertEqual(self.requests(), [])

    def test_unreachable(self) -> None:
        self.assertIn("the connection was refused", self.fault(jwks="https://keys.test:444/"))
        self.assertIn("does not resolve", self.fault(jwks="https://absent.test/"))

    def test_cancel(self) -> None:
        self.origins["issuer.test"].respond = lambda request: Deferred()
        found = self.fetch()
        found.cancel()
        self.failureResultOf(found)
