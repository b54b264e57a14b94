"""Tests for L{egress.authz.budgets.setup}."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets.charge import Charge
from egress.authz.budgets.setup import BudgetCounting, budget_counting, by_address, by_name
from egress.authz.chain_dependencies import ChainDependencies
from egress.config.listener import Listener
from egress.config.model import Mode, ProxyConfig
from egress.model.budget import By
from egress.model.errors import BudgetExhausted
from egress.observability.metrics import Metrics
from egress.policy.rules import RuleSet
from tests.authz.budgets.fleet import KEYS, BudgetEngine, budget, client
from tests.authz.fakes import REQUEST
from tests.policy.policies import parse
from tests.shared.engine import EngineClient

LIMITED = parse('version = 1\n[[rules]]\naction = "allow"\n[rules.rate]\nrequests = 2\nper = "1m"\n')


class CountingTests(SynchronousTestCase):
    """The counting that a configuration describes."""

    def counting(
        self, rules: RuleSet | None = None, processes: int = 1, shared: Any = None, **options: Any
    ) -> BudgetCounting:
        reactor: Any = MemoryReactorClock()
        around = ChainDependencies(
            reactor=reactor,
            sockets=reactor,
            config=ProxyConfig(**options),
            authz_trust=None,  # type: ignore[arg-type]
            behind_upstream=None,  # type: ignore[arg-type]
            metrics=Metrics(),
            log=None,
            processes=processes,
        )
        return budget_counting(around, shared, lambda: rules)

    def test_clients(self) -> None:
        named = attrs.evolve(REQUEST, client=client("ann", "2001:db8::1"))
        self.assertEqual((by_name(named), by_address(named)), ("name ann", "address 2001:db8::/64"))
        self.assertEqual(by_name(REQUEST), by_address(REQUEST))

    def test_unverified_names(self) -> None:
        """A client that chooses its name does not get a new budget with each one."""
        limited = budget(amount=1, by=By.CLIENT)
        some = (Listener("tcp:1", sets_auth=True), Listener("tcp:2"))
        for options, expected in (
            ({}, 1),
            ({"client_auth": Path("clients.txt")}, 2),
            ({"client_auth": Path("clients.txt"), "listen": some}, 1),
        ):
            ledger = self.counting(**options).ledger
            permitted = 0
            for name in ("ann", "bob"):
                taking = ledger.take(attrs.evolve(REQUEST, client=client(name)), (limited,))
                if isinstance(getattr(taking, "result", None), Charge):
                    permitted += 1
                else:
                    self.failureResultOf(taking, BudgetExhausted)
            self.assertEqual(permitted, expected)

    def test_observe_mode(self) -> None:
        ledger = self.counting(mode=Mode.OBSERVE).ledger
        for _ in range(3):
            charge = self.successResultOf(ledger.take(REQUEST, (budget(amount=1),)))
        self.assertIsNotNone(charge.observed)

    def test_use(self) -> None:
        """Whether there are budgets: in the policy, or in decisions so far."""
        for rules, expected in ((None, False), (parse("version = 1"), False), (LIMITED, True)):
            counting = self.counting(rules)
            self.assertEqual(counting.is_used(), expected)
        counting = self.counting()
        self.successResultOf(counting.ledger.take(REQUEST, (budget(),)))
        self.assertTrue(counting.is_used())

    def test_shared_state(self) -> None:
        """The counting learns of each connection to the engine."""
        engine = BudgetEngine(Clock())
        events = SimpleNamespace(connected=[])
        shared = SimpleNamespace(client=EngineClient(engine), keys=lambda purpose: KEYS, events=events)
        counting = self.counting(LIMITED, shared=shared)
        for connected in events.connected * 2:
            connected()
        self.assertEqual(counting.shares.connection, 2)
        self.assertIsNone(self.successResultOf(counting.check()))
        self.successResultOf(counting.ledger.take(REQUEST, (budget(),)))
        self.assertEqual(len(engine.states), 1)

    def test_life(self) -> None:
        counting = self.counting(LIMITED, processes=3)
        counting.start()
        self.assertEqual(counting.shares.weight, 3)
        counting.stop()
