"""Events that other processes confirm.

Each event has a random number, which each confirmation repeats.  So an earlier confirmation is not accepted, and only a
holder of the key can confirm.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from egress.shared.events import Event, SharedEvents

MAX_OPEN: Final = 100
"""The maximum number of events that wait for confirmations; others are sent and count as not confirmed."""

MAX_AGE: Final = 10.0
"""Seconds after which an event is not confirmed any more."""

_CONFIRMED: Final = "confirmed"


@attrs.define(eq=False)
class Confirmed:
    """The confirmations of one event.

    @ivar results: what each process reported, by its id.
    @ivar missing: the ids of the processes that did not confirm.
    """

    results: dict[str, Mapping[str, Any]]
    missing: set[str]


class Confirmations:
    """Sends events, and collects their confirmations.

    @param clock: limits the time of waiting.
    @param events: the events of other processes.
    """

    def __init__(self, clock: IReactorTime, events: SharedEvents) -> None:
        self._clock = clock
        self._events = events
        self._open: dict[str, tuple[Confirmed, Deferred[None]]] = {}
        events.handle(_CONFIRMED, self._received)
        events.left.append(self._left)
        events.urgent.append(lambda: bool(self._open))

    def ask(
        self,
        kind: str,
        content: Mapping[str, Any],
        members: Collection[str],
        *,
        seconds: float,
        again: bool = False,
    ) -> Deferred[Confirmed]:
        """Send an event, and wait until processes have confirmed it.

        @param kind: its type.
        @param content: what it adds.
        @param members: the ids of the processes.
        @param seconds: how long to wait.
        @param again: whether the event is sent with the next connection, if it is not sent now.
        """
        confirmed = Confirmed({}, set(members))
        nonce = os.urandom(16).hex()
        sent = self._events.send(kind, {**content, "nonce": nonce}, again=again)
        if not members or len(self._open) >= MAX_OPEN:
            return succeed(confirmed)
        done: Deferred[None] = Deferred()
        self._open[nonce] = confirmed, done
        timer = self._clock.callLater(seconds, done.callback, None)
        self._events.hurry()

        def attempted(was_sent: bool) -> None:
            if not was_sent and not done.called:
                done.callback(None)

        def finished(_: None) -> Confirmed:
            del self._open[nonce]
            if timer.active():
                timer.cancel()
            return confirmed

        sent.addCallback(attempted)
        return done.addCallback(finished)

    def confirm(self, event: Event, result: Mapping[str, Any]) -> None:
        """Confirm an event of another process.

        @param event: the event.
        @param result: what the other process needs to know.
        """
        # The process that sent it does not wait any more if someone repeats it later.
        if self._events.age(event) <= MAX_AGE:
            self._events.send(_CONFIRMED, {"nonce": event["nonce"], "result": result})

    def _received(self, event: Event) -> None:
        confirmed, done = self._open.get(event["nonce"], (None, None))
        if confirmed is not None and done is not None and event["from"] in confirmed.missing:
            confirmed.results[event["from"]] = dict(event["result"])
            _not_missing(event["from"], confirmed, done)

    def _left(self, member_id: str) -> None:
        """Do not wait for a process that has ended: it applies nothing any more."""
        for confirmed, done in list(self._open.values()):
            if member_id in confirmed.missing:
                _not_missing(member_id, confirmed, done)


def _not_missing(member_id: str, confirmed: Confirmed, done: Deferred[None]) -> None:
    confirmed.missing.remove(member_id)
    if not confirmed.missing and not done.called:
        done.callback(None)
