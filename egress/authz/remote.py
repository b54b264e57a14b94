"""An authorization service, asked by the C{/validate} contract."""

from __future__ import annotations

from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from egress.authz.agent import MAX_BODY, AnswerTooLarge, KeepAliveAgent
from egress.authz.contract import decode_answer, encode_question, validate_url
from egress.config import ConfigError, ProxyConfig
from egress.interfaces import IAuthorizer, IEgressReactor
from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable, EgressError

if TYPE_CHECKING:
    from treq.response import _Response
    from twisted.internet.interfaces import IConsumer

    from egress.ca.trust import OriginTrust

CreateEndpoint = Callable[[Authority], "IStreamClientEndpoint | None"]

_JSON: Final[dict[bytes | str, bytes | str]] = {"Content-Type": "application/json", "Accept": "application/json"}


@implementer(IBodyProducer)
class _Content:
    """Content that is in memory."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Give all of it."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is over already."""

    def resumeProducing(self) -> None:
        """It is over already."""

    def stopProducing(self) -> None:
        """It is over already."""


class _NoCookies(DefaultCookiePolicy):
    """Nothing is remembered from one question to the next."""

    def __init__(self) -> None:
        super().__init__(allowed_domains=[])


class _Collected:
    """The content of an answer, up to the size that is read; a compressed one may grow."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take a piece."""
        self._size += len(data)
        if self._size <= MAX_BODY:
            self._pieces.append(data)

    def content(self) -> bytes:
        """All of it.

        @raise AnswerTooLarge: when it was over the size.
        """
        if self._size > MAX_BODY:
            raise AnswerTooLarge(f"the answer is over {MAX_BODY} bytes")
        return b"".join(self._pieces)


@implementer(IAuthorizer)
class RemoteAuthorizer:
    """Asks an authorization service.

    @param url: where to ask, C{/validate} included.
    @param agent: connects to that URL's authority.
    @param timeout: seconds for the whole of one call, from connecting to the last byte of the answer.
    @param token: a bearer token for the call.
    @param explain_tls: puts a failed TLS handshake with the service into words.
    """

    needs_body = True

    def __init__(
        self,
        clock: IEgressReactor,
        url: str,
        agent: KeepAliveAgent,
        timeout: float,
        token: str | None = None,
        explain_tls: Callable[[Failure], EgressError] | None = None,
    ) -> None:
        self.name = f"the authorization service {url}"
        self._clock = clock
        self._url = url
        self._agent = agent
        self._timeout = timeout
        self._explain_tls = explain_tls
        self._headers: dict[bytes | str, bytes | str] = dict(_JSON)
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._client = HTTPClient(agent, CookieJar(_NoCookies()), _Content)  # type: ignore[arg-type]

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        asked = self._client.post(
            self._url, data=encode_question(request), headers=self._headers, allow_redirects=False, unbuffered=True
        )
        answered: Deferred[Decision] = asked.addCallback(self._answered)
        answered.addTimeout(self._timeout, self._clock)
        return answered.addErrback(self._unavailable)

    def _answered(self, response: _Response) -> Deferred[Decision]:
        collected = _Collected()

        def complete(_: object) -> Decision:
            return decode_answer(response.code, collected.content(), self.name)

        return response.collect(collected.add).addCallback(complete)

    def _unavailable(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, (AuthorizerUnavailable, CancelledError)):
            return failure
        raise AuthorizerUnavailable(f"the authorization service {self._describe(failure)}") from error

    def _describe(self, failure: Failure) -> str:
        error = failure.value
        if isinstance(error, DeadlinePassed):
            return f"did not answer within {self._timeout:g} s"
        if isinstance(error, ConnectRefused):
            return "refused the connection"
        if isinstance(error, DNSLookupError):
            return "has a name that does not resolve"
        if isinstance(error, SSL.Error) and self._explain_tls is not None:
            return f"has a TLS fault: {self._explain_tls(failure).reason}"
        if isinstance(error, ConnectionClosed):
            return "closed the connection before its answer was complete"
        if isinstance(error, ConnectError):
            return f"cannot be connected to: {error}"
        if isinstance(error, EgressError):
            return f"failed: {error.reason}"
        return f"failed: {type(error).__name__}"

    def check_ready(self) -> Deferred[None]:
        """Find out whether the service can be connected to, without asking anything."""
        reached = self._agent.reach()
        reached.addTimeout(self._timeout, self._clock)
        return reached.addErrback(self._unavailable)

    def close(self) -> Deferred[None]:
        """Close idle connections."""
        self._agent.close()
        return succeed(None)


def remote_authorizer(
    reactor: IEgressReactor, config: ProxyConfig, trust: OriginTrust, behind_upstream: CreateEndpoint
) -> RemoteAuthorizer:
    """Make the authorizer that C{config.authz_url} names.

    The service is the operator's choice: the address guard does not stand before it, and it is contacted directly
    unless C{config.authz_via_upstream}.

    @param trust: for an C{https} service.
    @param behind_upstream: gives the endpoint through the upstream proxy, or C{None} when none leads there.
    @raise ConfigError: when the URL cannot be used.
    """
    assert config.authz_url is not None
    try:
        url = validate_url(config.authz_url)
        scheme, _, rest = url.partition("://")
        authority = Authority.parse(rest.partition("/")[0], DEFAULT_PORTS[scheme])
    except (ValueError, EgressError) as error:
        raise ConfigError("--authz-url", config.authz_url, str(error)) from error
    endpoint = behind_upstream(authority) if config.authz_via_upstream else None
    if endpoint is None:
        endpoint = HostnameEndpoint(reactor, authority.host, authority.port, timeout=config.authz_timeout)
    explain: Callable[[Failure], EgressError] | None = None
    if scheme == "https":
        tls = trust.connection_creator(authority)
        endpoint = wrapClientTLS(tls, endpoint)
        explain = tls.explain
    agent = KeepAliveAgent(endpoint)
    return RemoteAuthorizer(reactor, url, agent, config.authz_timeout, config.authz_token, explain)
