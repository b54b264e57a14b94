"""Tests for L{egress.shared.events}."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.revocation import Revocation, RevocationKind
from egress.shared import events as module
from egress.shared.events import (
    ALONE_AFTER,
    HEARTBEAT,
    INTERVAL,
    MAX_AGE,
    MAX_SKEW,
    NEW_FOR,
    SHORT_INTERVAL,
    Event,
    SharedEvents,
)
from egress.shared.keys import SharedKeys
from egress.shared.members import EXPIRES, UNKNOWN
from tests.shared.engine import Engine, EngineClient

KEYS = SharedKeys(bytes(32), "events")
EPOCH = 1e9


class Member:
    """A process.

    @ivar revocations: the revocations that it received.
    @ivar since: the times that it was told.
    """

    def __init__(self, clock: Clock, engine: Engine, keys: SharedKeys = KEYS, *, connects: bool = True) -> None:
        self.client = EngineClient(engine)
        given: Any = self.client
        self.events = SharedEvents(clock, given, keys, lambda: EPOCH + clock.seconds())
        self.revocations: list[Revocation] = []
        self.since: list[float] = []
        self.events.on_revocation = self.revocations.append
        self.events.on_since = lambda since: self.since.append(since - EPOCH)
        self.events.start()
        if connects:
            self.client.on_connected()
        else:
            self.client.fault = "away"

    def reconnect(self) -> None:
        self.client.fault = None
        self.client.on_connected()


class EventsTestCase(SynchronousTestCase):
    """Base: an engine."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)

    def member(self) -> Member:
        return Member(self.clock, self.engine)

    def wait(self, seconds: float = 2 * INTERVAL) -> None:
        while seconds > 0:
            self.clock.advance(INTERVAL / 2)
            seconds -= INTERVAL / 2

    def revocation(self, revocation_id: str = "r1") -> Revocation:
        return Revocation(RevocationKind.HOST, "*.a.test", EPOCH + self.clock.seconds(), "alice", revocation_id)

    def stream(self) -> list[tuple[int, list[bytes]]]:
        (events,) = self.engine.streams.values()
        return events


