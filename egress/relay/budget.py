"""The interface of a byte limit for a relay."""

from __future__ import annotations

from typing import Protocol


class Transfer(Protocol):
    """A transfer that a byte limit can stop for a short time."""

    def hold(self) -> None:
        """Read nothing more until L{release}; called again if data arrives nevertheless."""

    def release(self) -> None:
        """Read again."""


class ByteBudget(Protocol):
    """Counts the bytes of a tunnel or an exchange against its limit. A L{egress.proxy.lease.Lease} implements it.

    @ivar transfer: the transfer, which waits while bytes must be counted elsewhere first.
    """

    transfer: Transfer | None

    def next_read(self, most: int) -> int:
        """Return the maximum size of the next read; 0: the transfer must wait. One byte over the remaining number
        reveals excess data, which must not be passed on.

        @param most: the maximum size without a limit.
        """

    def consume(self, count: int) -> bool:
        """Count bytes that are about to be transferred.

        @return: whether they may be transferred. If not, the budget has ended the exchange.
        """
