"""Judges the observations of a run.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tests.fleet.budgets import check_budgets, check_charged
from tests.fleet.joined import (
    APPROVED_WITHIN,
    ENOUGH_APPROVALS,
    IN_MEMORY,
    IN_MEMORY_WITHOUT_SERVER,
    NOTICED_WITHIN,
    RECONNECTED_WITHIN,
    RECOVERED_WITHIN,
    SLACK,
    Joined,
    Verdict,
    concerns,
    voids,
)
from tests.fleet.observations import (
    ASKED,
    AUTHORIZER,
    CLOSED,
    COMPLETE,
    CUT,
    DENIED,
    KEPT,
    POSTGRESQL,
    PROBLEM,
    REDIS,
    Approval,
    Run,
    Sent,
)
from tests.fleet.questions import check_questions

_UNAVAILABLE = "503 authorizer-unavailable"
_REVOKED = "403 revoked"
_DENIED = "403 denied"


# -- no request is forwarded without an allow, and each one has one record


def check_forwarded(joined: Joined, verdict: Verdict) -> None:
    """Each request that reached the origin had an allow that was valid, and one record of it."""
    run = joined.run
    sent = {one.id: one for one in run.sent}
    held = {one.id: one for one in run.held}
    times = Counter((one.id, one.method) for one in run.seen)
    for (id_, method), number in times.items():
        if number > 1 and method == "POST":
            verdict.failures.append(f"{id_}: the origin received a POST {number} times")
    seen_ids = set()
    for seen in run.seen:
        if seen.id in seen_ids:
            continue
        seen_ids.add(seen.id)
        request = sent.get(seen.id)
        tunnel = held.get(seen.id)
        if request is not None:
            _check_allow(joined, request, seen.at, verdict)
            address, began, ended = request.address, request.sent, request.ended
            its = joined.records[request.id]
        elif tunnel is not None:
            if not any(one.id == tunnel.address and one.at <= seen.at for one in joined.allows["CONNECT", "/"]):
                verdict.failures.append(f"{tunnel.id}: the origin received the tunnel without an allow")
            address, began, ended = tunnel.address, tunnel.ended - NOTICED_WITHIN, tunnel.ended
            its = joined.records[tunnel.address]
        else:
            verdict.failures.append(f"{seen.id}: the origin received a request that no client sent")
            continue
        verdict.count("forwarded", "requests" if request is not None else "tunnels")
        if [record.verdict for record in its] == ["allow"]:
            continue
        if not its and joined.was_killed(address, began, ended):
            verdict.count("in flight on a killed replica", "forwarded, without a record")
            continue
        verdict.failures.append(f"{seen.id}: the origin received it, and its records are {its}")
    for one in run.sent:
        if one.outcome == COMPLETE and one.id not in seen_ids:
            verdict.failures.append(f"{one.id}: its client got a response of an origin that did not receive it")


def _check_allow(joined: Joined, request: Sent, at: float, verdict: Verdict) -> None:
    """The decision was made for this request, or was made for another one and was still valid."""
    run = joined.run
    allows = [one for one in joined.allows[request.method, request.path] if one.at <= at]
    if request.path.startswith(KEPT):
        replica = joined.replica_of.get(request.address)
        since = 0.0
        for revocation in run.revocations:
            due = joined.effective(revocation, replica) if voids(revocation) else None
            if due is not None and due <= request.sent:
                since = max(since, revocation.at)
        valid = any(one.at >= since and request.sent < one.at + run.ttl + SLACK for one in allows)
    elif request.path.startswith(ASKED):
        valid = any(one.id == request.id and one.at <= at for one in run.approvals)
    else:
        valid = any(one.id == request.id for one in allows)
    if not valid:
        what = "without an allow" if not allows else f"after its last allow was void ({allows[-1]})"
        verdict.failures.append(f"{request.id}: the origin received {request} {what}")


def check_records(joined: Joined, verdict: Verdict) -> None:
    """Each request has one record, of a client that HAProxy named."""
    run = joined.run
    known: set[str] = set()
    for one in run.sent:
        known.add(one.id)
        its = joined.records[one.id]
        if len(its) > 1:
            verdict.failures.append(f"{one.id}: it has {len(its)} records: {its}")
        elif not its and not joined.was_killed(one.address, one.sent, one.ended):
            verdict.failures.append(f"{one.id}: {one.outcome} ({one.detail}), and it has no record")
        for record in its:
            if record.client != one.address:
                verdict.failures.append(
                    f"{one.id}: its client is {one.address}, and that of its record {record.client}"
                )
            # What was allowed can be cut or revoked after that.
            is_certain = one.outcome in (COMPLETE, PROBLEM) and one.detail != _REVOKED
            if is_certain and (record.verdict == "allow") != (one.outcome == COMPLETE):
                verdict.failures.append(f"{one.id}: {one.outcome} ({one.detail}), and its record is {record}")
    for held in run.held:
        known.add(held.address)
        its = joined.records[held.address]
        if len(its) > 1:
            verdict.failures.append(f"{held.id}: the tunnel has {len(its)} records: {its}")
        elif not its and not joined.was_killed(held.address, held.ended - NOTICED_WITHIN, held.ended):
            verdict.failures.append(f"{held.id}: the tunnel has no record ({held.detail})")
    for name, its in joined.records.items():
        if name not in known and its:
            verdict.failures.append(f"{name or its[0].request}: a record of a request that no client sent: {its[0]}")
    verdict.count("records", "in audit logs", len(run.records))


def check_store(joined: Joined, verdict: Verdict) -> None:
    """The store has the records of the audit logs once, except those that were in the memory of a killed replica."""
    run = joined.run
    stored = Counter(record.request for record in run.stored)
    ended = {one.id: one.ended for one in run.sent} | {one.address: one.ended for one in run.held}
    logged = set()
    for record in run.records:
        logged.add(record.request)
        number = stored[record.request]
        if number > 1:
            verdict.failures.append(f"{record.request}: the store has its record {number} times")
        elif not number:
            at = ended.get(record.client if record.stage == "tunnel" else record.id)
            if at is not None and _was_in_memory(joined, record.replica, at):
                verdict.count("records", "not in the store, because a killed replica had them in memory")
            else:
                verdict.failures.append(f"{record.request}: the store has lost {record}")
    for request in stored:
        if request not in logged:
            verdict.failures.append(f"{request}: the store has a record that no audit log has")
    verdict.count("records", "in the store", len(run.stored))


def _was_in_memory(joined: Joined, replica: str, at: float) -> bool:
    """Return whether a replica was killed so soon after a time that its record was not stored yet."""
    for fault in joined.faults(replica):
        away = joined.was_away(POSTGRESQL, at, fault.away)
        seconds = IN_MEMORY_WITHOUT_SERVER if away else IN_MEMORY
        if at - SLACK <= fault.away and fault.began <= at + SLACK + seconds:
            return True
    return False


# -- which requests fail


def check_clients(joined: Joined, verdict: Verdict) -> None:
    """Only requests in flight on a killed replica fail, or without an authorizer, or because they were revoked."""
    for one in joined.run.sent:
        verdict.count("requests", f"{one.outcome} {one.detail}".strip())
        if _is_expected(one):
            continue
        if one.outcome in (CUT, CLOSED) and joined.was_killed(one.address, one.sent, one.ended):
            verdict.count("in flight on a killed replica", "requests")
        elif one.detail == _UNAVAILABLE and joined.was_away(AUTHORIZER, one.sent, one.ended, RECOVERED_WITHIN):
            verdict.count("denied, because the authorization service was killed", "requests")
        elif (one.outcome == CUT or one.detail == _REVOKED) and _was_revoked(joined, one):
            verdict.count("revoked", "requests")
        else:
            replica = joined.replica_of.get(one.address)
            verdict.failures.append(
                f"{one.id}: {one.outcome} ({one.detail}) on {replica}, and nothing explains it: {one}"
            )
    if not any(one.outcome == COMPLETE for one in joined.run.sent):
        verdict.failures.append("no client got a response of the origin")
    chosen = Counter(joined.replica_of.get(one.address) for one in joined.run.sent if one.outcome == COMPLETE)
    for replica in joined.run.replicas:
        verdict.count("complete responses", replica, chosen[replica])
        if not chosen[replica]:
            verdict.failures.append(f"{replica} has forwarded no request")


def _is_expected(one: Sent) -> bool:
    if one.path.startswith(DENIED):
        return one.outcome == PROBLEM and one.detail == _DENIED
    return one.outcome == COMPLETE


def _was_revoked(joined: Joined, one: Sent) -> bool:
    replica = joined.replica_of.get(one.address)
    for revocation in joined.run.revocations:
        due = joined.effective(revocation, replica)
        if voids(revocation) and due is not None and one.sent <= due and revocation.at <= one.ended:
            return True
    return False


def check_tunnels(joined: Joined, verdict: Verdict) -> None:
    """A tunnel ends because it is revoked, then in time, or because its replica was killed."""
    run = joined.run
    longest = {"on its own replica": 0.0, "on another replica": 0.0}
    for held in run.held:
        replica = joined.replica_of.get(held.address)
        explained = not held.is_cut
        killed = joined.was_killed(held.address, held.ended - NOTICED_WITHIN, held.ended)
        if held.is_cut and killed:
            verdict.count("in flight on a killed replica", "tunnels")
            explained = True
        elif held.opened is None and joined.was_away(AUTHORIZER, held.asked, held.ended, RECOVERED_WITHIN):
            verdict.count("denied, because the authorization service was killed", "tunnels")
            explained = True
        for revocation in run.revocations:
            due = joined.effective(revocation, replica)
            if not concerns(revocation, held, run.tunnel_host) or held.ended < revocation.at:
                continue
            # A tunnel that is opened before a replica learns of a revocation may be cut, too.
            if held.is_cut and (due is None or held.ended <= due + SLACK):
                explained = True
            if due is None or held.opened is None or held.opened > revocation.at:
                continue
            if held.ended > due:
                late = held.ended - revocation.at
                verdict.failures.append(f"{held.id}: {late:.2f} s after {revocation}, its tunnel on {replica} was open")
            elif held.is_cut and not killed:
                where = f"on {'its own' if replica == revocation.replica else 'another'} replica"
                verdict.count("revoked", f"tunnels {where}")
                if not joined.was_away(REDIS, revocation.at, held.ended, RECONNECTED_WITHIN):
                    longest[where] = max(longest[where], held.ended - revocation.at)
        if not explained:
            verdict.failures.append(f"{held.id}: nothing explains the end of its tunnel on {replica}: {held}")
    for where, seconds in longest.items():
        verdict.figures[f"longest time to cut a revoked tunnel {where}, in seconds"] = round(seconds, 3)
    for revocation in run.revocations:
        verdict.count("revocations", revocation.kind)
        if any(joined.effective(revocation, replica) is None for replica in run.replicas):
            verdict.count("revocations", "lost with their replica, while Redis was away")


# -- how soon an approval is effective


def check_approvals(joined: Joined, verdict: Verdict) -> None:
    """With Redis, an approval on one replica is effective on all of them within a second, in 99 of 100 cases."""
    sent = {one.id: one for one in joined.run.sent}
    seconds: list[float] = []
    first: dict[str, Approval] = {}
    for approval in joined.run.approvals:
        if approval.is_confirmed:
            first.setdefault(approval.id, approval)
    for approval in first.values():
        request = sent.get(approval.id)
        if request is None or request.outcome != COMPLETE:
            continue
        is_own = joined.replica_of.get(request.address) == approval.replica
        verdict.count("approvals", f"on {'the replica of the request' if is_own else 'another replica'}")
        if not is_own and not joined.was_away(REDIS, approval.at, request.ended, RECONNECTED_WITHIN):
            seconds.append(request.ended - approval.at)
    if len(seconds) < ENOUGH_APPROVALS:
        return
    p99 = sorted(seconds)[-(-99 * len(seconds) // 100) - 1]
    verdict.figures["p99 of the time until an approval on another replica was effective, in seconds"] = round(p99, 3)
    if p99 > APPROVED_WITHIN:
        verdict.failures.append(f"the p99 until an approval on another replica was effective is {p99:.2f} s")


CHECKS: Sequence[Callable[[Joined, Verdict], None]] = (
    check_forwarded,
    check_records,
    check_store,
    check_clients,
    check_tunnels,
    check_approvals,
    check_questions,
    check_charged,
    check_budgets,
)


def judge(run: Run) -> Verdict:
    """Judge a run."""
    verdict, joined = Verdict(), Joined(run)
    for check in CHECKS:
        check(joined, verdict)
    verdict.counts["faults"] = dict(Counter(fault.target for fault in run.faults))
    return verdict