class RevocationTests(EventsTestCase):
    """Each process applies each revocation once."""

    def test_sent(self) -> None:
        one, two, three = self.member(), self.member(), self.member()
        self.wait()
        sent = self.revocation()
        one.events.revoked(sent)
        self.wait(INTERVAL)
        self.assertEqual((one.revocations, two.revocations, three.revocations), ([], [sent], [sent]))
        # Also when the workers of one proxy send it, or the stream is read again.
        two.events.revoked(sent)
        one.events.revoked(sent)
        self.wait()
        self.assertEqual([len(each.revocations) for each in (one, two, three)], [0, 1, 1])

    def test_engine_away(self) -> None:
        """A revocation is sent again with the next connection, also if the engine has lost its data."""
        one, two = self.member(), self.member()
        self.wait()
        one.client.fault = "away"
        one.events.revoked(self.revocation("r1"))
        self.wait()
        self.assertEqual(two.revocations, [])
        one.reconnect()
        self.wait(INTERVAL)
        self.assertEqual(len(two.revocations), 1)
        one.events.revoked(self.revocation("r2"))
        self.engine.streams.clear()
        # The numbers of a real engine depend on the time, so they do not begin again.
        self.engine.streams = {module_name(KEYS): [(number, [b"x", b"x"]) for number in range(1, 40)]}
        one.reconnect()
        two.reconnect()
        self.wait()
        self.assertEqual([each.revocation_id for each in two.revocations], ["r1", "r2"])

    def test_engine_away_since_the_start(self) -> None:
        """A process receives what others have sent between its start and its first connection."""
        one = self.member()
        self.wait()
        one.events.revoked(self.revocation("r1"))
        self.wait(MAX_SKEW + 1)
        two = Member(self.clock, self.engine, connects=False)
        one.events.revoked(self.revocation("r2"))
        self.wait(10)
        one.events.revoked(self.revocation("r3"))
        two.reconnect()
        self.wait()
        self.assertEqual([each.revocation_id for each in two.revocations], ["r2", "r3"])

    def test_first_read(self) -> None:
        """The numbers of an engine are times in milliseconds."""
        self.engine.streams[module_name(KEYS)] = [(1_000_000, [b"x", b"x"])]
        for seconds, expected in ((0, b"1000001-0"), (10, b"990002-0"), (2 * MAX_AGE, b"%d-0" % (1_000_003 - 300_000))):
            late = Member(self.clock, self.engine, connects=False)
            self.clock.advance(seconds)
            late.reconnect()
            self.engine.commands.clear()
            self.wait(INTERVAL)
            late.events.stop()
            reads = [command[-1] for command in self.engine.commands if command[0] == "XREAD"]
            self.assertEqual(reads[0], expected)

    def test_other_engine(self) -> None:
        """The engine after a failover lacks the last events, and its clock is behind or ahead."""
        for difference in (-3600, -5, 0, 5, 3600):
            with self.subTest(difference):
                self.setUp()
                self.clock.advance(1e6)
                name = module_name(KEYS)
                start = round(1000 * self.clock.seconds())
                self.engine.streams[name] = [(start, [b"x", b"x"])]
                one, two = self.member(), self.member()
                self.wait(20)
                one.events.revoked(self.revocation("lost"))
                self.wait()
                self.assertEqual(len(two.revocations), 1)
                one.client.lose()
                two.client.lose()
                # Its stream begins with its own clock, and ends before the last events.
                self.engine.streams[name] = [(start + 1000 * (20 + difference), [b"x", b"x"])]
                one.reconnect()
                one.events.revoked(self.revocation("missed"))
                self.wait(10)
                two.reconnect()
                self.wait()
                self.assertEqual([each.revocation_id for each in two.revocations], ["lost", "missed"])

    def test_event_was_not_sent(self) -> None:
        """A process that cannot write after a connection continues to read."""
        one, two = self.member(), self.member()
        self.wait()
        two.client.lose()
        two.client.rejects = True
        two.reconnect()
        two.client.rejects = False
        one.events.revoked(self.revocation())
        self.wait()
        self.assertEqual(len(two.revocations), 1)

    def test_not_an_engine(self) -> None:
        """Replies that no engine sends have no effect on later ones."""
        one, two = self.member(), self.member()
        self.wait()
        execute = self.engine.execute
        numbers: tuple[Any, ...] = (b"junk", 5, None, [], b"1-", b"9" * 30 + b"-0")
        for number in numbers:
            self.engine.execute = lambda *arguments, number=number: number  # type: ignore[method-assign]
            two.reconnect()
            self.wait()
        rejected = two.events.rejected
        replies: tuple[Any, ...] = (5, [5], [[b"s"]], [[b"s", 5]], [[b"s", [5]]], [[b"s", [[b"x", []]]]])
        for reply in replies:
            self.engine.execute = lambda *arguments, reply=reply: (  # type: ignore[method-assign]
                reply if arguments[0] == "XREAD" else b"1-0"
            )
            two.reconnect()
            self.wait()
        self.assertGreaterEqual(two.events.rejected, rejected + len(replies))
        self.engine.execute = lambda *arguments: [[b"s", [[b"1-0", [b"e", 5]]]]]  # type: ignore[method-assign]
        self.wait()
        self.engine.execute = execute  # type: ignore[method-assign]
        one.reconnect()
        two.reconnect()
        one.events.revoked(self.revocation())
        self.wait()
        self.assertEqual(len(two.revocations), 1)

    def test_earlier_ones(self) -> None:
        """A process that started after a revocation has made all its decisions after it."""
        one = self.member()
        self.wait()
        one.events.revoked(self.revocation("r1"))
        self.wait(MAX_SKEW + 1)
        one.events.revoked(self.revocation("r2"))
        two = self.member()
        self.wait()
        one.reconnect()
        self.wait()
        # The clocks may differ.
        self.assertEqual([each.revocation_id for each in two.revocations], ["r2"])

    def test_old_ones_are_not_repeated(self) -> None:
        one = self.member()
        one.events.revoked(self.revocation())
        self.clock.advance(MAX_AGE)
        before = len(self.stream())
        one.reconnect()
        self.assertEqual(len(self.stream()), before + 1)

    def test_bounded(self) -> None:
        self.patch(module, "MAX_KNOWN", 2)
        one, two = self.member(), self.member()
        self.wait()
        for number in range(4):
            one.events.revoked(self.revocation(f"r{number}"))
        self.wait()
        self.assertEqual(len(two.revocations), 4)
        one.events.revoked(self.revocation("r3"))
        self.wait()
        self.assertEqual(len(two.revocations), 4)

    def test_stop(self) -> None:
        one = self.member()
        one.events.stop()
        one.events.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SinceTests(EventsTestCase):
    """The decisions of the time before its start that a process may use."""

    def test_first_process(self) -> None:
        one = self.member()
        self.assertEqual(one.since, [0.0])
        self.wait(ALONE_AFTER + INTERVAL)
        self.assertEqual(one.since, [0.0, 0.0])

    def test_later_process(self) -> None:
        """It learns from when on a revocation would be known."""
        self.member()
        self.wait(10)
        two = self.member()
        self.assertEqual(two.since, [self.clock.seconds()])
        self.wait(2 * INTERVAL)
        self.assertEqual(two.since[1:], [0.0])
        self.wait(10)
        self.assertEqual(two.since[1:], [0.0])

    def test_earlier_process(self) -> None:
        """There is no response to an earlier connection, which someone repeats or which is read again."""
        for _ in range(2):
            self.member()
            self.wait(3)
        hellos = [value for kind, value in self.sent() if kind == "hello"]
        before = [kind for kind, _ in self.sent()].count("state")
        self.assertEqual((len(hellos), before), (2, 1))
        self.wait(module.MAX_HELLO)
        for value in hellos:
            self.stream().append((self.stream()[-1][0] + 1, [b"e", value]))
        self.wait()
        self.assertEqual([kind for kind, _ in self.sent()].count("state"), before)

    def sent(self) -> list[tuple[str, bytes]]:
        """Return the types of all events in the stream, each with its value."""
        found = [(KEYS.unseal(module_name(KEYS), value), value) for _, (_, value) in self.stream()]
        return [(json.loads(content)["type"], value) for content, value in found if content is not None]

    def test_after_a_revocation(self) -> None:
        one = self.member()
        self.wait(10)
        one.events.revoked(self.revocation())
        revoked_at = self.clock.seconds()
        self.wait(10)
        two = self.member()
        self.wait(2 * INTERVAL)
        self.assertEqual(two.since[1:], [revoked_at + MAX_SKEW])

    def test_several_responses(self) -> None:
        """The latest time counts."""
        one = self.member()
        self.wait(10)
        lonely = self.member()
        lonely.client.fault = "away"
        self.wait(5)
        lonely.client.fault = None
        one.client.fault = "away"
        lonely.reconnect()
        alone_since = self.clock.seconds()
        self.wait(5)
        one.client.fault = None
        three = self.member()
        self.wait(5)
        self.assertEqual(three.since[-1], alone_since)

    def test_reconnected(self) -> None:
        """It may have missed a revocation."""
        one = self.member()
        self.member()
        self.wait(10)
        one.reconnect()
        self.assertEqual(one.since[-1], self.clock.seconds())
        self.wait(2 * INTERVAL)
        self.assertEqual(one.since[-1], 0.0)


