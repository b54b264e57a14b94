"""How long a client that behaves well waits while others attack, by what it wrote down.  Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# How many times as long as in peace, and of how many requests one must know at least, for that to mean anything.
RATIO = 3.0
ENOUGH = 500
# How long what a fault has broken may take to be well again: the authorization service is tried again within 10 s.
_RECOVERY = 15.0
_AFTERMATH = 1.0


@dataclass(frozen=True)
class Probe:
    """A request of the client that behaves well.

    @ivar began: on the clock that all share, in seconds.
    @ivar took: seconds.
    """

    id: str
    began: float
    took: float
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Window:
    """A fault as it really happened.

    @ivar attack: what the attackers did; empty for a fault of another kind.
    """

    began: float
    ended: float
    attack: str = ""


@dataclass(frozen=True)
class Waited:
    """How long requests took.

    @ivar p99: seconds.
    """

    requests: int
    p99: float


def waited(took: Sequence[float]) -> Waited:
    """Take the 99th percentile."""
    ranked = sorted(took)
    return Waited(len(ranked), ranked[math.ceil(len(ranked) * 0.99) - 1] if ranked else 0.0)


class Fairness:
    """Tells which requests were made in peace, and which during which attack.

    @ivar peace: how long requests took while nothing was wrong.
    @ivar attacks: the same for each kind of attack.
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
                        f"{probe.id}: while others attack ({window.attack}), a client that behaves well has "
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
        """Whether something else that was wrong before may still be."""
        return any(not other.attack and other.began < window.began < other.ended + _RECOVERY for other in self._windows)

    def failures(self) -> Iterable[str]:
        """What is unfair; a run of seconds says nothing of percentiles."""
        yield from self._starved
        if self.peace.requests < ENOUGH:
            return
        for kind, found in self.attacks.items():
            if found.requests >= ENOUGH and found.p99 > RATIO * self.peace.p99:
                yield (
                    f"{kind}: the p99 of a client that behaves well is {found.p99 * 1000:.1f} ms, and in peace "
                    f"{self.peace.p99 * 1000:.1f} ms"
                )
