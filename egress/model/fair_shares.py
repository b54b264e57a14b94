"""A capacity that clients share, of which no client gets more than its share."""

from __future__ import annotations

from collections.abc import KeysView


class FairShares:
    """Counts how much of a capacity each client holds, and limits the share of each client.

    A client gets an amount only if it then holds at most as much as was free before.  This is the "dynamic threshold"
    of Choudhury and Hahne (IEEE/ACM Transactions on Networking 6(3), 1998).  Therefore the first client gets at most
    half of the capacity, the next client half of the rest, and so on.  A client that holds nothing gets any amount that
    is free.

    @ivar total: the capacity.
    @ivar held: the amount that all clients together hold.
    @ivar clients: the clients that hold something; a view.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._by_client: dict[str, int] = {}
        self.clients: KeysView[str] = self._by_client.keys()

    def fits(self, client: str, amount: int = 1, part: int = 0) -> bool:
        """Return whether a client may get an amount.

        @param part: the part of the amount that the client already holds. It does not count against the client.
        """
        free = self.total - self.held + part
        others = self._by_client.get(client, 0) - part
        return amount <= free and (others == 0 or others + amount <= free)

    def take(self, client: str, amount: int) -> None:
        """Count an amount that a client gets."""
        if amount:
            self.held += amount
            self._by_client[client] = self._by_client.get(client, 0) + amount

    def give_back(self, client: str, amount: int) -> None:
        """Count an amount that a client no longer holds."""
        if amount:
            self.held -= amount
            remaining = self._by_client[client] - amount
            if remaining:
                self._by_client[client] = remaining
            else:
                del self._by_client[client]
