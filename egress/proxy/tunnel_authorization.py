"""The authorization of a passthrough tunnel: its destination, the decision, and the route."""

from __future__ import annotations

from collections.abc import Callable

from egress.model.authority import Authority
from egress.model.decision import Decision, Verdict
from egress.model.errors import Denied, EgressError
from egress.model.phases import DNS
from egress.model.route import Route
from egress.proxy.destination import Destination
from egress.proxy.transaction import Transaction


class TunnelAuthorization:
    """Authorizes one tunnel, and finds its route.

    @param transaction: sends the authorization request.
    @param authority: the authority that the client named.
    @param destination: the origin.
    @param allowed: called with the route, once the tunnel is allowed and each of its addresses is permitted.
    @param refused: called with the reason otherwise; the transaction reports other errors.
    """

    __slots__ = ("_allowed", "_authority", "_destination", "_refused", "_transaction")

    def __init__(
        self,
        transaction: Transaction,
        authority: Authority,
        destination: Destination,
        allowed: Callable[[Route], None],
        refused: Callable[[EgressError], None],
    ) -> None:
        self._transaction = transaction
        self._authority = authority
        self._destination = destination
        self._allowed = allowed
        self._refused = refused

    def begin(self) -> None:
        """Check the destination, then send the authorization request."""
        try:
            resolve_first = self._destination.begin()
        except EgressError as error:
            self._refused(error)
            return
        if resolve_first:
            self._transaction.begin_phase(DNS)
            self._transaction.await_or_fail(self._destination.look_up_first(), self._authorize)
        else:
            self._authorize()

    def _authorize(self, looked_up: object = None) -> None:
        destination = self._destination
        self._transaction.authorize(
            ((b"Host", str(self._authority).encode("ascii")),),
            None,
            False,
            self._decided,
            addresses=destination.addresses,
            addresses_withheld=destination.withheld,
        )

    def _decided(self, decision: Decision) -> None:
        destination = self._destination
        if decision.verdict is Verdict.NEED_ADDRESSES:
            self._transaction.begin_phase(DNS)
            looked_up = destination.look_up().addCallback(destination.set_addresses)
            self._transaction.await_or_fail(looked_up, self._authorize)
        elif not decision.allowed:
            self._refused(Denied(decision))
        elif destination.route is None:
            # Only now: a denied name causes no DNS query.
            self._transaction.begin_phase(DNS)
            self._transaction.await_or_fail(destination.look_up(), self._allowed)
        else:
            self._allowed(destination.route)
