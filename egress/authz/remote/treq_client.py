"""An HTTP client for one server that the operator has chosen: treq over the agent of the project."""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred

from egress.authz.remote.agent import MAX_BODY, KeepAliveAgent
from egress.authz.remote.connection_failure import describe_failure
from egress.transport.reactor import IEgressReactor
from egress.transport.tls_endpoint import TlsEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.python.failure import Failure

    from egress.model.authority import Origin
    from egress.model.errors import EgressError
    from egress.tls.reloadable_trust import ReloadableTrust


class TreqClient:
    """A client with one connection.

    @param reactor: provides TCP and time.
    @param endpoint: connects to the server, or to an upstream proxy in front of it, without TLS.
    @param origin: the server.
    @param trust: the trust store for C{https}.
    @param timeout: the seconds of one call, for descriptions.
    @param max_body: the maximum size of a response.
    @ivar http: makes the calls.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        endpoint: IStreamClientEndpoint,
        origin: Origin,
        trust: ReloadableTrust,
        *,
        timeout: float,
        max_body: int = MAX_BODY,
    ) -> None:
        self._timeout = timeout
        self._explain_tls: Callable[[Failure], EgressError] | None = None
        is_encrypted = origin.scheme == "https"
        if is_encrypted:
            tls = trust.connection_creator(origin.authority)
            endpoint = TlsEndpoint(reactor, tls, endpoint)
            self._explain_tls = tls.explain
        self._agent = KeepAliveAgent(reactor, endpoint, is_encrypted, 1, max_body)
        # A server must not be able to make the proxy store anything but the content.
        # Later versions of treq name a subclass as the type, which version 24.9 does not have.
        no_cookies: Any = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self.http = HTTPClient(self._agent, no_cookies)

    def probe(self) -> Deferred[None]:
        """Check whether the server can be connected to; see L{KeepAliveAgent.probe}."""
        return self._agent.probe()

    def describe(self, failure: Failure) -> str:
        """Describe why a call has no response, without the URL."""
        return describe_failure(failure, self._timeout, self._explain_tls)

    def close(self) -> None:
        """Close the connection."""
        self._agent.close()
