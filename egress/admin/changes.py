"""Changes by administrators, each of which leaves an audit record."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from egress.interfaces import IAuditSink
from egress.model.approval import ApprovalAnswer
from egress.model.change import Actor, Change, ChangeKind
from egress.model.counted import counted
from egress.model.policy_use import PolicyUse
from egress.model.revocation import Revocation, RevocationCounts

_T = TypeVar("_T")


@attrs.frozen
class ChangeLog:
    """Writes the records of changes.

    @ivar sink: the audit log and the audit store; they receive no record of an exchange from this object.
    @ivar new_id: creates the id of a record.
    @ivar now: returns the seconds since the epoch.
    @ivar write_policy: adds an entry to the history of policies.
    """

    sink: IAuditSink
    new_id: Callable[[], str]
    now: Callable[[], float]
    write_policy: Callable[[PolicyUse], object] = lambda _: None

    def write(self, change: Change) -> None:
        """Write a record."""
        self.sink.write(change.record(self.now(), self.new_id()))
        if change.policy is not None:
            self.write_policy(change.policy)


def actor_of(request: Request, role: str, place: str) -> Actor:
    """Return who sent a request.

    @param role: the role of the token or of the session.
    @param place: where the change is made.
    """
    client = request.getClientAddress()  # type: ignore[no-untyped-call]
    if isinstance(client, (IPv4Address, IPv6Address)):
        return Actor(role=role, address=client.host, port=client.port, place=place)
    return Actor(role=role, place=place)


def uncancelled(coroutine: Coroutine[Deferred[Any], Any, _T]) -> Deferred[_T]:
    """Run a change to its end, also if the client disconnects meanwhile: its record must not be missing."""
    result: Deferred[_T] = Deferred()
    Deferred.fromCoroutine(coroutine).addBoth(result.callback)
    return result


async def answer_approval(backend: Any, name: str, answer: ApprovalAnswer, actor: Actor) -> dict[str, Any]:
    """Resolve a pending approval, and record it.

    @param backend: the L{egress.admin.api.AdminBackend}.
    @return: the result of its C{answer}.
    """
    listed = await backend.listed()
    found: dict[str, Any] = await backend.answer(name, answer)
    if found["resolved"]:
        request = _request(listed["pending"], name)
        duration = "" if answer.seconds is None else f", and for {answer.seconds:g} seconds"
        what = f"{answer.who} {'allows' if answer.allow else 'denies'} pending approval {name}"
        number = counted(found["resolved"], "request")
        reason = f": {answer.reason}" if answer.reason else ""
        kind = ChangeKind.APPROVAL_ALLOWED if answer.allow else ChangeKind.APPROVAL_DENIED
        if answer.seconds is not None:
            kind = ChangeKind.GRANT_ADDED
        backend.record(Change(kind, f"{what}, {number}{duration}{request}{reason}", actor))
    return found


async def revoke_grant(backend: Any, name: str, actor: Actor) -> bool:
    """Revoke a grant, and record it.

    @param backend: the L{egress.admin.api.AdminBackend}.
    @return: the result of its C{revoke}.
    """
    listed = await backend.listed()
    existed: bool = await backend.revoke(name)
    if existed:
        text = f"grant {name} is revoked{_request(listed['grants'], name)}"
        backend.record(Change(ChangeKind.GRANT_REVOKED, text, actor))
    return existed


async def revoke_decisions(backend: Any, revocation: Revocation, actor: Actor) -> RevocationCounts:
    """Void decisions, and record it.

    @param backend: the L{egress.admin.api.AdminBackend}.
    @return: the result of its C{revoke_decisions}.
    """
    what = f"{revocation.author or 'an administrator'} revokes {revocation.subject}"
    try:
        counts: RevocationCounts = await backend.revoke_decisions(revocation)
    except Exception as error:
        # Other processes have applied it.
        backend.record(Change(ChangeKind.DECISIONS_REVOKED, f"{what}, but not everywhere: {error}", actor))
        raise
    backend.record(Change(ChangeKind.DECISIONS_REVOKED, f"{what}: {counts}", actor))
    return counts


def _request(entries: list[Mapping[str, Any]], name: str) -> str:
    """Describe the request of a pending approval or of a grant; empty if it is not listed any more."""
    for each in entries:
        if each["id"] == name:
            return f", {each['method']} {each['url']} of {each['identity'] or each['client']}"
    return ""
