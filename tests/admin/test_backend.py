"""Tests for L{egress.admin.backend}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from egress.admin.api import Unanswered
from egress.admin.backend import LocalAdminBackend
from egress.admin.changes import ChangeLog
from egress.admin.grant_setup import use_alone
from egress.admin.stored_grants import STORED_WITHIN
from egress.interfaces import IAuditSink, IRevocations
from egress.model.approval import ApprovalAnswer
from egress.model.change import Actor, Change, ChangeKind
from egress.model.explanation import ExplainRequest, Explanation
from egress.model.record import ExchangeRecord
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from tests.admin.test_stored_grants import Process
from tests.authz.test_approvals import ApprovalsTestCase
from tests.store.grant_cases import NOW, MemoryDatabase, grant, store_of

EXPLANATION = Explanation("GET", "x", (), "allow", "why", "me")


@implementer(IAuditSink)
class Written:
    """A sink that appends to a list."""

    def __init__(self, records: list[ExchangeRecord]) -> None:
        self._records = records

    def write(self, record: ExchangeRecord) -> None:
        self._records.append(record)

    def close(self) -> None:
        pass


@implementer(IRevocations)
class LocalAdminBackendTests(ApprovalsTestCase):
    """The backend of one process, for local clients and for a parent process."""

    def setUp(self) -> None:
        super().setUp()
        self.explained: list[ExplainRequest] = []
        self.written: list[ExchangeRecord] = []
        changes = ChangeLog(Written(self.written), lambda: "id-1", lambda: 5.0)
        self.revoked: list[Revocation] = []
        self.backend = LocalAdminBackend(self.approvals, self.explain, changes, self)

    def explain(self, question: ExplainRequest) -> Deferred[Explanation]:
        self.explained.append(question)
        return succeed(EXPLANATION)

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """See L{IRevocations.apply}."""
        self.revoked.append(revocation)
        return succeed(RevocationCounts(1, 2, 3, 4))

    def test_revocations(self) -> None:
        revocation = Revocation(RevocationKind.RULE, "r", 5.0, "alice", "rev-1")
        self.assertEqual(self.found(self.backend.revoke_decisions(revocation)), RevocationCounts(1, 2, 3, 4))
        found = self.found(self.backend.revoke_decisions_for_parent(revocation.to_json()))
        self.assertEqual(found, {"cached": 1, "grants": 2, "tunnels": 3, "requests": 4})
        self.assertEqual(self.revoked, [revocation] * 2)

    def test_without_shared_state(self) -> None:
        """There is nothing to report to a supervisor."""
        self.backend.report(lambda word, about: self.fail(word))

    def test_without_store(self) -> None:
        """There is nothing to start and to stop."""
        self.backend.start()
        self.assertIsNone(self.found(self.backend.stop()))

    def test_stored(self) -> None:
        """Stored grants are read at the start, and a revocation is stored before it is complete."""
        database = MemoryDatabase()
        stored = Process(self.clock, database).stored
        use_alone(self.approvals, stored)
        nothing: Any = None
        backend = LocalAdminBackend(self.approvals, self.explain, nothing, self, stored=stored)
        store_of(database).write([grant("g", seconds=1e10)], [], NOW)
        backend.start()
        self.clock.advance(0.2)
        self.assertEqual([each["id"] for each in self.found(backend.listed())["grants"]], ["g"])
        done = backend.revoke("g")
        self.assertNoResult(done)
        self.clock.advance(0)
        self.assertTrue(self.found(done))
        self.assertEqual(store_of(database).read(NOW).revocations[0].value, "g")
        self.assertIsNone(self.found(backend.stop()))
        database.is_reached = False
        done = backend.revoke("g")
        self.clock.advance(STORED_WITHIN)
        self.failureResultOf(done, Unanswered)
        decisions = backend.revoke_decisions(Revocation(RevocationKind.RULE, "r", 5.0, "alice", "rev-1"))
        self.clock.advance(STORED_WITHIN)
        self.assertEqual(self.found(decisions), RevocationCounts(1, 2, 3, 4, unconfirmed=("the audit store",)))

    def found(self, asked: Deferred[Any]) -> Any:
        return self.successResultOf(asked)

    def test_secrets(self) -> None:
        self.hold(path="/?access_token=hunter2")
        self.assertEqual(self.found(self.backend.listed())["pending"][0]["url"], "http://a.test/?access_token=REDACTED")

    def test_answers(self) -> None:
        held = self.hold()
        self.assertEqual(
            self.found(self.backend.answer(self.the_id(), ApprovalAnswer(True))), {"resolved": 1, "grant": None}
        )
        self.assertTrue(self.successResultOf(held).allowed)
        held = self.hold()
        times = {"created": self.clock.seconds(), "until": self.clock.seconds() + 60, "after": []}
        asked = {"id": self.the_id(), "answer": {"answer": "allow", "for": 60}, "times": times}
        (one,) = self.backend.pending_approvals()
        self.assertEqual(one["id"], self.the_id())
        found = self.backend.resolve_for_parent(asked)
        self.assertEqual((found["resolved"], found["grant"]["subject"]["method"]), (1, "GET"))
        self.assertTrue(self.successResultOf(held).allowed)

        name = found["grant"]["grant_id"]
        self.assertTrue(self.found(self.backend.revoke(name)))
        held = self.hold()
        shown = self.found(self.backend.answer(self.the_id(), ApprovalAnswer(True, 60)))["grant"]
        self.assertEqual((shown["id"], shown["url"]), (name, "http://a.test/"))
        self.assertTrue(self.found(self.backend.revoke(name)))
        self.assertTrue(self.successResultOf(held).allowed)
        held = self.hold()
        self.assertEqual(self.backend.add_grant_for_parent(found["grant"]), 1)
        self.assertTrue(self.successResultOf(held).allowed)

    def test_changes(self) -> None:
        """A change becomes a record, also that of the supervisor."""
        change = Change(
            ChangeKind.RULE_ADDED, "a rule", Actor(role="admin", address="10.0.0.1", port=7, place="console")
        )
        self.backend.record(change)
        self.assertTrue(self.backend.record_for_parent(change.to_json()))
        self.assertEqual(self.written, [change.record(5.0, "id-1")] * 2)

    def test_explain(self) -> None:
        question = ExplainRequest("GET", "x")
        self.assertEqual(self.found(self.backend.explain(question)), EXPLANATION.to_json())
        self.assertEqual(self.found(self.backend.explain_for_parent(question.to_json())), EXPLANATION.to_json())
        self.assertEqual(self.explained, [question, question])
