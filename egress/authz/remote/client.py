"""The client of an authorization service, for each supported API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import attrs
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure

from egress.authz.protocols.authzen import AuthZenCodec
from egress.authz.protocols.base import Codec
from egress.authz.protocols.ext_authz import ExtAuthzCodec
from egress.authz.protocols.opa import OpaCodec
from egress.authz.protocols.response_json import settable
from egress.authz.protocols.validate import ValidateCodec
from egress.authz.remote.agent import KeepAliveAgent
from egress.authz.remote.authorizer import RemoteAuthorizer
from egress.config.model import AuthzApi, AuthzBody, ConfigError, ProxyConfig
from egress.model.authority import DEFAULT_PORTS, Authority, Origin, UpstreamProxy
from egress.model.errors import EgressError
from egress.transport.reactor import IEgressReactor
from egress.transport.tls_endpoint import TlsEndpoint

if TYPE_CHECKING:
    from egress.tls.reloadable_trust import ReloadableTrust

CreateEndpoint = Callable[[UpstreamProxy, Authority], IStreamClientEndpoint]

# The codec of each API.
CODECS: Final[dict[AuthzApi, type[Codec]]] = {
    AuthzApi.POSTMAN: ValidateCodec,
    AuthzApi.AUTHZEN: AuthZenCodec,
    AuthzApi.OPA: OpaCodec,
    AuthzApi.EXT_AUTHZ: ExtAuthzCodec,
}
# RFC 3986 section 3.3, and text that is already percent-encoded.
_WIRE_PATH: Final = re.compile(r"[!-~]*")
_IN_PATHS: Final = "/%:@!$&'()*+,;=-._~"


@attrs.frozen(kw_only=True)
class RemoteService:
    """The checked settings of an authorization service.

    @ivar name: see L{IAuthorizer}.
    @ivar authority: its host and port.
    @ivar tls: whether its URL is C{https}.
    @ivar codec: the codec of its API.
    @ivar upstream: the upstream proxy through which it is contacted; C{None}: it is contacted directly.
    @ivar timeout: seconds for one whole call, from connecting to the last byte of the response.
    @ivar token: a bearer token for the call.
    @ivar body: when to send the content.
    @ivar max_concurrency: the concurrency limit of requests.
    """

    name: str
    authority: Authority
    tls: bool
    codec: Codec
    upstream: UpstreamProxy | None = None
    timeout: float
    token: str | None = attrs.field(default=None, repr=False)
    body: AuthzBody = AuthzBody.ALWAYS
    max_concurrency: int

    @classmethod
    def of(cls, config: ProxyConfig) -> RemoteService:
        """Read the options about the service C{config.authz_url}.

        @raise ConfigError: if the service cannot be called in this way; it names the option and the fix.
        """
        assert config.authz_url is not None
        scheme, authority, path = _parse_url(config.authz_url, CODECS[config.authz_api])
        url = f"{Origin(scheme, authority)}{quote(path, _IN_PATHS)}"
        name = f"the authorization service {url}"
        codec = _codec(config, url, name)
        upstream = _upstream(config, authority)
        if upstream is None and "_" in authority.host:
            # Twisted's endpoint does not accept such a name, and would fail only at the first request.
            raise ConfigError("--authz-url", config.authz_url, "use a host name without an underscore, or an address")
        return cls(
            name=name,
            authority=authority,
            tls=scheme == "https",
            codec=codec,
            upstream=upstream,
            timeout=config.authz_timeout,
            token=config.authz_token,
            body=config.authz_body,
            max_concurrency=config.authz_max_concurrency,
        )


def _parse_url(text: str, codec: type[Codec]) -> tuple[str, Authority, str]:
    """Split a configured URL into scheme, authority, and the path of the endpoint."""
    try:
        parts = urlsplit(text)
        if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
            raise ValueError("use an http:// or https:// URL")
        if "@" in parts.netloc:
            raise ValueError("set credentials with --authz-token-file, not in the URL")
        if parts.fragment or parts.query:
            raise ValueError("use a URL without query and fragment")
        if not _WIRE_PATH.fullmatch(parts.path):
            raise ValueError("percent-encode the characters of the path that are not plain ASCII")
        return parts.scheme, Authority.parse(parts.netloc, DEFAULT_PORTS[parts.scheme]), codec.endpoint_path(parts.path)
    except (ValueError, EgressError) as error:
        raise ConfigError("--authz-url", text, str(error)) from error


def _codec(config: ProxyConfig, url: str, name: str) -> Codec:
    """Make the codec, unless the configuration requires more than its API supports."""
    api = config.authz_api
    codec = CODECS[api]
    if config.authz_body is AuthzBody.ON_DEMAND and not codec.can_want_body:
        raise ConfigError("--authz-body", "on-demand", f"{api.value} cannot request the content: use always or never")
    if config.authz_token is not None and not codec.takes_token:
        raise ConfigError("--authz-token-file", "", f"{api.value} cannot send a token: it sends the client's own")
    if (config.passthrough or config.opaque_ports) and not codec.can_ask_tunnels:
        option = "--passthrough" if config.passthrough else "--opaque-ports"
        raise ConfigError(option, "", f"{api.value} does not support tunnels: remove this option")
    if api is AuthzApi.EXT_AUTHZ:
        for field in config.authz_response_headers:
            if not settable(field):
                raise ConfigError("--authz-response-headers", field, "an authorizer cannot set this field")
        return ExtAuthzCodec(url, name, config.authz_response_headers)
    if config.authz_response_headers:
        raise ConfigError(
            "--authz-response-headers", "", "this applies only to --authz-api ext-authz; others use setHeaders"
        )
    return codec(url, name)


def _upstream(config: ProxyConfig, authority: Authority) -> UpstreamProxy | None:
    """Return the upstream proxy through which the service is contacted, if any."""
    if not config.authz_via_upstream or config.bypass.matches(authority):
        return None
    return config.upstream_https or config.upstream_http


def remote_authorizer(
    reactor: IEgressReactor, service: RemoteService, trust: ReloadableTrust, behind_upstream: CreateEndpoint
) -> RemoteAuthorizer:
    """Make the authorizer for a service.

    The operator chooses the service: the address guard does not apply to it, and it is contacted directly
    unless C{service.upstream} is set.

    @param reactor: the reactor.
    @param service: the settings of the service.
    @param trust: for an C{https} service.
    @param behind_upstream: creates an endpoint through the upstream proxy.
    """
    authority = service.authority
    endpoint: IStreamClientEndpoint
    if service.upstream is None:
        endpoint = HostnameEndpoint(reactor, authority.host, authority.port, timeout=service.timeout)
    else:
        endpoint = behind_upstream(service.upstream, authority)
    explain: Callable[[Failure], EgressError] | None = None
    if service.tls:
        tls = trust.connection_creator(authority)
        endpoint = TlsEndpoint(reactor, tls, endpoint)
        explain = tls.explain
    agent = KeepAliveAgent(reactor, endpoint, service.tls, service.max_concurrency)
    return RemoteAuthorizer(reactor, service, agent, explain)
