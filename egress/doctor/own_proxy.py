"""A proxy that the diagnosis starts if there is none: it denies every request, except those for its own address."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from zope.interface import implementer

from egress.client_settings.variables import environment
from egress.config.model import Limits, ProxyConfig
from egress.interfaces import IAuthorizer
from egress.launch.client_files import client_files
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.runtime.startup import tcp_listeners
from egress.service import EgressProxyService

T = TypeVar("T")

FREE_PORT: Final = "tcp:0:interface=127.0.0.1"
"""The listener of the proxy."""

_DRAIN_SECONDS: Final = 1.0
_NAME: Final = "egress doctor"


@implementer(IAuthorizer)
class DenyAll:
    """Denies every request: the programs are only to request the proxy's own address."""

    name = _NAME
    needs_body = False

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """See L{IAuthorizer.decide}."""
        return succeed(Decision(Verdict.DENY, "egress doctor forwards no request", _NAME))

    def check_ready(self) -> Deferred[None]:
        """See L{IAuthorizer.check_ready}."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """See L{IAuthorizer.close}."""
        return succeed(None)


@inlineCallbacks
def with_own_proxy(
    reactor: Any,
    config: ProxyConfig,
    environ: Mapping[str, str],
    directory: Path,
    examine: Callable[[str, Mapping[str, str]], Deferred[T]],
) -> Generator[Deferred[Any], Any, T]:
    """Examine the environment that C{egress run} sets.

    @param reactor: the reactor of the process.
    @param config: names the CA.
    @param environ: the environment of the user.
    @param directory: an empty directory for the files that the programs trust.
    @param examine: is called with the URL of the proxy and with the environment.
    @raise egress.config.model.ConfigError: naming the invalid value and the fix.
    """
    own = ProxyConfig(
        listen=(FREE_PORT,),
        ca_dir=config.ca_dir,
        ca_cert=config.ca_cert,
        ca_key=config.ca_key,
        ca_root=config.ca_root,
        ca_name_constraints=config.ca_name_constraints,
        client_tls=config.client_tls,
        limits=Limits(drain_timeout=_DRAIN_SECONDS),
    )
    proxy = EgressProxyService(reactor, own, authorizer=DenyAll())
    proxy.startService()
    try:
        addresses = yield proxy.listening()
        url = tcp_listeners(addresses, own.listen)[0].url
        files = client_files(own, directory, url, environ)
        result: T = yield examine(url, environment(url, files, environ, proxy.certificate_authority.leaf_key_hash))
    finally:
        yield proxy.stopService()
    return result
