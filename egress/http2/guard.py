"""The budget for frames that cause work without progress, such as resets and pings.

A peer that uses the protocol as intended sends few of them for each message. A flood of them exhausts the budget, which
ends the connection (RFC 9113 section 10.5; CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2025-8671).
"""

from __future__ import annotations

from typing import Final

from hyperframe.frame import DataFrame, Frame

from egress.http2.frames import CalmError

# The budget of a new connection, which is also the maximum, and the points that it regains in a second.
CAPACITY: Final = 1000
REFILL: Final = 100

# The cost of each type of frame (RFC 9113 section 6). HEADERS, CONTINUATION and DATA have other limits.
COSTS: Final = {2: 1, 3: 5, 4: 10, 5: 10, 6: 2, 7: 10, 8: 1}
_NAMES: Final = {
    2: "PRIORITY",
    3: "RST_STREAM",
    4: "SETTINGS",
    5: "PUSH_PROMISE",
    6: "PING",
    7: "GOAWAY",
    8: "WINDOW_UPDATE",
}
# Frames of another type are ignored. Browsers send one of them for each request (PRIORITY_UPDATE, RFC 9218).
UNKNOWN: Final = 1
# A frame without data that does not end its stream.
EMPTY_DATA: Final = 5
# A frame that makes this end reset a stream.
PROVOKED_RESET: Final = 10
# A frame with data, in either direction, pays for the updates of windows that it causes.
DATA_CREDIT: Final = 4
# The minimum size of such a frame.
DATA_BYTES: Final = 512
# A complete message pays for some cancelled ones.
MESSAGE_CREDIT: Final = 10


def is_bulk(frame: Frame) -> bool:
    """Whether a frame has much content.

    A server sends such frames until it notices the reset of a stream; the window of the stream limits them.
    """
    return isinstance(frame, DataFrame) and len(frame.data) >= DATA_BYTES


class Guard:
    """The budget of one connection.

    @param now: the time in seconds.
    """

    __slots__ = ("_points", "_since")

    def __init__(self, now: float) -> None:
        self._points = float(CAPACITY)
        self._since = now

    def earn(self, points: int) -> None:
        """Increase the budget, up to its maximum."""
        self._points = min(CAPACITY, self._points + points)

    def spend(self, points: int, cause: str, now: float) -> None:
        """Reduce the budget.

        @param cause: the frames that cause the work, for the error.
        @raise CalmError: if the budget is exhausted.
        """
        left = min(CAPACITY, self._points + (now - self._since) * REFILL)
        self._since = now
        self._points = left - points
        if self._points < 0:
            raise CalmError(f"too many frames without progress, the last ones are {cause}")

    def frame(self, kind: int, now: float) -> None:
        """Charge a received frame.

        @param kind: the type of the frame, other than DATA, HEADERS and CONTINUATION.
        @raise CalmError: if the budget is exhausted.
        """
        self.spend(COSTS.get(kind, UNKNOWN), _NAMES.get(kind, "of unknown types"), now)
