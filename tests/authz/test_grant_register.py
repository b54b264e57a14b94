"""Tests for L{egress.authz.grant_register}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz import grant_register as module
from egress.authz.grant_register import MAX_SKEW, GrantRegister, Witness, key_of
from egress.model.approval import Grant, GrantScope, GrantTimes
from egress.model.revocation import Revocation, RevocationKind
from tests.authz.fakes import REQUEST

SCOPE = GrantScope.of(REQUEST, "r")


def grant(created: float, name: str = "g", **changes: Any) -> Grant:
    return attrs.evolve(Grant(name, SCOPE, created + 3600, "ann", "", created=created), **changes)


def revocation(time: float, name: str = "v", rule: str = "r") -> Revocation:
    return Revocation(RevocationKind.RULE, rule, time, "alice", name)


class RegisterTestCase(SynchronousTestCase):
    """Base: a register."""

    def setUp(self) -> None:
        self.register = GrantRegister(shares=True)

    def add(self, each: Grant, before: Grant | None = None) -> None:
        self.assertTrue(self.register.accepts(each))
        self.register.added(each, before)


class AcceptedTests(RegisterTestCase):
    """A grant that arrives must be newer than the revocations that cover it."""

    def test_without_shared_state(self) -> None:
        self.register = GrantRegister()
        self.add(grant(5.0))
        self.register.revoke_matching(revocation(6.0))
        self.assertTrue(self.register.accepts(grant(5.0)))
        self.assertTrue(self.register.is_in_force(grant(5.0)))
        self.register = GrantRegister(shares=True)
        self.assertEqual((self.register.horizon, self.register.last_revocation), (float("-inf"), float("-inf")))

    def test_revoked(self) -> None:
        """It does not come back, whenever its event arrives."""
        self.add(grant(5.0))
        self.assertTrue(self.register.revoke("g", "v", 6.0))
        # The clock of the approver's replica can be ahead.
        for created in (5.0, 6.0 + MAX_SKEW):
            self.assertFalse(self.register.accepts(grant(created)))
        self.add(grant(6.1 + MAX_SKEW))
        self.add(grant(5.0, "other"))
        self.assertEqual(self.register.last_revocation, 6.0 + MAX_SKEW)

    def test_revoked_with_others(self) -> None:
        self.register.revoke_matching(revocation(6.0))
        self.assertFalse(self.register.accepts(grant(6.0 + MAX_SKEW)))
        self.assertTrue(self.register.accepts(grant(6.1 + MAX_SKEW)))
        other = attrs.evolve(SCOPE, rule_id="other")
        self.assertTrue(self.register.accepts(grant(5.0, subject=other)))
        self.assertEqual(self.register.last_revocation, 6.0 + MAX_SKEW)

    def test_repeated_revocation(self) -> None:
        """An earlier revocation that someone repeats does not end a new grant."""
        self.register.revoke("g", "v1", 6.0)
        self.register.revoke("g", "v2", 7.0)
        for name, time in (("v1", 6.0), ("v2", 7.0)):
            self.assertFalse(self.register.revoke("g", name, time))
        made = self.register.make(grant(7.5))
        self.assertEqual(made.after, ("v2",))
        self.assertTrue(self.register.accepts(made))

    def test_new_grant(self) -> None:
        """A grant that an approver makes just after a revocation names it, so it is in force everywhere at once."""
        other = GrantRegister(shares=True)
        for each in (self.register, other):
            each.revoke_matching(revocation(6.0, "v1"))
            each.revoke_matching(revocation(6.0, "v2", rule="other"))
            each.revoke("g", "v3", 6.5)
        made = other.make(grant(7.0))
        self.assertEqual(made.after, ("v1", "v3"))
        self.add(made)
        # A later revocation voids it, also if its event arrives afterwards.
        self.register.revoke_matching(revocation(7.5, "v4"))
        self.assertFalse(self.register.accepts(made))

    def test_times(self) -> None:
        """The times of a grant with an unknown scope name all revocations that are as new."""
        self.assertEqual(self.register.times(7.0, 67.0), GrantTimes(7.0, 67.0))
        self.register.revoke("old", "v0", 7.0 - MAX_SKEW - 0.1)
        self.register.revoke("g", "v2", 6.5)
        self.register.revoke_matching(revocation(6.0, "v1"))
        self.register.revoke_matching(revocation(6.7, "v3", rule="other"))
        times = self.register.times(7.0, 67.0)
        self.assertEqual(times, GrantTimes(7.0, 67.0, ("v1", "v2", "v3")))
        self.add(times.apply(grant(1.0)))
        # The last ones, if there are many.
        for number in range(module.MAX_AFTER):
            self.register.revoke(f"g{number}", f"w{number}", 6.8)
        self.assertEqual(
            set(self.register.times(7.0, 67.0).after), {f"w{number}" for number in range(module.MAX_AFTER)}
        )

    def test_is_revoked(self) -> None:
        """A grant that another one replaces is not revoked."""
        self.add(grant(5.0))
        self.assertFalse(self.register.accepts(grant(4.0)))
        self.assertFalse(self.register.is_revoked(grant(4.0)))
        self.register.revoke("g", "v", 4.5)
        self.assertTrue(self.register.is_revoked(grant(4.0)))
        self.assertFalse(self.register.is_revoked(grant(4.0, after=("v",))))
        self.register.revoke_matching(revocation(4.5, "w"))
        self.assertTrue(self.register.is_revoked(grant(4.0, after=("v",))))
        self.assertFalse(self.register.is_revoked(grant(4.0, after=("v", "w"))))
        self.assertFalse(GrantRegister().is_revoked(grant(4.0)))

    def test_number_of_named_revocations(self) -> None:
        for number in range(module.MAX_AFTER + 1):
            self.register.revoke_matching(revocation(6.0, f"v{number}"))
        made = self.register.make(grant(7.0))
        self.assertEqual(len(made.after), module.MAX_AFTER)
        self.assertFalse(self.register.accepts(made))

    def test_replaced(self) -> None:
        """A grant that a later one has replaced does not come back, also not to a process that starts later."""
        first = grant(5.0)
        self.add(first)
        second = self.register.make(grant(4.0))
        self.assertGreater(second.created, first.created)
        self.add(second, first)
        self.assertFalse(self.register.accepts(first))
        self.assertTrue(self.register.accepts(second))
        self.assertEqual(self.register.last_revocation, first.created)

    def test_bounded(self) -> None:
        """What is forgotten is replaced by a time before which no grant is accepted."""
        self.patch(module, "MAX_REVOCATIONS", 1)
        self.patch(module, "MAX_IDS", 1)
        self.register.revoke_matching(revocation(6.0, "v1"))
        self.register.revoke_matching(revocation(8.0, "v2", rule="other"))
        self.assertFalse(self.register.accepts(grant(7.0)))
        self.assertTrue(self.register.accepts(grant(8.1)))
        self.register.revoke("a", "v3", 20.0)
        self.register.revoke("b", "v4", 30.0)
        self.assertFalse(self.register.accepts(grant(21.0, "a")))
        self.assertTrue(self.register.is_revoked(grant(21.0, "a")))
        self.add(grant(40.0, "a"))
        self.add(grant(50.0, "b"))
        self.assertFalse(self.register.accepts(grant(39.0, "c")))
        self.assertEqual(self.register.last_revocation, 40.0)


class JoinedTests(RegisterTestCase):
    """A process that connects uses what others know."""

    def in_force(self, *grants: Grant) -> list[bool]:
        return [self.register.is_in_force(each) for each in grants]

    def test_lost(self) -> None:
        """Without the engine, only the grants of local approvers are in force."""
        before = grant(5.0)
        self.add(before)
        self.register.lose()
        made = self.register.make(grant(6.0, "here"))
        sibling, other = grant(6.0, "sibling"), grant(6.0, "other")
        self.register.trust(sibling)
        self.assertEqual(self.in_force(before, made, sibling, other), [False, True, True, False])
        self.assertEqual(self.register.own, {key_of(made), key_of(sibling)})
        self.register.join()
        self.assertEqual(self.in_force(before, made, sibling), [True] * 3)
        self.assertEqual(self.register.own, set())
        self.register.trust(other)
        self.assertEqual(self.register.own, set())

    def test_witness(self) -> None:
        """A grant from before must be known to the other process."""
        self.register.lose()
        known, unknown, new = grant(5.0), grant(6.0), grant(7.1)
        self.register.hear(Witness(7.0, frozenset({key_of(known)})))
        self.assertEqual(self.in_force(known, unknown, new), [False] * 3)
        self.register.join()
        self.assertEqual(self.in_force(known, unknown, new), [True, False, True])
        self.assertEqual(self.register.horizon, 7.0)

    def test_several_witnesses(self) -> None:
        """A grant must be in force for each of them."""
        one, two, both = grant(1.0, "one"), grant(2.0, "two"), grant(3.0, "both")
        self.register.hear(Witness(10.0, frozenset({key_of(one), key_of(both)})))
        self.register.hear(Witness(20.0, frozenset({key_of(two), key_of(both), key_of(grant(11.0))})))
        found = self.in_force(one, two, both, grant(11.0), grant(12.0), grant(21.0))
        self.assertEqual(found, [False, False, True, True, False, True])

    def test_stored(self) -> None:
        """The audit store confirms earlier grants, but a process that responds later can know more revocations."""
        first, made = grant(5.0), grant(9.0, "made")
        self.register.confirm_stored([first])
        self.assertTrue(self.register.is_in_force(first))
        self.register.continue_alone(7.0)
        self.assertFalse(self.register.is_in_force(first))
        self.register.confirm_stored([first, grant(5.0, "other")])
        self.assertTrue(self.register.is_in_force(first))
        self.register.confirm(grant(6.0, "new"))
        self.register.follow(Witness(6.5, frozenset()))
        self.assertFalse(self.register.is_in_force(first))
        self.assertTrue(self.register.is_in_force(grant(6.0, "new")))
        self.register.confirm_stored([first])
        self.assertTrue(self.register.is_in_force(first))
        self.register.hear(Witness(8.0, frozenset([key_of(made)])))
        self.assertFalse(self.register.is_in_force(first))
        self.assertTrue(self.register.is_in_force(made))

    def test_alone(self) -> None:
        """The first process uses the grants of later; another one that responds late knows the earlier ones."""
        self.register.lose()
        self.register.continue_alone(7.0)
        self.register.join()
        early, live = grant(5.0), grant(6.5, "live")
        self.register.confirm(live)
        self.assertEqual(self.in_force(early, live, grant(7.1)), [False, True, True])
        self.register.hear(Witness(-1.0, frozenset()))
        self.assertEqual((self.in_force(early), self.register.alone_since), ([False], 7.0))
        self.register.follow(Witness(6.9, frozenset({key_of(early)})))
        self.assertEqual(self.register.alone_since, float("-inf"))
        self.assertEqual(self.in_force(early, live, grant(6.8)), [True, True, False])
        # Another one tells the same.
        self.register.follow(Witness(5.5, frozenset({key_of(early)})))
        self.assertEqual(self.in_force(early, live), [True, True])
