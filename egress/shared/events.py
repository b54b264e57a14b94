"""Events that replicas send to each other: revocations, approvers' decisions, and what a replica must know before it
uses shared decisions.

All events are in one stream of the engine.  Each process reads it every half second, and more often while something
waits for an event.  An event is a sealed value, so only a holder of the key can send one.  Someone who can write to the
engine can remove events and repeat earlier ones: a repeated event has no effect, and one that is too old is ignored.

A process that connects does not know the revocations that were made before.  So it uses no decision from before the
connection, until another process has told it from which time on that process knows all revocations.  Its event
has a random number, and so has the response: an earlier response is not accepted.

After a failover, a connection is to another engine.  Its stream can lack the last events, and its clock, which numbers
the events, can differ.  So after each connection, a process reads again the events of the last L{MAX_AGE} seconds, or
all events after its start.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.model.revocation import Revocation
from egress.shared.client import SharedClient
from egress.shared.keys import SharedKeys
from egress.shared.members import UNKNOWN, Member, Members
from egress.shared.redis_protocol import UNUSABLE
from egress.shared.stream import earlier, entries_of, is_number, position

_log = Logger()

INTERVAL: Final = 0.5
"""Seconds between two reads of the stream."""

SHORT_INTERVAL: Final = 0.1
"""The same while something waits for an event."""

HEARTBEAT: Final = 5.0
"""Seconds after which a process sends an event, so that others know that it is still there."""

MAX_EVENTS: Final = 100
"""The maximum number of events in one read; others wait for the next one, which then is soon."""

MAX_SKEW: Final = 2.0
"""Seconds by which the clocks of replicas may differ."""

ALONE_AFTER: Final = 1.0
"""Seconds after which a process without a response continues as the first one."""

MAX_AGE: Final = 300.0
"""Seconds after which an event is ignored, and after which a revocation is not sent again."""

MAX_HELLO: Final = 10.0
"""Seconds after which a process that has connected does not wait for a response any more."""

MAX_KNOWN: Final = 10_000
"""The maximum number of revocations that a process remembers, so that it applies each of them once."""

MAX_UNSENT: Final = 1000
"""The maximum number of events that are sent with the next connection."""

NEW_FOR: Final = 8.0
"""Seconds after a connection in which each event names it.  Others thus know that their next events are later."""

MAX_CONNECTIONS: Final = 50
"""The maximum number of new connections that an event refers to."""

MAX_EVENT: Final = 8 * 1024
"""The maximum size of an event, in bytes."""

# The stream has about this number of events.
_LENGTH: Final = 1000
_FIELD: Final = b"e"
_ID_BYTES: Final = 8

Event = Mapping[str, Any]
"""An event: C{type}, C{time}, the C{from}, C{node}, C{waiting} and C{connection} of its sender, and what its type
adds.
"""


class SharedEvents:
    """Sends events to other replicas, and receives theirs.

    @param now: returns the time in seconds since the epoch.
    @ivar on_revocation: is called with each revocation of another process.
    @ivar on_since: is called with the time from which on all revocations are known, in seconds since the epoch.  After
        each connection, it is the present time; when another process has responded, an earlier one.
    @ivar connected: the functions that are called after each connection.
    @ivar left: the functions that are called with the id of each process that ends.
    @ivar rejected: the number of events that no holder of the key sent.
    @ivar member_id: identifies this process.
    @ivar connection: identifies the last connection of this process, at random.
    @ivar urgent: the functions that return whether something waits for an event.
    """

    def __init__(
        self, clock: IReactorTime, client: SharedClient, keys: SharedKeys, now: Callable[[], float], *, node: str = ""
    ) -> None:
        """Prepare to send and receive.

        @param node: the name of this machine.
        """
        self.on_revocation: Callable[[Revocation], object] = lambda revocation: None
        self.on_since: Callable[[float], object] = lambda since: None
        self.connected: list[Callable[[], object]] = []
        self.left: list[Callable[[str], object]] = []
        self.rejected = 0
        self.node = node
        self.member_id = os.urandom(_ID_BYTES).hex()
        self.connection = ""
        self.urgent: list[Callable[[], bool]] = []
        self._clock = clock
        self._client = client
        self._keys = keys
        self._now = now
        self._handlers: dict[str, Callable[[Event], object]] = {}
        self._members = Members()
        self._is_waiting = False
        self._sent_at = 0.0
        self._is_reading = False
        # The events that must not be lost, and were not sent.
        self._unsent: deque[Event] = deque(maxlen=MAX_UNSENT)
        self._stream = keys.name(keys.group(b"events"), b"events")
        self._timer: IDelayedCall | None = None
        self._started_at = 0.0
        self._connected_at = 0.0
        self._new_until = 0.0
        self._nonce: str | None = None
        # The number of the last event that was read; None: it is not known yet where to begin after a connection.
        self._last: bytes | None = None
        # The same for the connection before.
        self._previous: bytes | None = None
        # The time from which on this process knows all revocations; None: another process may know more.
        self._since: float | None = None
        # The time of the last revocation.
        self._revoked_at = 0.0
        self._known: OrderedDict[str, Revocation] = OrderedDict()

    def start(self) -> None:
        """Read events from now on."""
        self._started_at = self._now()
        self._client.on_connected = self._connected
        self._timer = self._clock.callLater(0, self._tick)

    @property
    def is_ready(self) -> bool:
        """Whether events can be sent."""
        return self._client.is_ready

    def stop(self) -> None:
        """Do not read events any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def revoked(self, revocation: Revocation) -> None:
        """Send a revocation that this process has applied, unless another process sent it."""
        if self.remember(revocation):
            self._send(_revocation(revocation), again=True)

    def remember(self, revocation: Revocation) -> bool:
        """Remember a revocation.

        @return: whether it is new.
        """
        if revocation.revocation_id in self._known:
            return False
        self._known[revocation.revocation_id] = revocation
        self._revoked_at = max(self._revoked_at, revocation.time)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return True

    # -- events of other parts of the proxy

    def handle(self, kind: str, handler: Callable[[Event], object]) -> None:
        """Call a function with each event of a type that another process has sent."""
        self._handlers[kind] = handler

    def send(self, kind: str, content: Mapping[str, Any], *, again: bool = False) -> Deferred[bool]:
        """Send an event to all other processes.

        @param again: whether it is sent with the next connection, if it is not sent now.
        @return: fires with whether it was sent now.
        """
        sent = self._send({**content, "type": kind, "time": self._now()}, again=again)
        return sent.addCallback(lambda number: number is not None)

    def age(self, event: Event) -> float:
        """Return how many seconds ago an event was sent."""
        age: float = self._now() - event["time"]
        return age

    def hurry(self) -> None:
        """Read events soon, because something waits for one from now on."""
        if self._timer is not None and self._timer.getTime() > self._clock.seconds() + SHORT_INTERVAL:
            self._timer.reset(SHORT_INTERVAL)

    # -- members

    def members(self) -> list[Member]:
        """Return the other processes of all replicas."""
        return self._members.current(self._now())

    def expected(self) -> list[Member]:
        """Return the other processes that must confirm something: L{UNKNOWN} if the engine was away for long."""
        return self.members() or ([] if self.is_ready else [UNKNOWN])

    def new_connections(self) -> list[str]:
        """Return the connections of other processes that are new, and known here."""
        members = sorted(self.members(), key=lambda each: each.seen)
        return [each.connection for each in members if each.connection][-MAX_CONNECTIONS:]

    def leave(self) -> Deferred[Any]:
        """Tell other processes that this one ends."""
        return self._send({"type": "leaving", "time": self._now()}) if self._client.is_ready else succeed(None)

    def tell_waiting(self, is_waiting: bool) -> None:
        """Tell other processes whether requests wait here for an approver."""
        if self._is_waiting is not is_waiting:
            self._is_waiting = is_waiting
            self._beat()

    def _beat(self) -> None:
        self._send({"type": "member", "time": self._now()})

    def _see(self, event: Event) -> None:
        sender = event.get("from")
        if event["type"] == "leaving":
            self._members.leave(str(sender))
            for left in self.left:
                left(str(sender))
        elif isinstance(sender, str) and sender != self.member_id:
            about = str(event.get("node")), event["time"], event.get("waiting") is True
            self._members.see(Member(sender, *about, str(event.get("connection", ""))), self._now())

    # -- sending

    def _send(self, event: Event, *, again: bool = False) -> Deferred[Any]:
        self._sent_at = self._clock.seconds()
        sender = {"from": self.member_id, "node": self.node, "waiting": self._is_waiting}
        if self._sent_at < self._new_until:
            sender["connection"] = self.connection
        content = json.dumps({**event, **sender}, separators=(",", ":")).encode("ascii")
        value = self._keys.seal(self._stream, content)
        if len(value) > MAX_EVENT:
            _log.warn("shared state: an event of {size} bytes is too long to be sent", size=len(value))
            return succeed(None)
        sent = self._client.call("XADD", self._stream, "MAXLEN", "~", _LENGTH, "*", _FIELD, value)
        return sent.addErrback(self._not_sent, event if again else None)

    def _not_sent(self, failure: Failure, event: Event | None) -> None:
        failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]
        if event is not None:
            self._unsent.append(event)
        _log.warn("shared state: an event was not sent: {reason}", reason=failure.getErrorMessage())

    def _connected(self) -> None:
        """Ask for revocations that this process may have missed, and repeat the ones that may be lost."""
        self._nonce = os.urandom(16).hex()
        self.connection = os.urandom(_ID_BYTES).hex()
        self._new_until = self._clock.seconds() + NEW_FOR
        if self._last is not None:
            self._previous, self._last = self._last, None
        self._since = None
        self._connected_at = now = self._now()
        self.on_since(now)
        self._send({"type": "hello", "time": now, "nonce": self._nonce}).addCallback(self._begin)
        for revocation in self._known.values():
            if now - revocation.time < MAX_AGE:
                self._send(_revocation(revocation))
        unsent, self._unsent = self._unsent, deque(maxlen=MAX_UNSENT)
        for event in unsent:
            self._send({**event, "time": now}, again=True)
        for connected in self.connected:
            connected()

    def _begin(self, number: Any) -> None:
        """Read from where an event can be that this process has missed.

        @param number: the number of an event that was sent now; C{None}: it was not sent.
        """
        if number is None or not is_number(number):
            self._last = self._previous
            return
        # The number has the time of the engine, in milliseconds, unless the stream already had a later number.
        elapsed = min(max(0.0, self._now() - self._started_at), MAX_AGE)
        begin = earlier(number, round(1000 * elapsed))
        self._last = begin if self._previous is None else min(begin, self._previous, key=position)

    # -- receiving

    def _tick(self) -> None:
        is_urgent = any(urgent() for urgent in self.urgent)
        self._timer = self._clock.callLater(SHORT_INTERVAL if is_urgent else INTERVAL, self._tick)
        if not self._client.is_ready:
            return
        if self._clock.seconds() - self._sent_at >= HEARTBEAT:
            self._beat()
        if self._since is None and self._now() - self._connected_at >= ALONE_AFTER:
            self._known_since(self._connected_at)
        if self._last is None or self._is_reading:
            return
        self._is_reading = True
        read = self._client.call("XREAD", "COUNT", MAX_EVENTS, "STREAMS", self._stream, self._last)
        read.addCallbacks(self._received, self._not_read)

    def _not_read(self, failure: Failure) -> None:
        self._is_reading = False
        failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]

    def _received(self, reply: Any) -> None:
        self._is_reading = False
        entries = entries_of(reply)
        if entries is None:
            # It is not an engine.
            self.rejected += 1
            return
        answered = False
        if len(entries) == MAX_EVENTS:
            self.hurry()
        for number, fields in entries:
            self._last = number
            event = self._event(fields)
            if event is None:
                continue
            self._see(event)
            kind = event["type"]
            if kind == "revocation":
                self._revocation(event)
            elif kind == "hello" and event["nonce"] != self._nonce and self.age(event) <= MAX_HELLO:
                if not answered:
                    answered = True
                    self._respond(event)
            elif kind == "state" and event["nonce"] == self._nonce:
                self._known_since(event["since"])
            elif kind in self._handlers and event["from"] != self.member_id:
                self._call(self._handlers[kind], event)

    def _respond(self, event: Event) -> None:
        """Respond to a process that has connected."""
        if self._since is not None:
            since = max(self._since, self._revoked_at + MAX_SKEW)
            self._send({"type": "state", "time": self._now(), "nonce": event["nonce"], "since": since})
        elif event["time"] >= self._connected_at - MAX_SKEW:
            # It must know that this process is there already.
            self._beat()

    def _event(self, fields: Any) -> dict[str, Any] | None:
        """Return an event that a holder of the key has sent recently."""
        value = fields[1] if isinstance(fields, list) and len(fields) == 2 and fields[0] == _FIELD else b""
        is_short = isinstance(value, bytes) and len(value) <= MAX_EVENT
        content = self._keys.unseal(self._stream, value) if is_short else None
        if content is None:
            self.rejected += 1
            return None
        event: dict[str, Any] = json.loads(content)
        return event if abs(self._now() - event["time"]) <= MAX_AGE else None

    def _call(self, handler: Callable[[Event], object], event: Event) -> None:
        try:
            handler(event)
        except (AttributeError, LookupError, TypeError, ValueError):
            # A newer version has sent it.
            _log.failure("shared state: an event cannot be applied: all replicas need the same version")

    def _revocation(self, event: Event) -> None:
        try:
            revocation = Revocation.from_json(event["revocation"])
        except ValueError:
            # A newer version has sent it: this process cannot tell which decisions it voids.
            _log.error("shared state: a revocation cannot be applied: all replicas need the same version")
            return
        # A process that started later has made its decisions later, too.
        if self.remember(revocation) and revocation.time >= self._started_at - MAX_SKEW:
            self.on_revocation(revocation)

    def _known_since(self, since: float) -> None:
        """Use the time of another process; the latest one counts if several respond."""
        first = self._since is None
        self._since = max(since, self._since or 0.0)
        self.on_since(self._since)
        if first:
            # Processes that connected at the same time do not know each other yet.
            self._beat()
            _log.info("shared state: earlier decisions can be used")


def _revocation(revocation: Revocation) -> dict[str, Any]:
    return {"type": "revocation", "time": revocation.time, "revocation": revocation.to_json()}
