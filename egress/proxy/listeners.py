"""The factories of the listeners, with their TLS and client authentication."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.protocol import ServerFactory

from egress.client_auth.authenticator import ClientAuthenticator, InThread
from egress.client_auth.certificate_names import name_of
from egress.client_auth.htpasswd import SecretsError
from egress.config.model import ConfigError, ProxyConfig
from egress.http.request_target import CLEAR_TEXT
from egress.model.authority import DEFAULT_PORTS
from egress.model.client_tls import ClientTls
from egress.proxy.client_auth import ClientAuthPolicy
from egress.proxy.factory import ProxyFactory
from egress.tls.listener_context import listener_context
from egress.tls.pem import TrustError
from egress.transport.tls import ServerTls, TlsFactory

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from egress.config.listener import Listener
    from egress.proxy.context import ProxyContext

F = TypeVar("F")


def listener_factories(
    config: ProxyConfig, context: ProxyContext, in_thread: InThread
) -> list[ServerFactory | TlsFactory]:
    """Create the factory of each listener in C{config.listen}.

    @param in_thread: runs password checks in a thread.
    @raise ConfigError: names the option that cannot be used.
    """
    # Listeners with the same password file share an authenticator.
    authenticators: dict[Path, ClientAuthenticator] = {}
    allow_unverified_names = not any(map(config.requires_auth_at, config.listen))
    return [
        _factory(config, listener, context, in_thread, authenticators, allow_unverified_names)
        for listener in config.listen
    ]


def _factory(
    config: ProxyConfig,
    listener: Listener,
    context: ProxyContext,
    in_thread: InThread,
    authenticators: dict[Path, ClientAuthenticator],
    allow_unverified_names: bool,
) -> ServerFactory | TlsFactory:
    path = config.auth_at(listener)
    if path is not None and path not in authenticators:
        try:
            authenticators[path] = ClientAuthenticator(path, context.clock, in_thread)
        except SecretsError as error:
            raise ConfigError("--listen" if listener.sets_auth else "--client-auth", "", error.reason) from error
    tls = listener.tls
    certificate = name_of if tls is not None and tls.client_ca is not None else None
    auth_policy = ClientAuthPolicy(
        authenticators[path] if path is not None else None,
        certificate,
        allow_unverified_names,
        DEFAULT_PORTS if listener.takes_https_urls else CLEAR_TEXT,
    )
    return behind_tls(listener, ProxyFactory(context, auth_policy), context.clock, config.client_tls)


def behind_tls(
    listener: Listener, factory: F, clock: IReactorTime, accepted: ClientTls = ClientTls.MODERN
) -> F | TlsFactory:
    """Wrap a factory in the TLS of its listener, if it has TLS.

    @raise ConfigError: names the option that cannot be used.
    """
    if listener.tls is None:
        return factory
    try:
        tls_context = listener_context(listener.tls, accepted)
    except TrustError as error:
        raise ConfigError("--listen", "", error.reason) from error
    return TlsFactory(ServerTls(tls_context), False, cast("Any", factory), clock=clock)
