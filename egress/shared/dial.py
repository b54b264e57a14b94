"""Opening a connection to an engine or to a sentinel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory

from egress.shared.redis_protocol import CommandRejected, RedisProtocol, SharedUnavailable, meaning_of
from egress.transport.dialed import ProtocolAdapter
from egress.transport.tls_endpoint import TlsEndpoint

if TYPE_CHECKING:
    from collections.abc import Generator

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from egress.model.authority import Authority
    from egress.tls.reloadable_trust import ReloadableTrust
    from egress.transport.reactor import IEgressReactor


# Times are not exact.
_ALMOST: Final = 0.99


class _Factory(Factory):
    """Returns one protocol.  Twisted's own factory sets an attribute, which a compiled protocol does not have."""

    noisy = False

    def __init__(self, protocol: ProtocolAdapter) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


@inlineCallbacks
def dial(
    clock: IReactorTime, endpoint: IStreamClientEndpoint, protocol: RedisProtocol, *, tls: bool, timeout: float
) -> Generator[Deferred[Any], Any, None]:
    """Connect a protocol, after the TLS handshake.

    @param tls: whether the endpoint uses TLS.
    @param timeout: seconds for the connection, and again for the TLS handshake.
    @return: fires when commands can be sent.  It fails if there is no connection; with C{CancelledError} if it was
        cancelled.
    """
    ready: Deferred[None] = Deferred()

    def lost(reason: Failure) -> None:
        if not ready.called:
            ready.errback(reason)

    def is_ready() -> None:
        if not ready.called:
            ready.callback(None)

    dialed = ProtocolAdapter(protocol)
    dialed.prepare(tls, is_ready, lost)
    begin = clock.seconds()
    try:
        yield endpoint.connect(_Factory(dialed)).addTimeout(timeout, clock)
        yield ready.addTimeout(timeout, clock)
    except BaseException as error:
        if dialed.transport is not None:
            dialed.transport.abortConnection()
        # Twisted reports a timeout during the connection as if it was cancelled.
        took_too_long = clock.seconds() - begin > _ALMOST * timeout
        if isinstance(error, TookTooLong) or (isinstance(error, ConnectingCancelledError) and took_too_long):
            raise SharedUnavailable(f"no connection within {timeout:g} s") from error
        if isinstance(error, ConnectingCancelledError):
            raise CancelledError from error
        raise
    dialed.attach()


def endpoint_of(
    reactor: IEgressReactor, authority: Authority, trust: ReloadableTrust, *, tls: bool
) -> IStreamClientEndpoint:
    """Return the endpoint of a host; with TLS, the certificate must be valid for this name or address."""
    inner = HostnameEndpoint(reactor, authority.host, authority.port)
    return TlsEndpoint(reactor, trust.connection_creator(authority), inner) if tls else inner


def explain(error: BaseException | None) -> str:
    """Return why an engine or a sentinel cannot be used."""
    if isinstance(error, CommandRejected):
        return meaning_of(str(error))
    if isinstance(error, CancelledError):
        return "the attempt was cancelled"
    return str(error) or type(error).__name__
