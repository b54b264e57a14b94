"""The HTTP client for one policy URL: downloads it if it changed, by treq over the agent of the project."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred

from egress import __version__
from egress.authz.distribution.store import MAX_POLICY
from egress.authz.remote.treq_client import TreqClient
from egress.model.errors import EgressError
from egress.model.policy_url import PolicyUrl
from egress.transport.reactor import IEgressReactor
from egress.upstream.resolved_endpoint import ResolvedEndpoint

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from egress.tls.reloadable_trust import ReloadableTrust
    from egress.upstream.resolver import Resolver

# Seconds for one download, from connecting to the last byte of the response.
TIMEOUT: Final = 30.0
# RFC 9110 section 8.8.3, with a limit, and in ASCII.
_TAG: Final = re.compile(rb'(?:W/)?"[!#-~]{0,1024}"')


class NotDownloaded(EgressError):
    """The server responded, but not with the policy."""


@attrs.frozen
class Download:
    """A policy, as the server sent it.

    @ivar content: its content.
    @ivar etag: its entity tag, if it has one.
    """

    content: bytes = attrs.field(repr=False)
    etag: str | None


class PolicyClient:
    """Downloads a policy.

    The operator chooses the URL: the address guard does not apply to it.  Redirects are not followed.

    @param reactor: provides TCP and time.
    @param url: the URL.
    @param trust: the trust for an C{https} URL.
    @param resolver: resolves the name of the server.
    """

    def __init__(self, reactor: IEgressReactor, url: PolicyUrl, trust: ReloadableTrust, resolver: Resolver) -> None:
        endpoint = ResolvedEndpoint(reactor, resolver, url.origin.authority, TIMEOUT)
        self._client = TreqClient(reactor, endpoint, url.origin, trust, timeout=TIMEOUT, max_body=MAX_POLICY)
        self._reactor = reactor
        self._url = url

    def fetch(self, etag: str | None, token: str | None) -> Deferred[Download | None]:
        """Download the policy, if it changed.

        @param etag: the entity tag of the known policy; C{None}: there is no known policy.
        @param token: the bearer token for the server.
        @return: fires with C{None} if the policy has not changed.  It fails if there is no policy in time.
        """
        headers: dict[bytes | str, bytes | str] = {
            "Accept": "application/toml, application/json, text/plain, */*;q=0.1",
            "User-Agent": f"egressproxy/{__version__}",
        }
        if etag is not None:
            headers["If-None-Match"] = etag
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        fetched: Deferred[Any] = self._client.http.get(
            self._url.url, headers=headers, allow_redirects=False, unbuffered=True
        )
        fetched.addCallback(self._received, etag)
        return fetched.addTimeout(TIMEOUT, self._reactor)

    def _received(self, response: Any, etag: str | None) -> Any:
        code = response.code
        if code == 304 and etag is not None:
            return None
        if code != 200:
            # The server of a redirect is not the one that the operator chose.
            more = ": redirects are not followed" if code in (301, 302, 303, 307, 308) else ""
            raise NotDownloaded(f"the status is {code}{more}")
        tag: bytes = response.headers.getRawHeaders(b"etag", [b""])[0]
        content: Deferred[bytes] = response.content()
        return content.addCallback(Download, tag.decode("ascii") if _TAG.fullmatch(tag) else None)

    def describe(self, failure: Failure) -> str:
        """Describe why there is no policy, without the URL."""
        return self._client.describe(failure)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
