"""Joins the observations of a run by the ids of requests and the addresses of connections, and judges them.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tests.fleet.observations import (
    AUTHORIZER,
    CLOSED,
    COMPLETE,
    CUT,
    KEPT,
    POSTGRESQL,
    PROBLEM,
    REDIS,
    Fault,
    Held,
    Question,
    Record,
    Revocation,
    Run,
    Sent,
)
from tests.fleet.schedule import ALL, CLIENT, HOST

# What the documentation promises, in seconds.
RECONNECTED_WITHIN = 7.0
RECOVERED_WITHIN = 10.0
IN_MEMORY = 0.5
IN_MEMORY_WITHOUT_SERVER = 6.0

# Seconds after which a process that connects to Redis uses the decisions of others.
JOINED_WITHIN = 2.0
# Each revocation voids the decisions that replicas share, and those of the next seconds: their clocks may differ.
SKEW = 2.0

# The most questions, relative to those of one replica.
QUESTIONS_RATIO = 1.1
# A ratio of fewer questions means nothing.
ENOUGH_QUESTIONS = 20

# The moments at which a program observes the same event differ by less.
_SLACK = 0.25
# A client sees the end of its tunnel so soon.
_NOTICED_WITHIN = 1.0

_UNAVAILABLE = "503 authorizer-unavailable"
_REVOKED = "403 revoked"
_DENIED = "403 denied"


@dataclass
class Verdict:
    """The result of a run.

    @ivar failures: one sentence for each violation.
    @ivar counts: what was counted, by topic.
    @ivar figures: what was measured.
    """

    failures: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there is no violation."""
        return not self.failures

    def count(self, topic: str, name: str, number: int = 1) -> None:
        """Count something."""
        names = self.counts.setdefault(topic, {})
        names[name] = names.get(name, 0) + number


