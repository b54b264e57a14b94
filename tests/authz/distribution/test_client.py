"""Tests for L{egress.authz.distribution.client}."""

from __future__ import annotations

from functools import partial
from typing import cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.distribution.client import TIMEOUT, Download, PolicyClient
from egress.authz.distribution.store import MAX_POLICY
from egress.config.model import Limits
from egress.model.authority import Authority
from egress.model.policy_url import PolicyUrl
from egress.testing.origin import MemoryOrigin, OriginRequest, OriginResponse
from egress.testing.origin_ca import OriginCa
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver
from egress.testing.transport import MemoryTransport
from egress.tls.origin_trust import OriginTrust
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.reactor import IEgressReactor
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from tests.files import make_directory

ADDRESS = "11.0.0.9"
POLICY = b"version = 1\n"


class SilentEnd:
    """A server that accepts a connection, and does nothing else."""

    def __init__(self, transport: MemoryTransport) -> None:
        pass

    def step(self) -> bool:
        """Do nothing."""
        return False


class PolicyServerTestCase(SynchronousTestCase):
    """Base: a server of policies in memory, and its client."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor(FixedResolver({"policies.test": [ADDRESS]}))
        self.response = OriginResponse(status=200, headers=((b"ETag", b'"1"'),), body=POLICY)
        self.server = MemoryOrigin(self.respond)
        self.ca = OriginCa()
        self.pem = self.ca.write(make_directory(self) / "ca.pem")
        self.listen("policies.test")

    def respond(self, request: OriginRequest) -> OriginResponse:
        """Respond to a request."""
        if request.field("if-none-match") == '"1"' and self.response.status == 200:
            return OriginResponse(status=304)
        return self.response

    def listen(self, name: str) -> None:
        """Listen with the certificate of a name."""
        context = self.ca.context(Authority(name, 443))
        self.reactor.listen(ADDRESS, 443, partial(self.server.accept, tls=context))

    def resolver(self) -> Resolver:
        """Return a resolver that uses the reactor."""
        reactor = cast(IEgressReactor, self.reactor)
        return Resolver(reactor, ReactorLookups(reactor), Limits())

    def client(self, url: str = "https://policies.test/policy.toml?ref=main") -> PolicyClient:
        """Make the client for a URL."""
        trust = ReloadableTrust(OriginTrust(self.pem))
        client = PolicyClient(cast(IEgressReactor, self.reactor), PolicyUrl.parse(url), trust, self.resolver())
        self.addCleanup(client.close)
        return client


class PolicyClientTests(PolicyServerTestCase):
    """One download."""

    def fetch(
        self, client: PolicyClient, etag: str | None = None, token: str | None = None, seconds: float = 0.5
    ) -> Deferred[Download | None]:
        """Download the policy."""
        fetched = client.fetch(etag, token)
        self.reactor.pass_time(seconds)
        return fetched

    def failed(self, client: PolicyClient, seconds: float = 0.5) -> str:
        """Return the description of a failed download."""
        return client.describe(self.failureResultOf(self.fetch(client, '"0"', seconds=seconds)))

    def test_download(self) -> None:
        found = self.successResultOf(self.fetch(self.client(), token="secret"))
        self.assertEqual(found, Download(POLICY, '"1"'))
        (request,) = self.server.requests
        self.assertTrue(request.is_tls)
        self.assertEqual((request.method, request.target), ("GET", "/policy.toml?ref=main"))
        self.assertEqual((request.field("host"), request.field("authorization")), ("policies.test", "Bearer secret"))
        self.assertIsNone(request.field("if-none-match"))

    def test_not_modified(self) -> None:
        client = self.client()
        self.assertIsNone(self.successResultOf(self.fetch(client, '"1"')))
        self.assertIsNone(self.server.requests[0].field("authorization"))
        self.assertIsNone(self.successResultOf(self.fetch(client, '"1"')))
        self.assertEqual(self.server.connections, 1)

    def test_plain_http_on_loopback(self) -> None:
        self.reactor.listen("127.0.0.1", 8000, self.server.accept)
        client = self.client("http://127.0.0.1:8000/p")
        self.assertEqual(self.successResultOf(self.fetch(client)), Download(POLICY, '"1"'))

    def test_unusable_tags(self) -> None:
        for headers in ((), ((b"ETag", b'"' + b"x" * 2000 + b'"'),), ((b"ETag", b'"\xe4"'),), ((b"ETag", b"1"),)):
            with self.subTest(headers):
                self.response = OriginResponse(status=200, headers=headers, body=POLICY)
                self.assertEqual(self.successResultOf(self.fetch(self.client())), Download(POLICY, None))

    def test_statuses(self) -> None:
        for status, words in (
            (404, "the status is 404"),
            (204, "the status is 204"),
            (206, "the status is 206"),
            (302, "the status is 302: redirects are not followed"),
        ):
            with self.subTest(status):
                headers = ((b"Location", b"https://policies.test/other"),)
                self.response = OriginResponse(status=status, headers=headers)
                before = len(self.server.requests)
                self.assertEqual(self.failed(self.client()), words)
                self.assertEqual(len(self.server.requests), before + 1)

    def test_not_modified_without_a_tag(self) -> None:
        self.response = OriginResponse(status=304)
        client = self.client()
        failure = self.failureResultOf(self.fetch(client))
        self.assertEqual(client.describe(failure), "the status is 304")

    def test_large_policies(self) -> None:
        self.response = OriginResponse(status=200, body=b"#" * 300_000)
        found = self.successResultOf(self.fetch(self.client()))
        assert found is not None
        self.assertEqual(len(found.content), 300_000)

    def test_too_large(self) -> None:
        self.response = OriginResponse(status=200, body=b"#" * (MAX_POLICY + 1))
        self.assertEqual(self.failed(self.client()), f"the response is over {MAX_POLICY} bytes")

    def test_compressed(self) -> None:
        """A small response must not become a large policy."""
        self.response = OriginResponse(status=200, headers=((b"Content-Encoding", b"gzip"),), body=b"x")
        self.assertEqual(self.failed(self.client()), "the response is compressed")

    def test_no_response(self) -> None:
        self.reactor.listen(ADDRESS, 443, SilentEnd)
        self.assertIn(f"within {TIMEOUT:g} s", self.failed(self.client(), seconds=TIMEOUT + 1))

    def test_another_certificate(self) -> None:
        self.listen("other.test")
        self.assertIn("TLS error: ", self.failed(self.client()))
        self.assertEqual(self.server.requests, [])

    def test_cookies_are_not_sent(self) -> None:
        self.response = OriginResponse(status=200, headers=((b"Set-Cookie", b"a=b; Path=/"),), body=POLICY)
        client = self.client()
        for _ in range(2):
            self.successResultOf(self.fetch(client))
        self.assertIsNone(self.server.requests[1].field("cookie"))
