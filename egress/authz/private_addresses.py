"""C{private_addresses = "deny"} of a policy, where no address guard sees to it: in an authorization service."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred, succeed

from egress.authz.wrapper import Wrapper
from egress.model.address_classes import embedded, is_private
from egress.model.decision import NEEDS, Decision, DecisionRequest, Verdict

if TYPE_CHECKING:
    from egress.config.model import IPNetwork
    from egress.interfaces import IAuthorizer
    from egress.model.authority import IPAddress

_PART: Final = "addresses"

# No address changes these.
_WITHOUT_ADDRESSES: Final = frozenset({Verdict.DENY, *NEEDS})

RULE: Final = "private-addresses"
"""The rule id of such a denial."""


class PrivateAddresses(Wrapper):
    """Asks an authorizer, unless the question names an address of an internal network.

    It is what the guard of a proxy does that has the same policy.  Of a question that names no addresses nothing is
    known: then this is left to the proxy.

    @param blocks: whether that is what the policy wants.
    @param allow: ranges that are opened nevertheless.
    """

    def __init__(self, authorizer: IAuthorizer, blocks: Callable[[], bool], allow: tuple[IPNetwork, ...]) -> None:
        super().__init__(authorizer)
        self._blocks = blocks
        self._allow = allow

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        literal = request.authority.ip
        # Of a host that is an address no caller knows better.
        for address in (literal,) if literal is not None else request.addresses or ():
            if self._blocks() and is_private(address) and not self._opened(address):
                reason = f"{request.authority.host} leads to {address}, a private address"
                return succeed(Decision(Verdict.DENY, reason, self.name, RULE, enforce_in_observe=True))
        deciding = self._authorizer.decide(request)
        return deciding.addCallback(self._dependent, request) if self._blocks() else deciding

    def _dependent(self, decision: Decision, request: DecisionRequest) -> Decision:
        """Have the addresses looked up of what is not denied by name already.

        A decision is one on the addresses that it was asked about: with others it might not have been asked for.
        """
        if request.addresses_withheld and decision.verdict not in _WITHOUT_ADDRESSES:
            reason = "the policy closes private addresses, and wants to see the addresses first"
            return Decision(Verdict.NEED_ADDRESSES, reason, self.name, RULE)
        parts = decision.cache_key
        if parts is None or _PART in parts:
            return decision
        return attrs.evolve(decision, cache_key=tuple(sorted((*parts, _PART))))

    def _opened(self, address: IPAddress) -> bool:
        return any(address in network or embedded(address) in network for network in self._allow)
