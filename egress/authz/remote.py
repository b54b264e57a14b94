"""An authorization service, asked by the C{/validate} contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from OpenSSL import SSL
from treq import content
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from egress.authz.agent import AnswerMalformed, AnswerTooLarge, KeepAliveAgent, TooManyQuestions
from egress.authz.contract import decode_answer, encode_question, validate_url
from egress.config import ConfigError, ProxyConfig
from egress.interfaces import IAuthorizer, IEgressReactor
from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable, EgressError
from egress.model.outage import Outage

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer, IProtocol, IProtocolFactory

    from egress.ca.current import CurrentTrust

CreateEndpoint = Callable[[Authority], "IStreamClientEndpoint | None"]

_JSON: Final = "application/json"
# RFC 3986 section 3.3, and what is percent-encoded already.
_IN_PATHS: Final = "/%:@!$&'()*+,;=-._~"


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


class _TlsFactory(TLSMemoryBIOFactory):
    """Writes to OpenSSL at once: a question is one write, and a second buffer would cost a turn of the reactor."""

    noisy = False
    protocol = TLSMemoryBIOProtocol


@implementer(IStreamClientEndpoint)
class _TlsEndpoint:
    """TLS over another endpoint; C{wrapClientTLS} of older versions of Twisted takes the global reactor's clock."""

    def __init__(self, clock: IReactorTime, tls: IOpenSSLClientConnectionCreator, below: IStreamClientEndpoint) -> None:
        self._clock = clock
        self._tls = tls
        self._below = below

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See L{IStreamClientEndpoint.connect}; the handshake is not over when it fires."""
        factory = _TlsFactory(self._tls, True, protocolFactory, clock=self._clock)
        connecting: Deferred[Any] = self._below.connect(factory)
        return connecting.addCallback(lambda layer: layer.wrappedProtocol)


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
        self._url = url.encode("ascii")
        self._agent = agent
        self._timeout = timeout
        self._explain_tls = explain_tls
        self._headers = Headers({"Content-Type": [_JSON], "Accept": [_JSON]})
        if token is not None:
            self._headers.setRawHeaders("Authorization", [f"Bearer {token}"])

    def retries(self) -> int:
        """Tell how many questions were sent once more."""
        return self._agent.retries

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        try:
            question = encode_question(request)
        except AuthorizerUnavailable as error:
            return fail(error)
        asked = self._agent.request(b"POST", self._url, self._headers, _Content(question))
        answered: Deferred[Decision] = asked.addCallback(self._answered)
        answered.addTimeout(self._timeout, self._clock)
        return answered.addErrback(self._unavailable)

    def _answered(self, response: IResponse) -> Deferred[Decision]:
        return content(response).addCallback(lambda body: decode_answer(response.code, body, self.name))

    def _unavailable(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, (AuthorizerUnavailable, CancelledError)):
            return failure
        raise AuthorizerUnavailable(f"the authorization service {self._describe(failure)}", _kind(error)) from error

    def _describe(self, failure: Failure) -> str:
        error = failure.value
        if isinstance(error, DeadlinePassed):
            return f"did not answer within {self._timeout:g} s"
        if isinstance(error, ConnectTimeout):
            return f"did not take the connection within {self._timeout:g} s"
        if isinstance(error, ConnectRefused):
            return "refused the connection"
        if isinstance(error, DNSLookupError):
            return "has a name that does not resolve"
        # A plain end comes here from a handshake alone; on an answer the agent has words of its own.
        if isinstance(error, (SSL.Error, ConnectionClosed)) and self._explain_tls is not None:
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


def _kind(error: object) -> Outage:
    if isinstance(error, DeadlinePassed):
        return Outage.TIMEOUT
    if isinstance(error, (AnswerTooLarge, AnswerMalformed)):
        return Outage.ANSWER
    return Outage.OVERLOAD if isinstance(error, TooManyQuestions) else Outage.CONNECTION


def remote_authorizer(
    reactor: IEgressReactor, config: ProxyConfig, trust: CurrentTrust, behind_upstream: CreateEndpoint
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
        netloc, slash, path = rest.partition("/")
        authority = Authority.parse(netloc, DEFAULT_PORTS[scheme])
    except (ValueError, EgressError) as error:
        raise ConfigError("--authz-url", config.authz_url, str(error)) from error
    url = f"{Origin(scheme, authority)}{slash}{quote(path, _IN_PATHS)}"
    endpoint = behind_upstream(authority) if config.authz_via_upstream else None
    if endpoint is None:
        if "_" in authority.host:
            # Twisted's endpoint takes no such name, and would say so at the first question only.
            raise ConfigError("--authz-url", config.authz_url, "give a host name without an underscore, or an address")
        endpoint = HostnameEndpoint(reactor, authority.host, authority.port, timeout=config.authz_timeout)
    explain: Callable[[Failure], EgressError] | None = None
    if scheme == "https":
        tls = trust.connection_creator(authority)
        endpoint = _TlsEndpoint(reactor, tls, endpoint)
        explain = tls.explain
    agent = KeepAliveAgent(reactor, endpoint, scheme == "https", config.authz_max_concurrency)
    return RemoteAuthorizer(reactor, url, agent, config.authz_timeout, config.authz_token, explain)
