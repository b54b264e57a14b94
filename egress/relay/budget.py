"""The number of bytes that a relay may carry."""

from __future__ import annotations

from typing import Protocol


class ByteBudget(Protocol):
    """Counts the bytes of a tunnel or an exchange against its limit.  A L{egress.proxy.lease.Lease} is one."""

    @property
    def remaining(self) -> int | None:
        """The number of bytes that may still flow; C{None} without a limit."""

    def consume(self, count: int) -> bool:
        """Count bytes that are about to flow.

        @return: whether they may flow.  If not, the budget has ended the exchange.
        """
