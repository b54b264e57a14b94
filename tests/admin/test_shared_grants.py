"""Tests for L{egress.admin.shared_grants}."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from egress.admin import shared_grants as module
from egress.admin.api import Unanswered
from egress.admin.shared_grants import ALONE_AFTER, RETURN_WITHIN, GrantRevoked
from egress.authz.grant_register import key_of
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from egress.shared.events import INTERVAL, MAX_AGE
from egress.shared.keys import SharedKeys
from egress.shared.members import EXPIRES
from tests.admin.test_shared_approvals import EPOCH, FOR_AN_HOUR, SECRET, Replica, SharedApprovalsTestCase
from tests.shared.engine import Engine


class SharedGrantsTestCase(SharedApprovalsTestCase):
    """Base: two replicas, A and B."""

    def setUp(self) -> None:
        super().setUp()
        # The processes started at the same time: they know which grants are newer.
        self.wait(5)

    def permit(self, replica: Replica, path: str = "/") -> str:
        """Make a grant, and return its id."""
        replica.hold(path=path)
        resolved, grant = replica.approvals.answer([*replica.approvals.tokens][-1], FOR_AN_HOUR)
        assert grant is not None
        self.assertEqual(resolved, 1)
        return grant.grant_id

    def allows(self, replica: Replica, path: str = "/") -> bool:
        """Return whether a grant allows a request."""
        return replica.allows(path)

    def replica(self, name: str) -> Replica:
        started = Replica(self.clock, self.engine, name)
        self.wait(ALONE_AFTER + 1)
        return started

    def stop(self, replica: Replica) -> None:
        """Let a replica tell the others that it ends."""
        self.successResultOf(replica.events.leave())
        replica.events.stop()
        self.wait()

    def revoke(self, replica: Replica, name: str) -> Any:
        found = replica.backend.revoke(name)
        self.wait(2)
        return found


class GrantTests(SharedGrantsTestCase):
    """A grant of one replica applies to all of them."""

    def test_made(self) -> None:
        waiting = self.b.hold(path="/?q=1")
        self.permit(self.a)
        self.wait()
        self.assertTrue(self.successResultOf(waiting).allowed)
        self.assertTrue(self.allows(self.b, "/?q=2"))
        self.assertFalse(self.allows(self.b, "/other"))
        lists = [self.successResultOf(each.backend.listed())["grants"] for each in (self.a, self.b)]
        self.assertEqual(lists[0], lists[1])
        self.assertEqual(len(lists[0]), 1)

    def test_answered_elsewhere(self) -> None:
        """The replica that holds the request makes the grant, for all of them."""
        self.a.hold()
        self.wait()
        found = self.successResultOf(self.answer(self.b, self.the_id(self.b), FOR_AN_HOUR))
        self.assertEqual(found["grant"]["by"], "ann")
        self.assertTrue(self.allows(self.a) and self.allows(self.b))

    def test_expiry(self) -> None:
        self.permit(self.a)
        self.wait()
        self.clock.advance(3600)
        self.assertFalse(self.allows(self.b))

    def test_revoked(self) -> None:
        name = self.permit(self.a)
        self.wait()
        self.assertTrue(self.successResultOf(self.revoke(self.b, name)))
        self.assertFalse(self.allows(self.a) or self.allows(self.b))
        self.assertFalse(self.successResultOf(self.revoke(self.b, name)))
        # An approver can make it again at once, on any replica.
        self.permit(self.a)
        self.wait()
        self.assertTrue(self.allows(self.b))

    def test_revoked_where_it_is_unknown(self) -> None:
        name = self.permit(self.a)
        self.b.approvals.revoke(name)
        self.assertTrue(self.successResultOf(self.revoke(self.b, name)))
        self.assertFalse(self.allows(self.a))

    def test_revocation_that_is_not_confirmed(self) -> None:
        name = self.permit(self.a)
        self.wait()
        self.a.client.lose()
        failure = self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.assertIn("not confirmed by a", failure.getErrorMessage())

    def test_revocation_without_the_engine(self) -> None:
        """After some time, it is unknown which processes there are, and they can still apply the grant."""
        name = self.permit(self.a)
        self.wait()
        for each in (self.a, self.b):
            each.client.lose()
        self.wait(20)
        failure = self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.assertIn("not confirmed by other replicas", failure.getErrorMessage())

    def test_for_supervisor(self) -> None:
        """A worker tells the supervisor about the grants and revocations of all replicas, and revokes for it."""
        told: list[tuple[str, Any]] = []
        self.b.backend.report(lambda *about: told.append(json.loads(json.dumps(about))))
        name = self.permit(self.a)
        self.wait()
        ((word, document),) = told
        self.assertEqual((word, document["grant_id"]), ("grant-added", name))
        # Other workers get the grant at once, and one that starts later as an earlier one.
        later = Replica(self.clock, self.engine, "b")
        self.assertEqual(later.backend.announce_grant_for_parent(document), 0)
        self.assertFalse(self.allows(later))
        self.assertEqual(later.backend.grants_in_force_for_parent(), [])
        self.wait(ALONE_AFTER + 1)
        self.assertTrue(self.allows(later))
        self.assertEqual(later.backend.grants_in_force_for_parent(), [name])
        self.assertTrue(later.backend.revoke_for_parent(name))
        self.assertFalse(later.backend.revoke_for_parent(name))
        result: Any = later.backend.revoke_elsewhere_for_parent(name)
        self.wait(2)
        self.assertEqual(GrantRevoked.from_json(self.successResultOf(result)), GrantRevoked(True, []))
        self.assertEqual([(word, about["id"]) for word, about in told[1:]], [("grant-revoked", name)])
        self.assertFalse(self.allows(self.a) or self.allows(self.b))
        later.backend.add_grant_for_parent(document)
        self.assertFalse(self.allows(later))

    def test_revoked_with_others(self) -> None:
        """A revocation of decisions voids the grants of all replicas, and supervisors learn it."""
        told: list[tuple[str, Any]] = []
        self.permit(self.a)
        self.wait()
        self.b.backend.report(lambda *about: told.append(about))
        revocation = Revocation(RevocationKind.ALL, "", EPOCH + self.clock.seconds(), "alice", "rev-1")
        counts = self.a.backend.revoke_decisions(revocation)
        confirmed: Any = self.a.backend.confirm_revocation_for_parent(revocation.to_json())
        self.wait(1)
        self.assertEqual(self.successResultOf(counts), RevocationCounts(grants=1, confirmed=("b",)))
        self.assertEqual(self.successResultOf(confirmed)["confirmed"], ["b"])
        self.assertFalse(self.allows(self.a) or self.allows(self.b))
        self.assertEqual(told, [("decisions-revoked", revocation.to_json())])
        self.repeat("grant")
        self.wait()
        self.assertFalse(self.allows(self.a) or self.allows(self.b))

    def test_number_of_received_grants_is_limited(self) -> None:
        """The number of requests that the event of a grant resolved is known for the last ones, once."""
        self.patch(module, "_MAX_RECEIVED", 2)
        self.patch(module, "_MAX_REQUESTS", 2)
        received: list[Any] = []
        keys = []
        for number in range(3):
            self.b.hold(path=f"/{number}")
            self.permit(self.a, f"/{number}")
            self.wait()
            keys.append(key_of(self.b.approvals.grants[-1]))
            self.clock.advance(1)
        shared = self.b.shared.grants
        self.assertEqual([shared.take_resolved(key) for key in (*keys, *keys)], [0, 1, 1, 0, 0, 0])
        for key in (*keys, ("x", 1.0), ("y", 1.0)):
            shared.when_received(key, partial(received.append, key))
        self.assertEqual(received, keys[1:])
        # Of those that are not received yet, the first one is forgotten.
        self.repeat("grant")
        self.wait()
        self.assertEqual(received, keys[1:])

    def test_new_grant_of_another_worker(self) -> None:
        """It applies while there is no engine, too."""
        self.a.client.lose()
        self.b.client.lose()
        self.permit(self.a)
        (grant,) = self.a.approvals.grants
        self.b.backend.add_grant_for_parent(grant.to_json())
        self.assertTrue(self.allows(self.b))

    def test_long_path(self) -> None:
        """A grant that does not fit into an event applies to its replica only."""
        self.permit(self.a, "/" + "x" * 8000)
        self.wait()
        self.assertTrue(self.allows(self.a, "/" + "x" * 8000))
        self.assertFalse(self.allows(self.b, "/" + "x" * 8000))


class LaterProcessTests(SharedGrantsTestCase):
    """A process that starts later gets the grants from others."""

    def test_starts(self) -> None:
        names = [self.permit(self.a, f"/{number}") for number in range(20)]
        later = Replica(self.clock, self.engine, "c")
        self.assertFalse(self.allows(later, "/1"))
        self.wait(ALONE_AFTER + 1)
        self.assertTrue(all(self.allows(later, f"/{number}") for number in range(20)))
        self.assertTrue(self.successResultOf(self.revoke(later, names[0])))
        self.assertFalse(self.allows(self.a, "/0"))

    def test_several_at_once(self) -> None:
        """One response is for all of them."""
        self.permit(self.a)
        self.wait()
        self.b.client.lose()
        later = [Replica(self.clock, self.engine, name) for name in "cdef"]
        before = len(self.events("grants-known"))
        self.wait(1)
        self.assertTrue(all(self.allows(each) for each in later))
        self.assertEqual(len(self.events("grants-known")) - before, 1)

    def events(self, kind: str) -> list[Any]:
        ((name, events),) = self.engine.streams.items()
        keys = SharedKeys(SECRET, "events")
        found = [json.loads(keys.unseal(name, fields[1]) or b"") for _, fields in events]
        return [each for each in found if each["type"] == kind]

    def test_new_grants_of_new_processes(self) -> None:
        """A grant that is made just after two processes have started applies to both, whatever their clocks say."""
        self.engine = Engine(self.clock)
        one, two = Replica(self.clock, self.engine, "x"), Replica(self.clock, self.engine, "y")
        self.wait(ALONE_AFTER)
        self.permit(one)
        self.wait()
        self.assertTrue(self.allows(one) and self.allows(two))

    def test_bounded(self) -> None:
        """A response has a limited size: the grants that expire first are left out."""
        for number in range(10):
            self.permit(self.a, f"/{number}")
            self.clock.advance(1)
        self.wait()
        size = len(json.dumps(self.a.approvals.grants[0].to_json())) + 1
        self.patch(module, "MAX_SNAPSHOT", 3 * size)
        later = self.replica("c")
        self.assertEqual([self.allows(later, f"/{number}") for number in range(10)], [False] * 7 + [True] * 3)

    def test_first_process(self) -> None:
        """Without a response, it makes grants of its own."""
        self.engine = Engine(self.clock)
        first = self.replica("x")
        self.permit(first)
        self.assertTrue(self.allows(first))


class OutageTests(SharedGrantsTestCase):
    """Without the engine, a grant may be revoked without notice: it does not apply."""

    def test_engine_away(self) -> None:
        self.permit(self.a)
        self.wait()
        self.a.client.lose()
        self.assertFalse(self.allows(self.a))
        self.assertEqual(self.successResultOf(self.a.backend.listed())["grants"], [])
        self.assertTrue(self.allows(self.b))
        # A request that waits meanwhile is allowed when the process knows the revocations again.
        waiting = self.a.hold()
        self.a.client.connect()
        self.wait(1)
        self.assertTrue(self.successResultOf(waiting).allowed)

    def test_revoked_meanwhile(self) -> None:
        name, other = self.permit(self.a, "/1"), self.permit(self.a, "/2")
        self.wait()
        self.a.client.lose()
        self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.a.client.connect()
        self.wait(2)
        self.assertEqual([self.allows(self.a, path) for path in ("/1", "/2")], [False, True])
        self.assertTrue(self.successResultOf(self.revoke(self.b, other)))

    def test_made_meanwhile(self) -> None:
        """A local approver can make a grant; the others get it with the next connection."""
        self.a.client.lose()
        self.permit(self.a)
        self.assertTrue(self.allows(self.a))
        self.permit(self.b, "/b")
        self.wait()
        self.a.client.connect()
        self.wait(2)
        for replica in (self.a, self.b):
            self.assertTrue(self.allows(replica) and self.allows(replica, "/b"))

    def test_unknown_grants_are_not_told(self) -> None:
        """A process that does not know whether a grant was revoked does not tell a later process about it."""
        self.permit(self.a)
        self.wait()
        for replica in (self.a, self.b):
            replica.client.lose()
        self.wait(10)
        self.a.client.connect()
        self.wait(RETURN_WITHIN + 1)
        self.permit(self.a, "/new")
        later = self.replica("c")
        self.assertEqual([self.allows(later, path) for path in ("/", "/new")], [False, True])

    def test_lost_before_a_response(self) -> None:
        later = Replica(self.clock, self.engine, "c")
        later.client.lose()
        self.permit(self.a)
        self.clock.advance(1)
        later.client.connect()
        self.wait(1)
        self.assertTrue(self.allows(later))

    def test_engine_lost_its_data(self) -> None:
        """All processes that were there come back: together they know all revocations."""
        self.permit(self.a, "/1")
        name = self.permit(self.b, "/2")
        self.wait()
        for replica in (self.a, self.b):
            replica.client.lose()
        self.engine.streams.clear()
        self.engine.values.clear()
        self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.wait(30)
        self.restart_engine(self.a)
        self.wait(3)
        self.assertFalse(self.allows(self.a, "/1"))
        self.restart_engine(self.b)
        self.wait(3)
        for replica in (self.a, self.b):
            self.assertEqual([self.allows(replica, path) for path in ("/1", "/2")], [True, False])

    def restart_engine(self, replica: Replica) -> None:
        """Let a replica connect to an engine that has lost its data; its numbers depend on the time."""
        if not self.engine.streams:
            name = SharedKeys(SECRET, "events")
            stream = name.name(name.group(b"events"), b"events")
            self.engine.streams[stream] = [(number, [b"x", b"x"]) for number in range(1, 500)]
        replica.client.connect()

    def test_one_does_not_come_back(self) -> None:
        """It may have revoked a grant: the earlier ones do not apply any more."""
        self.permit(self.a)
        self.wait()
        for replica in (self.a, self.b):
            replica.client.lose()
        self.wait(10)
        self.a.client.connect()
        self.wait(RETURN_WITHIN - 1)
        self.assertFalse(self.allows(self.a))
        self.wait(2)
        self.assertFalse(self.allows(self.a))
        self.permit(self.a)
        self.assertTrue(self.allows(self.a))

    def test_single_replica(self) -> None:
        """No other process can have revoked a grant."""
        self.b.client.lose()
        self.wait(EXPIRES + 1)
        self.permit(self.a)
        self.a.client.lose()
        self.wait(10)
        self.a.client.connect()
        self.assertTrue(self.allows(self.a))

    def test_new_process_during_outage(self) -> None:
        """A process that starts meanwhile knows nothing from before: the others still need each other."""
        self.permit(self.a)
        self.wait()
        for replica in (self.a, self.b):
            replica.client.lose()
        self.wait(5)
        later = self.replica("c")
        self.a.client.connect()
        self.wait(2)
        self.assertFalse(self.allows(self.a))
        self.b.client.connect()
        self.wait(2)
        self.assertTrue(self.allows(self.a) and self.allows(self.b))
        self.assertTrue(self.allows(later))

    def test_revoked_long_before_the_connection(self) -> None:
        """A revocation is sent with the next connection, also after a long time."""
        name = self.permit(self.a)
        self.wait()
        self.b.client.lose()
        self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.wait(MAX_AGE + 10)
        self.assertTrue(self.allows(self.a))
        self.b.client.connect()
        self.wait(1)
        self.assertFalse(self.allows(self.a))


class AttackerTests(SharedGrantsTestCase):
    """Someone who can write to the engine can hide and repeat what replicas have written.  That allows nothing."""

    def test_repeated_after_its_revocation(self) -> None:
        name = self.permit(self.a)
        self.wait()
        self.revoke(self.b, name)
        self.repeat("grant")
        self.wait()
        self.assertFalse(self.allows(self.a) or self.allows(self.b))

    def test_repeated_for_a_later_process(self) -> None:
        """A process that starts after the revocation gets the grant, and all that was in the engine before."""
        name = self.permit(self.a)
        self.wait()
        self.stop(self.replica("c"))
        values = dict(self.engine.values)
        self.revoke(self.b, name)
        later = Replica(self.clock, self.engine, "d")
        for kind in ("grant", "grants-known", "grants-wanted", "hello", "state"):
            self.repeat(kind)
        self.engine.values.update(values)
        self.wait(5)
        self.assertFalse(self.allows(later))

    def test_repeated_for_the_first_process(self) -> None:
        """All other processes have ended, and the revocation is removed."""
        name = self.permit(self.a)
        self.wait()
        self.revoke(self.b, name)
        ((stream, events),) = self.engine.streams.items()
        for replica in (self.a, self.b):
            replica.client.lose()
            replica.events.stop()
        self.engine.streams[stream] = []
        later = Replica(self.clock, self.engine, "c")
        for _, fields in events:
            self.engine.execute("XADD", stream, "*", *fields)
        self.wait(5)
        self.assertFalse(self.allows(later))

    def test_other_order(self) -> None:
        """A revocation arrives before the grant that it revokes."""
        self.b.client.pending = []
        name = self.permit(self.a)
        ((stream, events),) = self.engine.streams.items()
        hidden = events.pop()
        self.b.client.flush()
        self.wait()
        self.revoke(self.a, name)
        self.engine.execute("XADD", stream, "*", *hidden[1])
        self.wait()
        self.assertFalse(self.allows(self.b))

    def test_hidden_answer(self) -> None:
        """Without a response, or without the grants in it, a later process uses no earlier grant."""
        self.permit(self.a)
        self.wait()
        for change in (self.engine.values.clear, lambda: self.forge(b"x"), lambda: self.forge(b"[]")):
            later = Replica(self.clock, self.engine, "c")
            for _ in range(40):
                self.clock.advance(0.05)
                change()
            self.assertFalse(self.allows(later))
            later.events.stop()
            later.client.lose()

    def forge(self, value: bytes) -> None:
        for name in [name for name in self.engine.values if b":grants:" in name]:
            self.engine.values[name] = value, 1e9

    def test_grants_of_an_earlier_response(self) -> None:
        """The grants of one response are not accepted as those of another one."""
        name = self.permit(self.a)
        self.wait()
        self.stop(self.replica("c"))
        earlier = next(value for name, value in self.engine.values.items() if b":grants:" in name)
        self.revoke(self.b, name)
        self.permit(self.a, "/other")
        later = Replica(self.clock, self.engine, "d")
        for _ in range(40):
            self.clock.advance(0.05)
            for each in [each for each in self.engine.values if b":grants:" in each]:
                self.engine.values[each] = earlier
        self.assertFalse(self.allows(later))

    def test_forged(self) -> None:
        """Only a holder of the key can make a grant."""
        self.permit(self.a)
        (grant,) = self.a.approvals.grants
        self.revoke(self.a, grant.grant_id)
        ((stream, _),) = self.engine.streams.items()
        document = {**grant.to_json(), "created": EPOCH + self.clock.seconds() + 10}
        event = {"type": "grant", "time": EPOCH + self.clock.seconds(), "from": "x", "grant": document, "seen": []}
        content = json.dumps(event).encode()
        for value in (content, SharedKeys(b"x" * 32, "events").seal(stream, content)):
            self.engine.execute("XADD", stream, "*", b"e", value)
        self.wait()
        self.assertFalse(self.allows(self.b))
        self.engine.execute("XADD", stream, "*", b"e", SharedKeys(SECRET, "events").seal(stream, content))
        self.wait()
        self.assertTrue(self.allows(self.b))

    def test_many_questions(self) -> None:
        """Repeated questions cost one response each time that the stream is read, and old ones cost none."""
        self.permit(self.a)
        for _ in range(5):
            self.repeat("grants-wanted")
        self.engine.commands.clear()
        self.wait(INTERVAL + 0.1)
        self.assertLess(len([each for each in self.engine.commands if each[0] == "SET"]), 4)
        self.clock.advance(15)
        self.wait(2)
        self.engine.commands.clear()
        self.repeat("grants-wanted")
        self.wait(2)
        self.assertEqual([each for each in self.engine.commands if each[0] == "SET"], [])

    def test_another_version(self) -> None:
        """A response that cannot be understood is ignored."""
        later = Replica(self.clock, self.engine, "c")
        keys = later.state.keys("grants")
        self.permit(self.a)
        for _ in range(40):
            self.clock.advance(0.05)
            for name in [name for name in self.engine.values if b":grants:" in name]:
                self.engine.values[name] = keys.seal(name, b'[{"new": 1}]'), 1e9
        self.assertFalse(self.allows(later))
