"""The plan: what a fleet of any size needs, from the model and from measured costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.scaling import model
from benchmarks.scaling.model import Load, Rates
from egress.shared.events import HEARTBEAT, INTERVAL

FLEETS: Final = (1, 3, 10, 30, 100, 300, 1000)

# Beyond the first lookup: the lease, the second lookup, the decision, the lists of parts, and the end of the lease.
PER_QUESTION: Final = 5


@dataclass(frozen=True)
class Costs:
    """CPU time in microseconds.

    @ivar local: of a process, for a request whose decision it has.
    @ivar shared: the same, for a decision in the engine.
    @ivar call: the same, for a call of the authorizer.
    @ivar command: of the engine, for a command.
    """

    local: float
    shared: float
    call: float
    command: float


def commands(rates: Rates, processes: int) -> float:
    """Return the commands that the engine receives in a second."""
    return rates.lookups + PER_QUESTION * rates.questions + processes * (1 / INTERVAL + 1 / HEARTBEAT)


def events(processes: int) -> float:
    """Return the events that the engine sends in a second: each process reads the heartbeats of all."""
    return processes * processes / HEARTBEAT


def lines(load: Load, costs: Costs, fleets: Sequence[int] = FLEETS) -> Iterator[str]:
    """Return the table.

    @param load: the requests of one replica; a larger fleet has more of the same requests.
    """
    yield (
        "| Replicas | Requests/s | Calls/s without sharing | Calls/s | Lookups/s | Commands/s | Cores of the engine"
        " | Events/s | Cores of each replica |"
    )
    yield "| ---: " * 9 + "|"
    for number in fleets:
        whole = replace(load, rate=load.rate * number)
        rates = model.shared(whole, number)
        sent = commands(rates, number)
        local = whole.rate - rates.lookups
        cpu = local * costs.local + (rates.lookups - rates.questions) * costs.shared + rates.questions * costs.call
        cells = (
            *(f"{number:,}", f"{whole.rate:,.0f}", f"{model.alone(whole, number).questions:,.0f}"),
            *(f"{rates.questions:,.0f}", f"{rates.lookups:,.0f}", f"{sent:,.0f}"),
            *(f"{sent * costs.command / 1e6:.2f}", f"{events(number):,.0f}", f"{cpu / number / 1e6:.2f}"),
        )
        yield "| " + " | ".join(cells) + " |"
