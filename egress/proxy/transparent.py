"""The client side of a transparent listener, whose clients do not know that there is a proxy.

The system redirects the connections of clients to the listener.  The destination follows from the name for which a
placeholder address was given out, from the TLS server name, from C{Host}, or is the original address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from egress.model.authority import Authority, Origin
from egress.model.errors import BadRequest
from egress.proxy.addressed_session import AddressedSession
from egress.proxy.client_auth import ANONYMOUS, ClientAuthPolicy
from egress.proxy.client_session import HttpSession
from egress.proxy.factory import ProxyFactory
from egress.proxy.session_refusal import report_refusal
from egress.proxy.tunnel_binding import TunnelBinding
from egress.transport.original_destination import original_destination

if TYPE_CHECKING:
    from egress.interfaces import IPlaceholderNames
    from egress.proxy.context import ProxyContext

FindOriginal = Callable[[object], Authority | None]


class TransparentSession(AddressedSession):
    """A redirected connection. Its destination is the one that the client connected to.

    @param auth_policy: the policy of the listener, which requires no authentication.
    @param find_original: finds the original destination.
    @param names: the names of placeholder addresses; C{None}: there are none.
    """

    def __init__(
        self,
        context: ProxyContext,
        *,
        auth_policy: ClientAuthPolicy,
        find_original: FindOriginal,
        names: IPlaceholderNames | None,
    ) -> None:
        super().__init__(context, auth_policy=auth_policy)
        self._find_original = find_original
        self._names = names

    def connectionMade(self) -> None:
        """Find the destination, as far as the connection tells it."""
        super().connectionMade()
        original = self._find_original(self.transport)
        if original is None:
            self._reject_direct()
            return
        name = self._names.name_of(original.host) if self._names is not None else None
        destination = original if name is None else Authority(name, original.port)
        self._wait_for_first(destination, is_named=name is not None)
        if self._context.tunnels.is_passthrough(destination):
            self._open_redirected(destination)

    def _reject_direct(self) -> None:
        """Let the session reject every request."""
        error = BadRequest(
            "this listener accepts only connections that the system redirects to it; to use the proxy by its address, "
            "connect to a listener without transparent=yes"
        )
        client = self._client_auth.client
        refusal_id = report_refusal(self._context.authz, client, error, "", "")
        # The origin has no effect.
        self._binding = TunnelBinding(Origin.of("http", Authority("invalid", 80)), client, error, refusal_id)


class TransparentFactory(ProxyFactory):
    """Creates a session for each redirected connection, within the connection limits.

    @param names: the names of placeholder addresses.
    @param find_original: finds the original destination of a connection.
    """

    def __init__(
        self,
        context: ProxyContext,
        auth_policy: ClientAuthPolicy = ANONYMOUS,
        names: IPlaceholderNames | None = None,
        find_original: FindOriginal = original_destination,
    ) -> None:
        super().__init__(context, auth_policy)
        self._names = names
        self._find_original = find_original

    def new_session(self) -> HttpSession:
        """Create the session of a connection."""
        return TransparentSession(
            self._context, auth_policy=self._auth_policy, find_original=self._find_original, names=self._names
        )
