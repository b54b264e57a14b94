"""C{private_addresses = "deny"} of a policy in an authorization service, which has no address guard."""

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

# Addresses do not change these verdicts.
_WITHOUT_ADDRESSES: Final = frozenset({Verdict.DENY, *NEEDS})

RULE: Final = "private-addresses"
"""The rule id of such a denial."""


class PrivateAddresses(Wrapper):
    """Calls an authorizer, unless the request names a private address.

    This wrapper does what the address guard of a proxy with the same policy does.  An authorization request without
    addresses leaves the check to the proxy.

    @param blocks: returns whether the policy denies private addresses.
    @param allow: ranges that are permitted nevertheless.
    @param version: returns the version of the policy.
    """

    def __init__(
        self,
        authorizer: IAuthorizer,
        blocks: Callable[[], bool],
        allow: tuple[IPNetwork, ...],
        version: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__(authorizer)
        self._version = version
        self._blocks = blocks
        self._allow = allow

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Deny a private address, or forward the request; see L{IAuthorizer.decide}."""
        literal = request.authority.ip
        # If the host is an address, the addresses in the request are ignored.
        for address in (literal,) if literal is not None else request.addresses or ():
            if self._blocks() and is_private(address) and not self._is_allowed(address):
                reason = f"{request.authority.host} resolves to {address}, a private address"
                decision = Decision(
                    Verdict.DENY, reason, self.name, RULE, enforce_in_observe=True, policy_version=self._version()
                )
                return succeed(decision)
        call = self._authorizer.decide(request)
        return call.addCallback(self._require_addresses, request) if self._blocks() else call

    def _require_addresses(self, decision: Decision, request: DecisionRequest) -> Decision:
        """Require the addresses for a decision that is not a denial, and make a cached decision depend on them.

        The decision applies only to the addresses in the request.  With other addresses, this wrapper might deny the
        request.
        """
        if request.addresses_withheld and decision.verdict not in _WITHOUT_ADDRESSES:
            reason = "the policy denies private addresses, so it needs the addresses of the host"
            return Decision(Verdict.NEED_ADDRESSES, reason, self.name, RULE, policy_version=self._version())
        parts = decision.cache_key
        if parts is None or _PART in parts:
            return decision
        return attrs.evolve(decision, cache_key=tuple(sorted((*parts, _PART))))

    def _is_allowed(self, address: IPAddress) -> bool:
        return any(address in network or embedded(address) in network for network in self._allow)
