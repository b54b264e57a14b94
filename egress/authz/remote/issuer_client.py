"""The download of the keys of an issuer of tokens (OpenID Connect Discovery 1.0), over verified TLS."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Protocol
from twisted.web.http_headers import Headers

from egress import __version__
from egress.authz.remote.agent import KeepAliveAgent
from egress.authz.remote.connection_failure import describe_failure
from egress.client_auth.jwt_keys import InvalidObject, parse_object
from egress.client_auth.key_source import FETCH_SECONDS
from egress.config.token_files import read_token
from egress.model.authority import Authority
from egress.model.converters import BadValue
from egress.model.errors import ClientAuthUnavailable
from egress.model.jwt_issuer import JwtIssuer, https_origin
from egress.tls.reloadable_trust import ReloadableTrust
from egress.transport.tls_endpoint import TlsEndpoint

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.python.failure import Failure
    from twisted.web.iweb import IResponse

    from egress.transport.reactor import IEgressReactor

Connect = Callable[[Authority], "IStreamClientEndpoint"]
"""Creates an endpoint for TCP connections to an authority."""


class IssuerFault(ClientAuthUnavailable):
    """The keys could not be downloaded."""


class _Body(Protocol):
    """Collects the content of a response."""

    def __init__(self) -> None:
        self.content = b""

    def dataReceived(self, data: bytes) -> None:
        self.content += data


class IssuerClient:
    """Downloads the keys of one issuer.

    The operator chooses the issuer: the address guard does not apply to it.  It is contacted directly, and redirects
    are not followed.  A bearer token is read again for each download.  It is sent only to the origin that the operator
    names, not to another origin in the metadata of the issuer.

    @param reactor: provides TCP and time.
    @param settings: the issuer.
    @param trust: the trusted CAs.
    @param connect: creates an endpoint for TCP connections to an authority.
    """

    def __init__(self, reactor: IEgressReactor, settings: JwtIssuer, trust: ReloadableTrust, connect: Connect) -> None:
        self._reactor = reactor
        self._settings = settings
        self._trust = trust
        self._connect = connect

    @inlineCallbacks
    def fetch(self) -> Generator[Deferred[bytes], bytes, bytes]:
        """Download the key set (L{egress.client_auth.key_source.FetchKeys})."""
        settings = self._settings
        assert not isinstance(settings.jwks, Path)
        token = None if settings.token_file is None else _read_token(settings.token_file)
        url = settings.jwks
        if url is None:
            metadata = yield self._get(settings.discovery, token)
            url = _keys_url(metadata, settings)
            if https_origin(url) != https_origin(settings.issuer):
                token = None
        return (yield self._get(url, token))

    def _get(self, url: str, token: str | None) -> Deferred[bytes]:
        authority = https_origin(url).authority
        tls = self._trust.connection_creator(authority)
        endpoint = TlsEndpoint(self._reactor, tls, self._connect(authority))
        agent = KeepAliveAgent(self._reactor, endpoint, True, 1)
        headers = Headers({b"Accept": [b"application/json"], b"User-Agent": [b"egressproxy/" + __version__.encode()]})
        if token is not None:
            headers.addRawHeader(b"Authorization", b"Bearer " + token.encode("ascii"))

        def over(result: Any) -> Any:
            agent.close()
            return result

        def failed(failure: Failure) -> bytes:
            why = describe_failure(failure, FETCH_SECONDS, tls.explain)
            raise IssuerFault(f"{authority}: {why}") from failure.value

        def received(response: IResponse) -> bytes:
            if response.code != 200:
                raise IssuerFault(f"{authority}: its response has status {response.code}")
            body = _Body()
            response.deliverBody(body)  # type: ignore[no-untyped-call]
            return body.content

        return agent.request(b"GET", url.encode("ascii"), headers).addBoth(over).addCallbacks(received, failed)


def _read_token(path: Path) -> str:
    try:
        return read_token(path)
    except OSError as error:
        raise IssuerFault(f"token-file cannot be read: {error.strerror}") from error
    except BadValue as error:
        raise IssuerFault("token-file does not contain only a token") from error


def _keys_url(metadata: bytes, settings: JwtIssuer) -> str:
    try:
        members = parse_object(metadata)
        if members.get("issuer") != settings.issuer:
            raise IssuerFault("its metadata is for another issuer")
        url = members.get("jwks_uri")
        https_origin(url if isinstance(url, str) else "")
    except InvalidObject as error:
        raise IssuerFault("its metadata cannot be parsed") from error
    except BadValue as error:
        raise IssuerFault("its metadata names no https:// URL of its keys (jwks_uri)") from error
    return str(url)
