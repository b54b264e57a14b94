"""A test case inside a policy."""

from __future__ import annotations

import attrs

from egress.model.decision import DecisionRequest, Verdict


@attrs.frozen
class Case:
    """One test.

    @ivar name: the name that it was given, or the request.
    @ivar where: its file and line.
    @ivar now: when, in seconds since the epoch; C{None}: not said.
    @ivar expect: the verdict that it should have.
    @ivar rule: the rule that should decide; C{None}: any.
    """

    name: str
    where: str
    request: DecisionRequest
    now: float | None
    expect: Verdict
    rule: str | None
