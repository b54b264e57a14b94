"""What listens at each entrance: TLS where there is any, and what is asked of clients before they are served."""

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
    config: ProxyConfig, parts: ProxyContext, in_thread: InThread
) -> list[ServerFactory | TlsFactory]:
    """Make what listens at each entrance of C{config.listen}.

    @param in_thread: checks passwords.
    @raise ConfigError: naming what cannot be used.
    """
    # Entrances with the same file know the same clients.
    gates: dict[Path, ClientAuthenticator] = {}
    labels = not any(map(config.asks_at, config.listen))
    return [_factory(config, entrance, parts, in_thread, gates, labels) for entrance in config.listen]


def _factory(
    config: ProxyConfig,
    entrance: Listener,
    parts: ProxyContext,
    in_thread: InThread,
    gates: dict[Path, ClientAuthenticator],
    labels: bool,
) -> ServerFactory | TlsFactory:
    path = config.auth_at(entrance)
    if path is not None and path not in gates:
        try:
            gates[path] = ClientAuthenticator(path, parts.clock, in_thread)
        except SecretsError as error:
            raise ConfigError("--listen" if entrance.sets_auth else "--client-auth", "", error.reason) from error
    tls = entrance.tls
    certificate = name_of if tls is not None and tls.client_ca is not None else None
    auth_policy = ClientAuthPolicy(
        gates[path] if path is not None else None,
        certificate,
        labels,
        DEFAULT_PORTS if entrance.takes_https_urls else CLEAR_TEXT,
    )
    return behind_tls(entrance, ProxyFactory(parts, auth_policy), parts.clock, config.client_tls)


def behind_tls(
    entrance: Listener, factory: F, clock: IReactorTime, accepted: ClientTls = ClientTls.MODERN
) -> F | TlsFactory:
    """Put what listens behind the TLS of its entrance, if it has any.

    @raise ConfigError: naming what cannot be used.
    """
    if entrance.tls is None:
        return factory
    try:
        context = listener_context(entrance.tls, accepted)
    except TrustError as error:
        raise ConfigError("--listen", "", error.reason) from error
    return TlsFactory(ServerTls(context), False, cast("Any", factory), clock=clock)
