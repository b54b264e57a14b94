"""Changes of trust stores, and their states."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime

import attrs

from egress.trust.anchors import Entry, State, Wanted
from egress.trust.execution import Programs, StoreFault
from egress.trust.steps import Step
from egress.trust.stores import Store


class Action(enum.Enum):
    """What to do with a store.

    @cvar INSTALL: add the certificates that are missing.
    @cvar REMOVE: remove the certificates of this CA.
    @cvar STATUS: change nothing.
    """

    INSTALL = "install"
    REMOVE = "remove"
    STATUS = "status"


@attrs.frozen(kw_only=True)
class Result:
    """The state of a store after an action.

    @ivar store: the store.
    @ivar state: its state; C{None} if it cannot be read.
    @ivar entries: the certificates of this CA in it.
    @ivar old: other CAs in it that a proxy generated, and earlier certificates of this CA.
    @ivar steps: the steps of the action; empty if nothing had to change.
    @ivar fault: why the action failed.
    """

    store: Store
    state: State | None = None
    entries: tuple[Entry, ...] = ()
    old: tuple[Entry, ...] = ()
    steps: tuple[Step, ...] = ()
    fault: str | None = None

    def succeeded(self, action: Action) -> bool:
        """Return whether the store is as the action wants it."""
        if self.fault is not None:
            return False
        return not self.entries if action is Action.REMOVE else self.state is State.TRUSTED


@attrs.frozen(kw_only=True)
class Changes:
    """Changes stores, or shows how.

    @ivar action: what to do.
    @ivar wanted: the certificates of the CA.
    @ivar others: whether to remove other CAs that a proxy generated, too.
    @ivar programs: run the commands.
    @ivar dry_run: whether to change nothing.
    @ivar now: the time.
    @ivar ca_options: the options that select the CA for another user, for a shell.
    """

    action: Action
    wanted: Wanted
    others: bool
    programs: Programs
    dry_run: bool
    now: datetime
    ca_options: str

    def apply(self, store: Store) -> Result:
        """Change one store."""
        try:
            entries = store.entries()
        except StoreFault as error:
            return Result(store=store, fault=str(error))
        try:
            steps = self._steps(store, entries)
            if steps and not self.dry_run:
                path = store.unwritable()
                if path is not None:
                    command = f"sudo egress trust {self.action.value} --store {store.kind} {self.ca_options}"
                    raise StoreFault(f"{path} is not writable; run: {command}")
                self.programs.execute(steps)
                entries = store.entries()
        except StoreFault as error:
            return self._result(store, entries, fault=str(error))
        return self._result(store, entries, steps=steps)

    def _steps(self, store: Store, entries: Sequence[Entry]) -> list[Step]:
        if self.action is Action.INSTALL:
            missing = self.wanted.missing(entries)
            return store.install(missing) if missing else []
        if self.action is Action.REMOVE:
            unwanted = [*self.wanted.own(entries), *(self._others(entries) if self.others else ())]
            return store.remove(unwanted) if unwanted else []
        return []

    def _others(self, entries: Sequence[Entry]) -> list[Entry]:
        own = {entry.fingerprint for entry in self.wanted.own(entries)}
        return [entry for entry in self.wanted.old(entries) if entry.fingerprint not in own]

    def _result(
        self, store: Store, entries: Sequence[Entry], *, steps: Sequence[Step] = (), fault: str | None = None
    ) -> Result:
        return Result(
            store=store,
            state=self.wanted.state(entries, self.now),
            entries=tuple(self.wanted.own(entries)),
            old=tuple(self.wanted.old(entries)),
            steps=tuple(steps),
            fault=fault,
        )
