"""The effect of revocations on running requests and tunnels, and on decisions that are in flight."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from egress.model.errors import Revoked

if TYPE_CHECKING:
    from egress.model.authority import Authority
    from egress.model.decision import ClientIdentity
    from egress.model.revocation import Revocation

# More revocations than this during one authorization request void its decision, whatever they name.
MAX_RECENT: Final = 64


class Revocations:
    """The revocations of this process, for decisions that were requested before one and arrive after it.

    @ivar count: the number of revocations so far.  The sender of an authorization request notes it, and compares it
        with the number when the decision arrives.
    """

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[Revocation] = deque(maxlen=MAX_RECENT)

    def add(self, revocation: Revocation) -> Cutoff:
        """Add a revocation.

        @return: what ends running requests and tunnels.
        """
        self.count += 1
        self._recent.append(revocation)
        return Cutoff(revocation, self.count)

    def void(
        self, since: int, client: ClientIdentity, authority: Authority, rule_id: str | None, request_id: str
    ) -> bool:
        """Return whether a decision that just arrived is void.

        @param since: the L{count} when it was requested.
        @param client: the client of the request.
        @param authority: the authority of the request.
        @param rule_id: the rule of the decision.
        @param request_id: the id of the request.
        """
        missed = self.count - since
        if missed > len(self._recent):
            return True
        newest = [self._recent[-number] for number in range(1, missed + 1)]
        return any(each.matches(client, authority, rule_id, request_id) for each in newest)


class Cutoff:
    """Decides which running requests and tunnels a revocation ends, and counts them.

    @ivar revocation: the revocation.
    @ivar number: its number in this process.  A decision that was requested later is not void.
    @ivar requests: the number of requests that were ended.
    @ivar tunnels: the number of tunnels that were ended.
    """

    def __init__(self, revocation: Revocation, number: int) -> None:
        self.revocation = revocation
        self.number = number
        self.requests = 0
        self.tunnels = 0

    @property
    def error(self) -> Revoked:
        """The error that ends a request or a tunnel."""
        return revoked()


def revoked() -> Revoked:
    """The error of a request or a tunnel whose decision is void."""
    return Revoked("an administrator revoked the decision; the request can be repeated")
