"""Tests for L{egress.admin.changes}; those of the API and of the console have further ones."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import Unanswered
from egress.admin.changes import ChangeLog, actor_of, answer_approval, revoke_decisions, revoke_grant, uncancelled
from egress.model.approval import ApprovalAnswer
from egress.model.change import Actor, Change, ChangeKind
from egress.model.policy_use import PolicyUse
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from egress.observability.audit_sinks import AuditSinks

ACTOR = Actor(role="admin", place="console")


class FakeRequest:
    """A request of a client."""

    def __init__(self, client: object) -> None:
        self.client = client

    def getClientAddress(self) -> object:
        return self.client


class FakeBackend:
    """A backend with neither pending approvals nor grants in its list."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.result: Deferred[RevocationCounts] = succeed(RevocationCounts(requests=2))

    def listed(self) -> Deferred[Any]:
        return succeed({"pending": [], "grants": []})

    def answer(self, name: str, answer: ApprovalAnswer) -> Deferred[Any]:
        return succeed({"resolved": 1, "grant": None})

    def revoke(self, name: str) -> Deferred[bool]:
        return succeed(True)

    def revoke_decisions(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        return self.result

    def record(self, change: Change) -> None:
        self.changes.append(change)


class ChangesTests(SynchronousTestCase):
    """Who made a change, and what it was."""

    def test_log(self) -> None:
        """A policy that an administrator wrote is also an entry of the history."""
        written: list[Any] = []
        use = PolicyUse(time=1.0, version="v", digest="d", source="console")
        log = ChangeLog(AuditSinks(), lambda: "id", lambda: 1.0, written.append)
        for policy in (None, use):
            log.write(Change(ChangeKind.RULE_ADDED, "a rule", ACTOR, policy))
        self.assertEqual(written, [use])

    def test_actors(self) -> None:
        for client, expected in (
            (IPv4Address("TCP", "10.0.0.1", 7), ("10.0.0.1", 7)),
            (IPv6Address("TCP", "::1", 8), ("::1", 8)),
            (UNIXAddress(b""), ("", 0)),
        ):
            request: Any = FakeRequest(client)
            found = actor_of(request, "admin", "console")
            self.assertEqual((found.role, found.place, (found.address, found.port)), ("admin", "console", expected))

    def test_revocations(self) -> None:
        backend = FakeBackend()
        revocation = Revocation(RevocationKind.HOST, "a.test", 5.0, "alice", "rev-1")
        self.successResultOf(uncancelled(revoke_decisions(backend, revocation, ACTOR)))
        backend.result = fail(Unanswered("a worker did not respond"))
        anonymous = attrs.evolve(revocation, author="")
        self.failureResultOf(uncancelled(revoke_decisions(backend, anonymous, ACTOR)), Unanswered)
        self.assertEqual({change.kind for change in backend.changes}, {ChangeKind.DECISIONS_REVOKED})
        texts = [
            "alice revokes host a.test: 0 cached decisions dropped, 0 tunnels and 2 requests ended",
            "an administrator revokes host a.test, but not everywhere: a worker did not respond",
        ]
        self.assertEqual([change.text for change in backend.changes], texts)

    def test_unlisted(self) -> None:
        """A request that ended meanwhile is recorded without its description."""
        backend = FakeBackend()
        self.successResultOf(uncancelled(answer_approval(backend, "abc", ApprovalAnswer(True), ACTOR)))
        self.successResultOf(uncancelled(revoke_grant(backend, "abc", ACTOR)))
        texts = ["an approver allows pending approval abc, 1 request", "grant abc is revoked"]
        self.assertEqual([change.text for change in backend.changes], texts)