class OtherEventTests(EventsTestCase):
    """Events of other parts of the proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.member(), self.member()
        self.received: list[tuple[str, Event]] = []
        for name, each in (("one", self.one), ("two", self.two)):
            each.events.handle("news", lambda event, name=name: self.received.append((name, event)))  # type: ignore[misc]
        self.wait(2)

    def test_sent(self) -> None:
        """The other processes receive it, once."""
        self.assertTrue(self.successResultOf(self.one.events.send("news", {"text": "x"})))
        self.wait()
        ((name, event),) = self.received
        self.assertEqual((name, event["text"], event["from"]), ("two", "x", self.one.events.member_id))

    def test_not_sent(self) -> None:
        self.assertFalse(self.successResultOf(self.one.events.send("news", {"text": "x" * module.MAX_EVENT})))
        self.one.client.fault = "away"
        self.assertFalse(self.successResultOf(self.one.events.send("news", {"text": "x"})))
        self.wait()
        self.assertEqual(self.received, [])

    def test_another_version(self) -> None:
        """An event that its handler does not understand is an error in the log; the following ones are handled."""
        self.two.events.handle("other", lambda event: event["missing"])
        for kind in ("other", "unknown", "news"):
            self.one.events.send(kind, {})
        self.wait()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.received), 1)

    def test_slow_engine(self) -> None:
        """There is one read at a time, so no event is received twice."""
        self.two.client.pending = []
        self.wait(2 * INTERVAL)
        self.assertEqual(len(self.two.client.pending), 1)
        self.one.events.send("news", {})
        self.two.client.flush()
        self.wait()
        self.assertEqual(len(self.received), 1)

    def test_many(self) -> None:
        """After as many events as fit into one read, the next read is soon."""
        for _ in range(2 * module.MAX_EVENTS):
            self.one.events.send("news", {})
        self.wait(INTERVAL)
        first = len(self.received)
        self.clock.advance(SHORT_INTERVAL)
        self.assertGreaterEqual(first, module.MAX_EVENTS)
        self.clock.advance(SHORT_INTERVAL)
        self.assertEqual(len(self.received), 2 * module.MAX_EVENTS)

    def test_interval(self) -> None:
        """While something waits for an event, it is read sooner."""
        waits = False
        self.two.events.urgent.append(lambda: waits)
        self.clock.advance(INTERVAL)
        self.clock.advance(SHORT_INTERVAL / 2)
        self.one.events.send("news", {})
        waits = True
        self.two.events.hurry()
        self.clock.advance(SHORT_INTERVAL)
        self.assertEqual(len(self.received), 1)
        self.one.events.send("news", {})
        self.clock.advance(SHORT_INTERVAL)
        self.assertEqual(len(self.received), 2)
        # It cannot be read later than without hurry.
        self.two.events.hurry()
        self.clock.advance(SHORT_INTERVAL / 2)
        self.two.events.hurry()
        self.one.events.send("news", {})
        self.clock.advance(SHORT_INTERVAL / 2 + 0.001)
        self.assertEqual(len(self.received), 3)
        self.two.events.stop()
        self.two.events.hurry()


class MemberTests(EventsTestCase):
    """The processes know each other."""

    def test_members(self) -> None:
        one, two = self.member(), self.member()
        self.assertEqual(one.events.members(), [])
        self.wait(ALONE_AFTER + 2 * INTERVAL)
        for member, other in ((one, two), (two, one)):
            (found,) = member.events.members()
            self.assertEqual((found.member_id, found.node), (other.events.member_id, ""))
        self.wait(EXPIRES + HEARTBEAT)
        self.assertEqual(len(one.events.members()), 1)
        self.assertEqual(two.events.expected(), two.events.members())
        two.client.fault = "away"
        self.wait(EXPIRES + 1)
        self.assertEqual(one.events.members(), [])
        self.assertEqual(one.events.expected(), [])
        one.client.fault = "away"
        self.assertEqual(one.events.expected(), [UNKNOWN])

    def test_waiting(self) -> None:
        one, two = self.member(), self.member()
        self.wait(2)
        for is_waiting in (True, False):
            one.events.tell_waiting(is_waiting)
            before = len(self.stream())
            one.events.tell_waiting(is_waiting)
            self.assertEqual(len(self.stream()), before)
            self.wait(INTERVAL)
            (found,) = two.events.members()
            self.assertIs(found.is_waiting, is_waiting)

    def test_new_connections(self) -> None:
        """A process names its connection for some time, so others know that what they send is later."""
        one, two = self.member(), self.member()
        self.assertEqual(one.events.new_connections(), [])
        self.wait(ALONE_AFTER + 2 * INTERVAL)
        first = two.events.connection
        self.assertEqual(one.events.new_connections(), [first])
        self.assertEqual(two.events.new_connections(), [one.events.connection])
        two.reconnect()
        self.wait()
        self.assertNotEqual(two.events.connection, first)
        self.assertEqual(one.events.new_connections(), [two.events.connection])
        # Also a process that connects when no event of the other one is left that it reads.
        self.wait(NEW_FOR - 2)
        later = self.member()
        self.wait()
        self.assertEqual(later.events.new_connections(), [two.events.connection])
        self.wait(NEW_FOR + HEARTBEAT)
        self.assertEqual(two.events.new_connections(), [])
        self.assertEqual(len(two.events.members()), 2)

    def test_number_of_new_connections(self) -> None:
        """The last ones."""
        self.patch(module, "MAX_CONNECTIONS", 2)
        one = self.member()
        others = []
        for _ in range(3):
            others.append(self.member())
            self.clock.advance(0.1)
            others[-1].events.stop()
        self.wait()
        self.assertEqual(one.events.new_connections(), [each.events.connection for each in others[1:]])

    def test_repeated_event(self) -> None:
        """Someone repeats an event of a process that has ended."""
        one, two = self.member(), self.member()
        self.wait(2)
        event = self.stream()[-1][1]
        two.events.stop()
        self.wait(EXPIRES + 1)
        self.engine.execute("XADD", module_name(KEYS), "*", *event)
        self.wait()
        self.assertEqual(one.events.members(), [])


class AttackerTests(EventsTestCase):
    """Someone who can write to the engine can remove and repeat events."""

    def add(self, value: bytes) -> None:
        self.engine.execute("XADD", module_name(KEYS), "*", b"e", value)

    def test_forged(self) -> None:
        one = self.member()
        self.wait()
        event = json.dumps({"type": "state", "time": EPOCH, "nonce": "x", "since": 0.0}).encode()
        other = SharedKeys(b"x" * 32, "events")
        values = [b"", event, other.seal(module_name(KEYS), event), KEYS.seal(b"other", event), b"x" * 100_000]
        for value in values:
            self.add(value)
        self.engine.streams[module_name(KEYS)].append((99, [b"e"]))
        self.engine.streams[module_name(KEYS)].append((100, [b"f", KEYS.seal(module_name(KEYS), event)]))
        self.wait()
        self.assertEqual((one.events.rejected, one.revocations), (7, []))

    def test_earlier_response(self) -> None:
        """A process that starts does not accept the response to another one."""
        self.member()
        self.wait(10)
        self.member()
        self.wait(2)
        values = [fields[1] for _, fields in self.stream()]
        (response,) = [value for value in values if b"state" in (KEYS.unseal(module_name(KEYS), value) or b"")]
        engine = Engine(self.clock)
        three = Member(self.clock, engine)
        begun = self.clock.seconds()
        engine.execute("XADD", module_name(KEYS), "*", b"e", response)
        self.wait(10)
        self.assertEqual(set(three.since), {begun})

    def test_own_question(self) -> None:
        """A process does not respond to itself, and one that knows too little only tells that it is there."""
        self.member()
        two = self.member()
        self.wait(INTERVAL)
        events = [json.loads(KEYS.unseal(module_name(KEYS), fields[1]) or b"") for _, fields in self.stream()]
        self.assertEqual([each["type"] for each in events], ["hello", "hello", "member"])
        self.assertEqual(two.since, [0.0])

    def test_old_events(self) -> None:
        one = self.member()
        self.wait()
        sent = Revocation(RevocationKind.ALL, "", EPOCH - MAX_AGE - 5, "", "old")
        one.events.revoked(sent)
        two = self.member()
        event = {"type": "revocation", "time": sent.time, "revocation": sent.to_json()}
        self.add(KEYS.seal(module_name(KEYS), json.dumps(event).encode()))
        self.wait()
        self.assertEqual(two.revocations, [])

    def test_another_version(self) -> None:
        """A revocation that cannot be understood is an error in the log."""
        one = self.member()
        self.wait()
        event = {"type": "revocation", "time": EPOCH, "revocation": {**self.revocation().to_json(), "kind": "new"}}
        for document in (event, {"type": "new", "time": EPOCH}):
            self.add(KEYS.seal(module_name(KEYS), json.dumps(document).encode()))
        self.wait()
        self.assertEqual((one.revocations, one.events.rejected), ([], 0))

    def test_errors(self) -> None:
        """A stream of another type."""
        one = self.member()
        one.client.rejects = True
        self.wait()
        one.events.revoked(self.revocation())
        one.reconnect()
        self.wait()
        one.client.rejects = False
        two = self.member()
        one.reconnect()
        self.wait()
        self.assertEqual(len(two.revocations), 1)


def module_name(keys: SharedKeys) -> bytes:
    """Return the name of the stream."""
    return keys.name(keys.group(b"events"), b"events")