class Joined:
    """The observations of a run, joined."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.records: dict[str, list[Record]] = defaultdict(list)
        for record in run.records:
            self.records[record.client if record.stage == "tunnel" else record.id].append(record)
        self.replica_of = dict(run.sessions)

    @cached_property
    def allows(self) -> dict[tuple[str, str], list[Question]]:
        """The allows, by method and path, in their order."""
        found: dict[tuple[str, str], list[Question]] = defaultdict(list)
        for one in sorted(self.run.questions, key=lambda one: one.at):
            if one.is_allow:
                found[one.method, one.path].append(one)
        return found

    def faults(self, target: str) -> Iterator[Fault]:
        """Return the faults of a target."""
        return (fault for fault in self.run.faults if fault.target == target)

    def was_killed(self, address: str, began: float, ended: float) -> bool:
        """Return whether the replica of a connection was killed within a time."""
        replica = self.replica_of.get(address)
        return any(
            fault.began <= ended + _SLACK and began <= fault.away + _SLACK for fault in self.faults(replica or "")
        )

    def was_away(self, target: str, began: float, ended: float, recovery: float = 0.0) -> bool:
        """Return whether a target could not be used at some time within a time.

        @param recovery: seconds after which it is used again.
        """
        return any(
            fault.began <= ended + _SLACK and began <= fault.repaired + recovery + _SLACK
            for fault in self.faults(target)
        )

    def effective(self, revocation: Revocation, replica: str | None) -> float | None:
        """Return the time at which a revocation must have its effects on a replica.

        @return: C{None} if it need not have any: its own replica was killed before it could send it.
        """
        promised = revocation.done + self.run.revoked_within
        if replica == revocation.replica:
            return promised
        back = [
            fault.repaired
            for fault in self.faults(REDIS)
            if fault.began <= promised and revocation.at <= fault.repaired + RECONNECTED_WITHIN
        ]
        if not back:
            return promised
        due = max(back) + RECONNECTED_WITHIN
        if any(revocation.at <= fault.began <= due for fault in self.faults(revocation.replica)):
            return None
        return max(due, promised)

    def can_share(self, at: float) -> bool:
        """Return whether all replicas could share their decisions at a time, with those that were valid then.

        A decision from a time without Redis, or from just after a revocation, is valid on one replica only.
        """
        run = self.run
        return (
            not self.was_away(REDIS, at, at, RECONNECTED_WITHIN + run.ttl)
            and not any(self.was_away(replica, at, at, JOINED_WITHIN) for replica in run.replicas)
            and not any(each.at <= at <= each.done + run.revoked_within + SKEW + run.ttl for each in run.revocations)
        )


def voids(revocation: Revocation) -> bool:
    """Return whether a revocation voids the cached decisions on requests.  They have no client in common with it."""
    return revocation.kind != HOST


def concerns(revocation: Revocation, held: Held, tunnel_host: str) -> bool:
    """Return whether a revocation ends a tunnel."""
    if revocation.kind == CLIENT:
        return held.identity == revocation.value
    return revocation.kind == ALL or revocation.value == tunnel_host


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
            address, began, ended = tunnel.address, tunnel.ended - _NOTICED_WITHIN, tunnel.ended
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
        valid = any(one.at >= since and request.sent < one.at + run.ttl + _SLACK for one in allows)
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
        elif not its and not joined.was_killed(held.address, held.ended - _NOTICED_WITHIN, held.ended):
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
        seconds = IN_MEMORY_WITHOUT_SERVER if joined.was_away(POSTGRESQL, at, fault.away) else IN_MEMORY
        if at - _SLACK <= fault.away and fault.began <= at + _SLACK + seconds:
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
    if one.path.startswith("/denied/"):
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
        killed = joined.was_killed(held.address, held.ended - _NOTICED_WITHIN, held.ended)
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
            if held.is_cut and (due is None or held.ended <= due + _SLACK):
                explained = True
            if due is None or held.opened is None or held.opened > revocation.at:
                continue
            if held.ended > due:
                late = held.ended - revocation.done
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


# -- how often the authorization service is called


def questions_of_one(
    sent: Iterable[Sent], revocations: Sequence[Revocation], ttl: float
) -> list[tuple[float, tuple[str, str]]]:
    """Return the questions that one replica, which is never killed, asks for the same requests on C{KEPT} paths."""
    voided = sorted(revocation.done for revocation in revocations if voids(revocation))
    asked: dict[tuple[str, str], float] = {}
    found = []
    for one in sorted(sent, key=lambda one: one.sent):
        if not one.path.startswith(KEPT) or one.outcome != COMPLETE:
            continue
        key = (one.method, one.path)
        last = asked.get(key)
        if last is None or one.sent >= last + ttl or bisect_right(voided, last) != bisect_right(voided, one.sent):
            asked[key] = one.sent
            found.append((one.sent, key))
    return found


def check_questions(joined: Joined, verdict: Verdict) -> None:
    """While they can share decisions, the replicas together ask hardly more than one of them."""
    run = joined.run
    asked = [one.at for one in run.questions if one.path.startswith(KEPT)]
    model = [at for at, _ in questions_of_one(run.sent, run.revocations, run.ttl)]
    for name, test, is_binding in (
        ("the whole run", lambda _: True, False),
        ("the time in which all decisions are shared", joined.can_share, True),
    ):
        topic = f"questions about reusable decisions in {name}"
        of_all, of_one = sum(map(test, asked)), sum(map(test, model))
        verdict.count(topic, "of all replicas", of_all)
        verdict.count(topic, "of one replica", of_one)
        if of_one < ENOUGH_QUESTIONS:
            continue
        ratio = of_all / of_one
        verdict.figures[f"{topic}, relative to one replica"] = round(ratio, 3)
        if is_binding and ratio > QUESTIONS_RATIO:
            verdict.failures.append(f"{name}: {of_all} questions, and one replica asks {of_one}: {ratio:.2f} times")


CHECKS: Sequence[Callable[[Joined, Verdict], None]] = (
    check_forwarded,
    check_records,
    check_store,
    check_clients,
    check_tunnels,
    check_questions,
)


def judge(run: Run) -> Verdict:
    """Judge a run."""
    verdict, joined = Verdict(), Joined(run)
    for check in CHECKS:
        check(joined, verdict)
    verdict.counts["faults"] = dict(Counter(fault.target for fault in run.faults))
    return verdict
