"""The condition on the service and the method of a gRPC call."""

from __future__ import annotations

import attrs

from egress.grpc.call import CALL_ATTRIBUTES
from egress.policy.match.patterns import Pattern
from egress.policy.match.request_view import UNCERTAIN, RequestView
from egress.policy.match.tristate import Match
from egress.policy.match.work_budget import steps_to_try


@attrs.frozen
class GrpcCalls:
    """A condition on gRPC calls; without patterns for services or methods, it matches all of them.

    @ivar services: the patterns for the full name of the service.
    @ivar methods: the patterns for the name of the method.
    """

    services: tuple[Pattern, ...]
    methods: tuple[Pattern, ...]
    key = "grpc"
    is_seen = False
    depends_on = CALL_ATTRIBUTES

    def match(self, view: RequestView) -> Match:
        """Return whether the request is one of these calls; C{MAYBE} if only some servers read it as a call."""
        call = view.grpc
        if call is None:
            return Match.NO
        if call is UNCERTAIN:
            return Match.MAYBE
        names = (call.service, call.method)
        view.work.spend(steps_to_try(names, len(self.services) + len(self.methods)), "its gRPC method has a long name")
        return Match.YES if self.matches(call.service, call.method) else Match.NO

    def matches(self, service: str, method: str) -> bool:
        """Whether the condition matches calls of a method."""
        return _has(self.services, service) and _has(self.methods, method)

    def stable_for(self, now: float) -> float:
        """Return infinity: the result does not depend on the time."""
        return float("inf")


def _has(patterns: tuple[Pattern, ...], name: str) -> bool:
    return not patterns or any(matches(name) for matches in patterns)
