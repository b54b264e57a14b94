"""The response times of the measuring client during attacks, from its journal.  Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The limit of the ratio to the time without faults, and the minimum number of requests for a meaningful percentile.
RATIO = 3.0
ENOUGH = 500
# The recovery time after a fault: the proxy retries the authorization service within 10 seconds.
_RECOVERY = 15.0
_AFTERMATH = 1.0


@dataclass(frozen=True)
class Probe:
    """A request of the measuring client.

    @ivar began: the start on the shared clock, in seconds.
    @ivar took: the duration in seconds.
    """

    id: str
    began: float
    took: float
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Window:
    """A fault with its actual times.

    @ivar attack: the kind of the attack; empty for other faults.
    """

    began: float
    ended: float
    attack: str = ""


@dataclass(frozen=True)
class Waited:
    """The durations of requests.

    @ivar p99: the 99th percentile in seconds.
    """

    requests: int
    p99: float


def waited(took: Sequence[float]) -> Waited:
    """Compute the 99th percentile."""
    ranked = sorted(took)
    return Waited(len(ranked), ranked[math.ceil(len(ranked) * 0.99) - 1] if ranked else 0.0)


class Fairness:
    """Assigns each request to an attack, or to a time without faults.

    @ivar peace: the durations of requests without faults.
    @ivar attacks: the durations for each kind of attack.
    """

    def __init__(self, probes: Sequence[Probe], windows: Sequence[Window]) -> None:
        self._windows = sorted(windows, key=lambda window: window.began)
        self._starts = [window.began for window in self._windows]
        took: dict[str, list[float]] = defaultdict(list)
        self._starved: list[str] = []
        for probe in probes:
            window = self._around(probe.began)
            if window is None:
                if probe.outcome == "complete":
                    took[""].append(probe.took)
            elif window.attack and probe.began < window.ended:
                if probe.outcome == "complete":
                    took[window.attack].append(probe.took)
                elif not self._broken_before(window):
                    self._starved.append(
                        f"{probe.id}: during an attack ({window.attack}), the measuring client has "
                        f"{probe.outcome} ({probe.detail})"
                    )
        self.peace = waited(took.pop("", []))
        self.attacks = {kind: waited(times) for kind, times in sorted(took.items())}

    def _around(self, at: float) -> Window | None:
        number = bisect_right(self._starts, at) - 1
        if number < 0:
            return None
        window = self._windows[number]
        return window if at < window.ended + _AFTERMATH else None

    def _broken_before(self, window: Window) -> bool:
        """Whether an earlier fault may still have an effect."""
        return any(not other.attack and other.began < window.began < other.ended + _RECOVERY for other in self._windows)

    def failures(self) -> Iterable[str]:
        """Return the violations.  A run of a few seconds gives no percentiles."""
        yield from self._starved
        if self.peace.requests < ENOUGH:
            return
        for kind, found in self.attacks.items():
            if found.requests >= ENOUGH and found.p99 > RATIO * self.peace.p99:
                yield (
                    f"{kind}: the p99 of the measuring client is {found.p99 * 1000:.1f} ms, and without faults "
                    f"{self.peace.p99 * 1000:.1f} ms"
                )
