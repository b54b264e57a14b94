"""Approvals: the answer of an approver, and the grant that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

from egress.model.decision import DecisionRequest
from egress.model.quote import quoted

# A longer permission belongs in the policy, where others can review it.
LONGEST: Final = 7 * 24 * 3600.0
_MAX_REASON: Final = 500
_MAX_NAME: Final = 100
# The displayed length of a URL, and of other text that a client or an authorizer controls.  A list of many long texts
# must remain small enough to send and to read.
_SHOWN: Final = 2000
_SHOWN_OF_NAMES: Final = 200
_FIELDS: Final = frozenset({"answer", "for", "reason", "by"})


class InvalidApprovalAnswer(ValueError):
    """An approver's answer that cannot be parsed; the message names the error and the fix."""


@attrs.frozen
class ApprovalAnswer:
    """The answer of an approver.

    @ivar allow: whether the request is allowed.
    @ivar seconds: how long identical requests are allowed without approval; C{None}: only the pending requests.
    @ivar reason: the reason, for the client and the audit log; may be empty.
    @ivar by: the approver's name, as the approver states it; may be empty.
    """

    allow: bool
    seconds: float | None = None
    reason: str = ""
    by: str = ""

    @classmethod
    def parse(cls, document: object) -> ApprovalAnswer:
        """Parse JSON: C{{"answer": "allow", "for": 3600, "reason": "...", "by": "..."}}.

        @raise InvalidApprovalAnswer: if the document is not valid.
        """
        if not isinstance(document, dict):
            raise InvalidApprovalAnswer('send an object, as in {"answer": "allow"}')
        unknown = sorted(map(str, document.keys() - _FIELDS))
        if unknown:
            raise InvalidApprovalAnswer(f"{quoted(unknown[0])} is not a known member: use {', '.join(sorted(_FIELDS))}")
        if document.get("answer") not in ("allow", "deny"):
            raise InvalidApprovalAnswer('"answer" must be "allow" or "deny"')
        allow = document["answer"] == "allow"
        seconds = document.get("for")
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
                raise InvalidApprovalAnswer('"for" must be a number of seconds')
            if not allow:
                raise InvalidApprovalAnswer('"for" requires "allow": a denial applies only to pending requests')
            if not 0 < seconds <= LONGEST:
                raise InvalidApprovalAnswer(
                    f'"for" must be at most {LONGEST:g} seconds: use a rule of the policy for a longer time'
                )
        reason = _text(document, "reason", _MAX_REASON)
        return cls(allow, None if seconds is None else float(seconds), reason, _text(document, "by", _MAX_NAME))

    def to_json(self) -> dict[str, Any]:
        """Serialize the object for L{parse}."""
        return {
            "answer": "allow" if self.allow else "deny",
            "for": self.seconds,
            "reason": self.reason,
            "by": self.by,
        }

    @property
    def who(self) -> str:
        """The approver's name for display."""
        return self.by or "an approver"


def _text(document: Mapping[str, object], name: str, length: int) -> str:
    text = document.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > length or not text.isprintable():
        raise InvalidApprovalAnswer(f'"{name}" must be a string of up to {length} printable characters')
    return text.strip()


@attrs.frozen
class GrantScope:
    """The scope of a grant: the requests for which all of these fields are equal.

    The scope does not include the query, the header fields or the content.

    @ivar stage: C{"request"} or C{"tunnel"}.
    @ivar method: the method; C{"CONNECT"} for a tunnel.
    @ivar origin: the scheme and the authority, as text.
    @ivar path: the path as sent, without the query.
    @ivar client: the client's address.
    @ivar identity: the name of the client; C{None} if it has none.
    @ivar rule_id: the rule that requires the approval; C{None} if the authorizer names none.
    """

    stage: str
    method: str
    origin: str
    path: str
    client: str
    identity: str | None
    rule_id: str | None

    @classmethod
    def of(cls, request: DecisionRequest, rule_id: str | None) -> GrantScope:
        """Return the scope of a request for which a rule requires an approval."""
        path = request.path.partition("?")[0]
        client = request.client
        return cls(
            request.stage.value, request.method, str(request.origin), path, client.address, client.identity, rule_id
        )


@attrs.frozen
class GrantTimes:
    """When a grant was made, and when it ends.

    All processes in which requests wait for one approver's answer make the same grant, because it has the same times.

    @ivar created: see L{Grant}.
    @ivar until: see L{Grant}.
    @ivar after: see L{Grant}.
    """

    created: float
    until: float
    after: tuple[str, ...] = ()

    def apply(self, grant: Grant) -> Grant:
        """Return a grant with these times."""
        return attrs.evolve(grant, created=self.created, until=self.until, after=self.after)

    def to_json(self) -> dict[str, Any]:
        """Serialize the times for L{from_json} in another process."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> GrantTimes:
        """Parse times that another process serialized."""
        return cls(document["created"], document["until"], tuple(document["after"]))


@attrs.frozen
class Grant:
    """A standing approval: an approver allowed a scope for a limited time.

    @ivar grant_id: identifies the grant in the admin API.
    @ivar subject: the scope.
    @ivar until: when the grant expires, in seconds since the epoch.
    @ivar by: the approver's name, as the approver states it; may be empty.
    @ivar reason: the approver's reason; may be empty.
    @ivar created: when it was made, in seconds since the epoch.
    @ivar after: the ids of revocations that it is not subject to, because it was made after them.
    """

    grant_id: str
    subject: GrantScope
    until: float
    by: str
    reason: str
    created: float = 0.0
    after: tuple[str, ...] = ()

    @property
    def times(self) -> GrantTimes:
        """The same without the scope."""
        return GrantTimes(self.created, self.until, self.after)

    def to_display(self) -> dict[str, Any]:
        """Serialize the grant for display."""
        subject = self.subject
        return {
            "id": self.grant_id,
            "stage": subject.stage,
            "method": truncate_name(subject.method),
            "url": truncate(f"{subject.origin}{'' if subject.path == '*' else subject.path}"),
            "client": subject.client,
            "identity": truncate_name(subject.identity),
            "ruleId": truncate_name(subject.rule_id),
            "until": self.until,
            "by": self.by,
            "reason": self.reason,
        }

    def to_json(self) -> dict[str, Any]:
        """Serialize the grant for L{from_json} in another process."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Grant:
        """Parse a grant that another process serialized."""
        subject, after = GrantScope(**document["subject"]), tuple(document["after"])
        return cls(**{**document, "subject": subject, "after": after})


def truncate(text: str, most: int = _SHOWN) -> str:
    """Truncate a URL or a reason to the displayed length, and append the number of omitted characters."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def truncate_name(name: str | None) -> str | None:
    """Truncate a name to the displayed length, and append the number of omitted characters."""
    return None if name is None else truncate(name, _SHOWN_OF_NAMES)
