"""The TLS and the client authentication of the listeners, and their factories."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
from OpenSSL import SSL
from twisted.internet.protocol import ServerFactory

from egress.client_auth.authenticator import ClientAuthenticator, InThread
from egress.client_auth.certificate_names import name_of
from egress.client_auth.htpasswd import SecretsError
from egress.client_auth.jwt_authenticator import JwtAuthenticator
from egress.client_auth.jwt_keys import InvalidKeys, load_pyjwt
from egress.client_auth.key_source import FetchKeys, FileKeys, IssuerKeys, KeyDownloads, KeySource
from egress.config.model import ConfigError, ProxyConfig
from egress.http.request_target import CLEAR_TEXT
from egress.model.authority import DEFAULT_PORTS
from egress.model.client_tls import ClientTls
from egress.model.jwt_issuer import ClientAuth, JwtIssuer
from egress.proxy.client_auth import ClientAuthPolicy
from egress.proxy.factory import ProxyFactory
from egress.proxy.proxy_protocol import Network, ProxyProtocolFactory
from egress.proxy.socks_session import SocksFactory
from egress.proxy.transparent import TransparentFactory
from egress.tls.listener_context import listener_context
from egress.tls.origin_trust import OriginTrust
from egress.tls.pem import TrustError
from egress.transport.tls import ServerTls, TlsFactory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IReactorTime

    from egress.config.listener import Listener
    from egress.interfaces import IClientAuthenticator, IPlaceholderNames
    from egress.proxy.context import ProxyContext

F = TypeVar("F")

FetchKeysOf = Callable[[JwtIssuer, OriginTrust], FetchKeys]
"""Returns the function that downloads the keys of an issuer."""


@attrs.frozen(kw_only=True)
class ListenerSecurity:
    """The security settings of one listener, with the content of their files.

    @ivar auth_policy: the client authentication.
    @ivar tls: the TLS context; C{None}: the listener has no TLS.
    @ivar transparent: whether the system redirects connections to the listener.
    @ivar proxy_protocol: whether a load balancer names the clients.
    @ivar socks5: whether clients may also speak SOCKS5.
    @ivar h2c: whether clients can use HTTP/2 without TLS, with prior knowledge.
    @ivar balancers: the addresses of the load balancers; empty: every address.
    """

    auth_policy: ClientAuthPolicy
    tls: SSL.Context | None
    transparent: bool = False
    proxy_protocol: bool = False
    socks5: bool = False
    h2c: bool = False
    balancers: tuple[Network, ...] = ()


def listener_security(
    config: ProxyConfig, clock: IReactorTime, in_thread: InThread, fetch_of: FetchKeysOf
) -> tuple[ListenerSecurity, ...]:
    """Load the security settings of each listener in C{config.listen}.

    @param config: the configuration.
    @param clock: the reactor.
    @param in_thread: runs password checks in a thread.
    @param fetch_of: returns the function that downloads the keys of an issuer of tokens.
    @raise ConfigError: names the option that cannot be used.
    """
    # Listeners with the same setting share an authenticator.
    authenticators: dict[ClientAuth, IClientAuthenticator] = {}
    allow_unverified_names = not any(map(config.requires_auth_at, config.listen))

    def authenticator(setting: ClientAuth) -> IClientAuthenticator:
        if isinstance(setting, JwtIssuer):
            return JwtAuthenticator(setting, key_source(setting, config, clock, fetch_of), time.time)
        return ClientAuthenticator(setting, clock, in_thread)

    def security(listener: Listener) -> ListenerSecurity:
        setting = config.auth_at(listener)
        if setting is not None and setting not in authenticators:
            try:
                authenticators[setting] = authenticator(setting)
            except (SecretsError, InvalidKeys, TrustError) as error:
                raise ConfigError("--listen" if listener.sets_auth else "--client-auth", "", str(error)) from error
        tls = listener.tls
        auth_policy = ClientAuthPolicy(
            authenticator=None if setting is None else authenticators[setting],
            certificate=name_of if tls is not None and tls.client_ca is not None else None,
            allow_unverified_names=allow_unverified_names,
            schemes=DEFAULT_PORTS if listener.takes_https_urls else CLEAR_TEXT,
        )
        tls_context = tls_of(listener, config.client_tls, http2=config.http2)
        return ListenerSecurity(
            auth_policy=auth_policy,
            tls=tls_context,
            transparent=listener.transparent,
            proxy_protocol=listener.proxy_protocol,
            socks5=listener.socks5,
            h2c=listener.h2c,
            balancers=listener.balancers,
        )

    return tuple(map(security, config.listen))


def key_source(setting: JwtIssuer, config: ProxyConfig, clock: IReactorTime, fetch_of: FetchKeysOf) -> KeySource:
    """Create the source of the keys of an issuer of tokens.

    @raise InvalidKeys: if the file with the keys cannot be used, or if PyJWT is not installed.
    @raise TrustError: if the file with the trusted CAs cannot be used.
    """
    load_pyjwt()
    if isinstance(setting.jwks, Path):
        return FileKeys(setting.jwks, setting.algorithms, clock)
    trust = OriginTrust(setting.ca or config.extra_ca_certs)
    return IssuerKeys(fetch_of(setting, trust), setting.algorithms, clock, setting.issuer)


def key_downloads(listeners: Iterable[ListenerSecurity]) -> KeyDownloads:
    """Return the downloads of keys for listeners."""
    found: set[Any] = {listener.auth_policy.authenticator for listener in listeners}
    sources = (each.keys for each in found if isinstance(each, JwtAuthenticator))
    return KeyDownloads(each for each in sources if isinstance(each, IssuerKeys))


def listener_factories(
    listeners: Iterable[ListenerSecurity], context: ProxyContext, names: IPlaceholderNames | None = None
) -> list[ServerFactory]:
    """Create the factory of each listener.

    @param listeners: the listeners.
    @param context: the collaborators of their sessions.
    @param names: the names of placeholder addresses, for transparent listeners and SOCKS clients.
    """

    def factory(listener: ListenerSecurity) -> ProxyFactory:
        if listener.transparent:
            return TransparentFactory(context, listener.auth_policy, names)
        if listener.socks5:
            return SocksFactory(context, listener.auth_policy, names, h2c=listener.h2c)
        return ProxyFactory(context, listener.auth_policy, h2c=listener.h2c)

    def outer(listener: ListenerSecurity) -> Any:
        inner = behind_tls(listener.tls, factory(listener), context.clock)
        return ProxyProtocolFactory(context, inner, listener.balancers) if listener.proxy_protocol else inner

    return [outer(listener) for listener in listeners]


def tls_of(listener: Listener, accepted: ClientTls = ClientTls.MODERN, *, http2: bool = False) -> SSL.Context | None:
    """Create the TLS context of a listener, if it has TLS.

    @param listener: the listener.
    @param accepted: the accepted cipher suites.
    @param http2: whether clients can select HTTP/2.
    @raise ConfigError: names the option that cannot be used.
    """
    if listener.tls is None:
        return None
    try:
        return listener_context(listener.tls, accepted, http2=http2)
    except TrustError as error:
        raise ConfigError("--listen", "", error.reason) from error


def behind_tls(context: SSL.Context | None, factory: F, clock: IReactorTime) -> F | TlsFactory:
    """Wrap a factory in the TLS of its listener, if it has TLS."""
    if context is None:
        return factory
    return TlsFactory(ServerTls(context), False, cast("Any", factory), clock=clock)
