"""The samplers of C{OTEL_TRACES_SAMPLER}: which traces are exported."""

from __future__ import annotations

from typing import Final

import attrs

from egress.model.trace import TraceContext

DEFAULT: Final = "parentbased_always_on"

_PARENT_BASED: Final = "parentbased_"
_ROOTS: Final = ("always_on", "always_off", "traceidratio")

NAMES: Final = (*_ROOTS, *(_PARENT_BASED + name for name in _ROOTS))
"""The names of the samplers."""

_LOW_BITS: Final = (1 << 64) - 1


@attrs.frozen
class Sampler:
    """A sampler.

    @ivar parent_based: whether the decision of the client applies to its trace.
    @ivar ratio: the part of the other traces that is sampled, from 0 to 1.
    """

    parent_based: bool = True
    ratio: float = 1.0

    def samples(self, parent: TraceContext | None, trace_id: str) -> bool:
        """Whether a trace is exported.

        @param parent: the context that the client sent.
        @param trace_id: the id of the trace, in hexadecimal digits.
        """
        if self.parent_based and parent is not None:
            return parent.sampled
        # All samplers of a trace that have the same ratio decide in the same way.
        return int(trace_id, 16) & _LOW_BITS < round(self.ratio * (1 << 64))


def sampler(name: str, argument: str) -> Sampler:
    """Make a sampler.

    @param name: one of L{NAMES}.
    @param argument: the ratio, if the sampler has one; empty: 1.
    @raise ValueError: if one of them is invalid; the message names the fix.
    """
    if name not in NAMES:
        raise ValueError(f"choose {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    root = name.removeprefix(_PARENT_BASED)
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(root)
    if ratio is None:
        ratio = _ratio(argument)
    return Sampler(name.startswith(_PARENT_BASED), ratio)


def _ratio(argument: str) -> float:
    try:
        ratio = float(argument or "1")
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError("the ratio of OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1")
    return ratio
