"""A test case in a policy."""

from __future__ import annotations

import attrs

from egress.model.decision import DecisionRequest, Verdict
from egress.model.message import Message


@attrs.frozen
class Case:
    """One test case.

    @ivar name: the name in the policy; otherwise a summary of the request.
    @ivar where: the file and line of the test case.
    @ivar request: the request.
    @ivar message: a message of the exchange, and its content, if the test case is about a message.
    @ivar now: the time of the decision, in seconds since the epoch; C{None} if not specified.
    @ivar expect: the expected verdict.
    @ivar rule: the rule that is expected to decide; C{None} accepts any rule.
    """

    name: str
    where: str
    request: DecisionRequest
    now: float | None
    expect: Verdict
    rule: str | None
    message: tuple[Message, bytes] | None = None
