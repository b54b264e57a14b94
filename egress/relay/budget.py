"""The interface of a byte limit for a relay."""

from __future__ import annotations

from typing import Protocol


class ByteBudget(Protocol):
    """Counts the bytes of a tunnel or an exchange against its limit. A L{egress.proxy.lease.Lease} implements it."""

    @property
    def remaining(self) -> int | None:
        """The remaining number of bytes; C{None} without a limit."""

    def consume(self, count: int) -> bool:
        """Count bytes that are about to be transferred.

        @return: whether they may be transferred. If not, the budget has ended the exchange.
        """
