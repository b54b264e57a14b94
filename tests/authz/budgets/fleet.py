"""Processes that share budgets in an engine in memory."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets import script
from egress.authz.budgets.charge import Charge
from egress.authz.budgets.ledger import BudgetLedger
from egress.authz.budgets.setup import by_name
from egress.authz.budgets.shares import Shares
from egress.authz.budgets.token_bucket import Operation, Rate, State, operate
from egress.model.budget import Budget, Unit
from egress.model.decision import ClientIdentity
from egress.model.errors import BudgetExhausted, BudgetUnavailable
from egress.shared.keys import SharedKeys
from tests.authz.fakes import REQUEST
from tests.shared.engine import Engine, EngineClient

KEYS = SharedKeys(bytes(32), "budgets")
# The clock of the engine differs from that of the processes.
AHEAD = 5000.0


def budget(unit: Unit = Unit.REQUESTS, amount: int = 10, per: float = 10.0, **changes: Any) -> Budget:
    """Return a budget, which by default is refilled by one request per second."""
    fields = {"rule_id": "r", "table": "budget", "capacity": amount, **changes}
    return Budget(unit=unit, amount=amount, per=per, **fields)


class BudgetEngine(Engine):
    """An engine that runs the scripts of budgets, as L{operate} describes them.

    @ivar states: the states of the buckets.
    @ivar members: the members, with the times of their registration.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.states: dict[bytes, State] = {}
        self.members: dict[str, float] = {}
        self._scripts = 0

    @property
    def now(self) -> int:
        """The time in microseconds, which no two scripts have in common."""
        return round(1e6 * (self._clock.seconds() + AHEAD)) + self._scripts

    def lose_data(self) -> None:
        """Lose all data, as a restart without files does."""
        self.states.clear()
        self.members.clear()

    def _script(self, text: str, keys: int, *arguments: Any) -> Any:
        self._scripts += 1
        now = self.now
        if text == script.MEMBERS.text:
            is_new = arguments[1] not in self.members
            self.members[arguments[1]] = now
            self.members = {name: time for name, time in self.members.items() if time > now - arguments[2]}
            return [len(self.members), int(is_new)]
        assert text == script.TAKE.text
        names, numbers = arguments[:keys], arguments[keys:]
        operations = []
        for index in range(keys):
            interval, capacity, *rest, moved = numbers[8 * index : 8 * index + 8]
            owed, need, want, seen, generation = map(int, rest)
            rate = Rate(float(interval), int(capacity))
            operations.append(Operation(rate, owed, need, want, seen, generation, moved == "1"))
        enough, outcomes, states = operate([self.states.get(name) for name in names], operations, now)
        for name, state in zip(names, states, strict=True):
            if state.full_at > now:
                self.states[name] = state
            else:
                self.states.pop(name, None)
        reply: list[int] = [int(enough), now]
        for each in outcomes:
            reply += [each.granted, each.full_at, each.generation]
        return reply


class Process:
    """A process that counts budgets.

    @param engine: the engine; C{None}: there is none.
    """

    def __init__(self, clock: Clock, engine: BudgetEngine | None = None, *, processes: int = 1, **options: Any) -> None:
        self.client = None if engine is None else EngineClient(engine)
        client: Any = self.client
        keys = None if engine is None else KEYS
        self.shares = Shares(clock, client, keys, processes=processes, is_used=lambda: True)
        self.ledger = BudgetLedger(clock, self.shares, by_name, **options)
        if self.client is not None:
            self.client.on_connected = self.shares.connected
            self.shares.connected()

    def lose(self) -> None:
        """Lose the connection."""
        assert self.client is not None
        self.client.lose()

    def connect(self) -> None:
        """Connect."""
        assert self.client is not None
        self.client.connect()

    def take(self, *budgets: Budget, **changes: Any) -> Deferred[Charge]:
        return self.ledger.take(attrs.evolve(REQUEST, **changes), budgets)


class FleetTestCase(SynchronousTestCase):
    """Base: an engine, and processes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = BudgetEngine(self.clock)
        self.clock.advance(1000)

    def process(self, **options: Any) -> Process:
        """Return a process that uses the engine, and has counted the others."""
        made = Process(self.clock, self.engine, **options)
        made.shares.start()
        self.addCleanup(made.shares.stop)
        self.clock.advance(1)
        return made

    def permitted(self, process: Process, *budgets: Budget, most: int = 1000, **changes: Any) -> int:
        """Return how many requests are permitted until one is refused."""
        for number in range(most):
            taking = process.take(*budgets, **changes)
            if isinstance(getattr(taking, "result", None), Charge):
                continue
            self.failureResultOf(taking, BudgetExhausted, BudgetUnavailable)
            return number
        return most


def client(name: str | None = None, address: str = "192.0.2.1") -> ClientIdentity:
    """Return a client."""
    return ClientIdentity(address, 1, name)
