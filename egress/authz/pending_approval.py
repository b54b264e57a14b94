"""One pending approval: the requests that wait for one answer of an approver."""

from __future__ import annotations

import json
from collections.abc import Callable
from os import urandom
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from egress.authz.content_decoding import decoded_for_preview
from egress.model.approval import GrantScope, truncate, truncate_name
from egress.model.decision import Decision, DecisionRequest
from egress.model.request_preview import preview_of

_TOKEN_BYTES: Final = 16


@attrs.define(eq=False)
class WaitingRequest:
    """One request that waits for an approver."""

    decision: Decision
    answer: Deferred[Decision]
    timer: IDelayedCall


@attrs.define(eq=False, kw_only=True)
class PendingApproval:
    """One pending approval, with all requests that it covers.

    @ivar approval_id: a keyed hash of what the approver sees.
    @ivar scope: the scope of a grant that would allow them.
    @ivar grant_id: the id of that grant.
    @ivar until: when the last of them times out, in seconds since the epoch.
    @ivar token: distinguishes it from an earlier or later one with the same id.
    """

    approval_id: str
    grant_id: str
    scope: GrantScope
    request: DecisionRequest
    since: float
    until: float
    token: str = attrs.field(factory=lambda: urandom(_TOKEN_BYTES).hex())
    waiting: list[WaitingRequest] = attrs.field(factory=list)
    _preview: tuple[dict[str, Any], int] | None = None

    @property
    def preview(self) -> tuple[dict[str, Any], int]:
        """The header fields and the content for approvers, without secrets, and its length as JSON."""
        if self._preview is None:
            found = preview_of(self.request, decoded_for_preview(self.request))
            self._preview = found, len(json.dumps(found))
        return self._preview

    def shown(self, show: Callable[[str], str]) -> dict[str, Any]:
        """Return the entry in a list, as JSON, without the preview.

        @param show: redacts a URL for display.
        """
        request, decision = self.request, self.waiting[0].decision
        return {
            "id": self.approval_id,
            "stage": request.stage.value,
            "method": truncate_name(request.method),
            "url": truncate(show(request.url)),
            "contentLength": request.content_length,
            "client": request.client.address,
            "identity": truncate_name(request.client.identity),
            "ruleId": truncate_name(decision.rule_id),
            "reason": truncate(decision.reason),
            "decidedBy": truncate(decision.decided_by),
            "count": len(self.waiting),
            "since": self.since,
            "until": self.until,
        }
