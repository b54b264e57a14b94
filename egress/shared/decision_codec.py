"""Decisions in the shared cache, as JSON."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import attr

from egress.model.budget import Budget, By, Unit, WithoutShared
from egress.model.decision import NO_OBLIGATIONS, Decision, Headers, Obligations, Verdict
from egress.model.message import Direction, MessageObligation, obligation_fault

_VERSION: Final = 2
_FINAL: Final = {verdict.value: verdict for verdict in (Verdict.ALLOW, Verdict.DENY)}
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


@attr.s(auto_attribs=True, slots=True, order=False, unsafe_hash=True)
class SharedDecision:
    """A decision with the times of its life, in seconds since the epoch.

    @ivar decision: the decision of the authorizer.
    @ivar since: the time of the call of the authorizer.
    @ivar fresh_until: the time until which it can be reused.
    @ivar stale_until: the time until which it can be reused while the authorizer does not respond.
    @ivar revocations: the ids of the last revocations that were known before the call: they do not void the decision.
    """

    decision: Decision
    since: float
    fresh_until: float
    stale_until: float
    revocations: tuple[str, ...] = ()


def encode(shared: SharedDecision) -> bytes:
    """Return a decision as bytes.  Its verdict is final, and its source is not part of it."""
    decision = shared.decision
    obligations = decision.obligations
    document = [
        _VERSION,
        [shared.since, shared.fresh_until, shared.stale_until],
        shared.revocations,
        [decision.verdict.value, decision.reason, decision.decided_by, decision.rule_id, decision.policy_version],
        [decision.ttl, decision.stale_if_error, decision.cache_key, decision.enforce_in_observe],
        None if obligations == NO_OBLIGATIONS else _obligations(obligations),
    ]
    return _encode(document).encode("ascii")


def decode(content: bytes) -> SharedDecision | None:
    """Return the decision; C{None} if another version has written it."""
    try:
        document = json.loads(content.decode("ascii"))
        version, times, revocations, named, (ttl, stale, cache_key, enforce), obligations = document
        if version != _VERSION:
            return None
        verdict, reason, decided_by, rule_id, policy_version = named
        since, fresh_until, stale_until = map(_number, times)
        known = tuple(map(_text, _list(revocations)))
        decision = Decision(
            _FINAL[verdict],
            _text(reason),
            _text(decided_by),
            rule_id=None if rule_id is None else _text(rule_id),
            ttl=None if ttl is None else _number(ttl),
            stale_if_error=None if stale is None else _number(stale),
            cache_key=None if cache_key is None else tuple(map(_text, _list(cache_key))),
            obligations=NO_OBLIGATIONS if obligations is None else _read_obligations(obligations),
            enforce_in_observe=enforce is True,
            policy_version=None if policy_version is None else _text(policy_version),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return SharedDecision(decision, since, fresh_until, stale_until, known)


def _obligations(obligations: Obligations) -> list[Any]:
    messages = obligations.messages
    return [
        _fields(obligations.set_headers),
        [name.decode("latin-1") for name in obligations.remove_headers],
        obligations.max_bytes,
        obligations.expires_in,
        _fields(obligations.secret_headers),
        None if messages is None else [sorted(each.value for each in messages.directions), messages.max_size],
        [
            (each.rule_id, each.table, each.unit.value, each.amount, each.per, *_more(each))
            for each in obligations.budgets
        ],
    ]


def _read_obligations(document: Any) -> Obligations:
    set_headers, remove, max_bytes, expires_in, secret_headers, messages, budgets = document
    read = None
    if messages is not None:
        directions, max_size = messages
        read = MessageObligation(frozenset(map(Direction, _list(directions))), max_size)
        if obligation_fault(read) is not None:
            raise ValueError("messages")
    if max_bytes is not None and type(max_bytes) is not int:
        raise ValueError("max_bytes")
    return Obligations(
        set_headers=_read_fields(set_headers),
        remove_headers=tuple(_text(name).encode("latin-1") for name in _list(remove)),
        max_bytes=max_bytes,
        expires_in=None if expires_in is None else _number(expires_in),
        secret_headers=_read_fields(secret_headers),
        messages=read,
        budgets=tuple(_read_budget(*_list(each)) for each in _list(budgets)),
    )


def _more(budget: Budget) -> tuple[int, str, str]:
    return budget.capacity, budget.by.value, budget.without_shared.value


def _read_budget(rule_id: object, table: object, unit: object, amount: object, *rest: object) -> Budget:
    per, capacity, by, without_shared = rest
    return Budget(
        rule_id=_text(rule_id),
        table=_text(table),
        unit=Unit(unit),
        amount=_positive(amount),
        per=_number(per),
        capacity=_positive(capacity),
        by=By(by),
        without_shared=WithoutShared(without_shared),
    )


def _fields(headers: Headers) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _read_fields(document: Any) -> Headers:
    return tuple(
        (_text(name).encode("latin-1"), _text(value).encode("latin-1")) for name, value in map(_list, _list(document))
    )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _positive(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("not a positive number")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError("not a number")
    return value  # type: ignore[return-value]
