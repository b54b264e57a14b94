"""How often replicas call the authorization service, compared with one replica.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from tests.fleet.joined import ENOUGH_QUESTIONS, QUESTIONS_RATIO, SLACK, Joined, Verdict, voids
from tests.fleet.observations import COMPLETE, KEPT, Question, Revocation, Sent


def questions_of_one(sent: Iterable[Sent], revocations: Sequence[Revocation], ttl: float) -> list[float]:
    """Return the times of the questions that one replica asks for the same requests, if it is never killed."""
    voided = sorted(revocation.at for revocation in revocations if voids(revocation))
    asked: dict[tuple[str, str], float] = {}
    found = []
    for one in sorted(sent, key=lambda one: one.sent):
        if not one.path.startswith(KEPT) or one.outcome != COMPLETE:
            continue
        key = (one.method, one.path)
        last = asked.get(key)
        if last is None or one.sent >= last + ttl or _voids_between(voided, last, one.sent):
            asked[key] = one.sent
            found.append(one.sent)
    return found


def _voids_between(voided: Sequence[float], began: float, ended: float) -> bool:
    return bisect_right(voided, began) != bisect_right(voided, ended)


def repeated(questions: Iterable[Question], revocations: Sequence[Revocation], ttl: float) -> list[Question]:
    """Return the questions on C{KEPT} paths that one replica would not ask: an earlier decision is valid."""
    voided = sorted(revocation.at for revocation in revocations if voids(revocation))
    last: dict[tuple[str, str], float] = {}
    found = []
    for one in sorted(questions, key=lambda one: one.at):
        key = (one.method, one.path)
        before = last.get(key)
        if before is None or one.at >= before + ttl - SLACK or _voids_between(voided, before, one.at):
            last[key] = one.at
        else:
            found.append(one)
    return found


def check_questions(joined: Joined, verdict: Verdict) -> None:
    """While they share all decisions, the replicas together ask hardly more than one of them."""
    run = joined.run
    asked = [one for one in run.questions if one.path.startswith(KEPT)]
    again = [one for one in repeated(asked, run.revocations, run.ttl) if joined.can_share(one.at)]
    shared = [one for one in asked if joined.can_share(one.at)]
    model = len(questions_of_one(run.sent, run.revocations, run.ttl))
    for name, of_all, of_one, is_binding in (
        ("the whole run", len(asked), model, False),
        ("the time in which all decisions are shared", len(shared), len(shared) - len(again), True),
    ):
        topic = f"questions about reusable decisions in {name}"
        verdict.count(topic, "of all replicas", of_all)
        verdict.count(topic, "of one replica", of_one)
        if of_one < ENOUGH_QUESTIONS:
            continue
        ratio = of_all / of_one
        verdict.figures[f"{topic}, relative to one replica"] = round(ratio, 3)
        if is_binding and ratio > QUESTIONS_RATIO:
            verdict.failures.append(f"{name}: {of_all} questions, and one replica asks {of_one}: {ratio:.2f} times")
