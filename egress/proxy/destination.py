"""The destination of an exchange or tunnel, before and after name resolution."""

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
    from egress.proxy.context import OriginContext


class Destination:
    """The known facts about the destination of one exchange or tunnel.

    A name is resolved only when L{look_up} is called: after the authorizer allows the request, when the authorizer
    needs the addresses, or before authorization (L{Resolve.BEFORE}).

    @ivar route: the checked route; C{None} until there is one.
    @ivar addresses: the addresses for the authorizer; C{None} if unknown, or not resolved yet.
    @ivar withheld: whether name resolution would provide the addresses.
    @ivar resolution_error: the error of L{look_up_first}, if resolution failed.
    """

    __slots__ = ("_client", "_context", "_origin", "_purpose", "addresses", "resolution_error", "route", "withheld")

    def __init__(self, context: OriginContext, client: ClientIdentity, origin: Origin, purpose: Purpose) -> None:
        self._context = context
        self._client = client
        self._origin = origin
        self._purpose = purpose
        self.route: Route | None = None
        self.addresses: tuple[IPAddress, ...] | None = None
        self.withheld = False
        self.resolution_error: EgressError | None = None

    def begin(self, pooled: Route | None = None) -> bool:
        """Check what needs no name resolution. A pooled connection was checked when it was opened.

        The authorizer gets the same facts with a pooled connection as without one.

        @return: whether the name must be resolved before authorization (L{look_up_first}).
        @raise AddressForbidden: if the address guard refuses the port, address or name.
        """
        if pooled is not None:
            if pooled.is_looked_up and self._context.resolve is Resolve.AFTER:
                self.withheld = True
            else:
                self.addresses = pooled.known_addresses
            return False
        self.route = self._context.dialer.judge(self._origin, self._purpose)
        if self.route is None:
            self.withheld = True
            return self._context.resolve is Resolve.BEFORE
        self.addresses = self.route.known_addresses
        return False

    def look_up(self) -> Deferred[Route]:
        """Resolve the name and set L{route}, checked by the address guard; see L{egress.interfaces.IDialer.check}."""
        if self.resolution_error is not None:
            return fail(self.resolution_error)
        route = self._context.dialer.check(self._origin, self._purpose, self._client.limit_key)
        return route.addCallback(self._found)

    def _found(self, route: Route) -> Route:
        self.route = route
        return route

    def look_up_first(self) -> Deferred[None]:
        """Resolve the addresses before authorization.

        If a name has no address, a denial by policy is the more useful response. So the request is still authorized,
        and L{look_up} fails after the authorizer has allowed it.
        """
        return self.look_up().addCallbacks(self.set_addresses, self._unresolved)

    def _unresolved(self, failure: Failure) -> None:
        if not isinstance(failure.value, (NameNotResolved, ResolutionTimeout)):
            failure.raiseException()
        self.resolution_error = failure.value

    def set_addresses(self, route: Route) -> None:
        """Provide the addresses of a route for the authorizer."""
        self.addresses = route.known_addresses
        self.withheld = False
