"""Where an exchange or a tunnel leads: what is told without a look-up, and what a look-up finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from egress.config.model import Resolve
from egress.model.authority import IPAddress, Origin
from egress.model.decision import ClientIdentity
from egress.model.errors import EgressError, NameNotResolved, ResolutionTimeout
from egress.model.route import Purpose, Route

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext


class Destination:
    """What is known of where one exchange or tunnel leads.

    A name is looked up only when L{look_up} is called: once the authorizer has allowed the request, when it wants the
    addresses, or before it is asked (L{Resolve.BEFORE}).

    @ivar route: the checked way; C{None} while there is none.
    @ivar addresses: what the authorizer is told; C{None} when that is not known, or not yet.
    @ivar withheld: whether a look-up would tell the addresses.
    @ivar dead_end: why L{look_up_first} found none.
    """

    __slots__ = ("_client", "_origin", "_parts", "_purpose", "addresses", "dead_end", "route", "withheld")

    def __init__(self, parts: ProxyContext, client: ClientIdentity, origin: Origin, purpose: Purpose) -> None:
        self._parts = parts
        self._client = client
        self._origin = origin
        self._purpose = purpose
        self.route: Route | None = None
        self.addresses: tuple[IPAddress, ...] | None = None
        self.withheld = False
        self.dead_end: EgressError | None = None

    def begin(self, pooled: Route | None = None) -> bool:
        """Check what can be checked without a look-up, unless a pooled connection was checked when it was dialled.

        The authorizer is told as much with a pooled connection as without one.

        @return: whether the look-up comes before the authorizer is asked (L{look_up_first}).
        @raise AddressForbidden: for a port, an address or a name that the address guard refuses.
        """
        if pooled is not None:
            if pooled.is_looked_up and self._parts.resolve is Resolve.AFTER:
                self.withheld = True
            else:
                self.addresses = pooled.known_addresses
            return False
        self.route = self._parts.dialer.judge(self._origin, self._purpose)
        if self.route is None:
            self.withheld = True
            return self._parts.resolve is Resolve.BEFORE
        self.addresses = self.route.known_addresses
        return False

    def look_up(self) -> Deferred[Route]:
        """Find the L{route}, checked by the address guard; see L{egress.interfaces.IDialer.check}."""
        if self.dead_end is not None:
            return fail(self.dead_end)
        checked = self._parts.dialer.check(self._origin, self._purpose, self._client.limit_key)
        return checked.addCallback(self._found)

    def _found(self, route: Route) -> Route:
        self.route = route
        return route

    def look_up_first(self) -> Deferred[None]:
        """Find the addresses to tell.

        A name without an address leads nowhere; that it is denied as well is the more useful answer.  So the authorizer
        is asked all the same, and L{look_up} fails once it has allowed the request.
        """
        return self.look_up().addCallbacks(self.tell, self._unresolved)

    def _unresolved(self, failure: Failure) -> None:
        if not isinstance(failure.value, (NameNotResolved, ResolutionTimeout)):
            failure.raiseException()
        self.dead_end = failure.value

    def tell(self, route: Route) -> None:
        """Tell the authorizer where a route leads."""
        self.addresses = route.known_addresses
        self.withheld = False
