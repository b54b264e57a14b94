"""Tests for L{egress.trust.changes}."""

from __future__ import annotations

from collections import deque
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.issuer import fingerprint_of
from egress.trust.anchors import State, Wanted
from egress.trust.changes import Action, Changes, Result
from egress.trust.execution import Programs
from tests.trust.authorities import CURRENT, NEXT, NOW, OTHER, PAST, PUBLIC
from tests.trust.fakes import MemoryStore

WANTED = Wanted((CURRENT, NEXT), frozenset({fingerprint_of(PAST)}))


class ChangesTests(SynchronousTestCase):
    """L{Changes}."""

    def apply(self, action: Action, store: MemoryStore, **given: Any) -> Result:
        """Change a store."""
        programs = Programs({})
        self.patch(programs, "execute", lambda steps: deque(map(store.execute, steps), maxlen=0))
        options: dict[str, Any] = {"others": False, "dry_run": False, **given}
        result = Changes(
            action=action, wanted=WANTED, programs=programs, now=NOW, ca_options="--ca-dir /ca", **options
        ).apply(store)
        self.assertIs(result.store, store)
        return result

    def changes(
        self, action: Action, before: list[x509.Certificate], after: list[x509.Certificate], **given: Any
    ) -> Result:
        """Assert the content of a store after an action, and that repeating the action changes nothing."""
        store = MemoryStore(*before)
        result = self.apply(action, store, **given)
        self.assertEqual(store.present, after)
        self.assertTrue(result.succeeded(action))
        again = self.apply(action, store, **given)
        self.assertEqual((again.steps, again.state, store.present), ((), result.state, after))
        return result

    def test_install(self) -> None:
        result = self.changes(Action.INSTALL, [PUBLIC], [PUBLIC, CURRENT, NEXT])
        self.assertEqual((result.state, len(result.steps)), (State.TRUSTED, 2))
        self.changes(Action.INSTALL, [NEXT, PUBLIC], [NEXT, PUBLIC, CURRENT])
        result = self.changes(Action.INSTALL, [OTHER], [OTHER, CURRENT, NEXT])
        self.assertEqual([entry.certificate for entry in result.old], [OTHER])

    def test_remove(self) -> None:
        """Only the certificates of this CA are removed."""
        result = self.changes(Action.REMOVE, [PUBLIC, PAST, CURRENT, OTHER], [PUBLIC, OTHER])
        self.assertIs(result.state, State.OLD_CA)
        self.changes(Action.REMOVE, [PUBLIC, PAST, CURRENT, OTHER], [PUBLIC], others=True)
        self.changes(Action.REMOVE, [PUBLIC], [PUBLIC])

    def test_status(self) -> None:
        store = MemoryStore(PUBLIC)
        result = self.apply(Action.STATUS, store)
        self.assertEqual((result.state, result.steps, store.present), (State.NOT_TRUSTED, (), [PUBLIC]))
        self.assertFalse(result.succeeded(Action.STATUS))
        self.assertTrue(self.apply(Action.STATUS, MemoryStore(CURRENT, NEXT)).succeeded(Action.STATUS))

    def test_dry_run(self) -> None:
        """It needs no permission."""
        store = MemoryStore(PUBLIC)
        store.protected = "/protected"
        result = self.apply(Action.INSTALL, store, dry_run=True)
        self.assertEqual((len(result.steps), result.state, store.present), (2, State.NOT_TRUSTED, [PUBLIC]))

    def test_permission(self) -> None:
        """It is needed only for changes."""
        store = MemoryStore(PUBLIC)
        store.protected = "/protected"
        result = self.apply(Action.INSTALL, store)
        expected = "/protected is not writable; run: sudo egress trust install --store nss --ca-dir /ca"
        self.assertEqual((result.fault, result.steps, store.present), (expected, (), [PUBLIC]))
        self.assertFalse(result.succeeded(Action.INSTALL))
        self.assertTrue(self.apply(Action.REMOVE, store).succeeded(Action.REMOVE))

    def test_unreadable(self) -> None:
        store = MemoryStore()
        store.fault = "certutil is missing"
        result = self.apply(Action.STATUS, store)
        self.assertEqual((result.fault, result.state), ("certutil is missing", None))

    def test_no_effect(self) -> None:
        """A program that reports success without effect is detected."""
        store = MemoryStore(PUBLIC)
        store.stubborn = True
        self.assertFalse(self.apply(Action.INSTALL, store).succeeded(Action.INSTALL))
        store = MemoryStore(CURRENT)
        store.stubborn = True
        self.assertFalse(self.apply(Action.REMOVE, store).succeeded(Action.REMOVE))
