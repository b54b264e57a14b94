"""What a person is asked, and what one answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

from egress.model.decision import DecisionRequest
from egress.model.quote import quoted

# A permission for longer belongs into the policy, where others read it.
LONGEST: Final = 7 * 24 * 3600.0
_MAX_REASON: Final = 500
_MAX_NAME: Final = 100
# What is shown of a URL, and of anything else that a client or an authorizer has chosen.  A list of many long ones must
# still be one that can be sent and read.
_SHOWN: Final = 2000
_SHOWN_OF_NAMES: Final = 200
_FIELDS: Final = frozenset({"answer", "for", "reason", "by"})


class InvalidApprovalAnswer(ValueError):
    """An answer that cannot be read; the text says what is wrong with it."""


@attrs.frozen
class ApprovalAnswer:
    """What a person says.

    @ivar allow: whether the request may leave.
    @ivar seconds: for how long the same is allowed without asking; C{None}: this once.
    @ivar reason: why, for the client and the audit log; may be empty.
    @ivar by: who says so, as they call themselves; may be empty.
    """

    allow: bool
    seconds: float | None = None
    reason: str = ""
    by: str = ""

    @classmethod
    def parse(cls, document: object) -> ApprovalAnswer:
        """Read JSON: C{{"answer": "allow", "for": 3600, "reason": "...", "by": "..."}}.

        @raise InvalidApprovalAnswer: for anything else.
        """
        if not isinstance(document, dict):
            raise InvalidApprovalAnswer('write an object, as in {"answer": "allow"}')
        unknown = sorted(map(str, document.keys() - _FIELDS))
        if unknown:
            raise InvalidApprovalAnswer(f"{quoted(unknown[0])} is not among {', '.join(sorted(_FIELDS))}")
        if document.get("answer") not in ("allow", "deny"):
            raise InvalidApprovalAnswer('"answer" is "allow" or "deny"')
        allow = document["answer"] == "allow"
        seconds = document.get("for")
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
                raise InvalidApprovalAnswer('"for" is a number of seconds')
            if not allow:
                raise InvalidApprovalAnswer('"for" goes with "allow"; a denial is for the requests that wait')
            if not 0 < seconds <= LONGEST:
                raise InvalidApprovalAnswer(
                    f'"for" is at most {LONGEST:g} seconds; a rule of the policy can allow for longer'
                )
        reason = _text(document, "reason", _MAX_REASON)
        return cls(allow, None if seconds is None else float(seconds), reason, _text(document, "by", _MAX_NAME))

    def to_json(self) -> dict[str, Any]:
        """Write what L{parse} reads."""
        return {
            "answer": "allow" if self.allow else "deny",
            "for": self.seconds,
            "reason": self.reason,
            "by": self.by,
        }

    @property
    def who(self) -> str:
        """Who says so, for people."""
        return self.by or "a person"


def _text(document: Mapping[str, object], name: str, length: int) -> str:
    text = document.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > length or not text.isprintable():
        raise InvalidApprovalAnswer(f'"{name}" is a text of up to {length} printable characters')
    return text.strip()


@attrs.frozen
class GrantScope:
    """What a permission is about: every question of which all of this is the same.

    The query is not part of it, nor are fields and content.

    @ivar stage: C{"request"} or C{"tunnel"}.
    @ivar client: the client's address.
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
        """What a question is about, to which a rule says that a person is to be asked."""
        path = request.path.partition("?")[0]
        client = request.client
        return cls(
            request.stage.value, request.method, str(request.origin), path, client.address, client.identity, rule_id
        )


@attrs.frozen
class Grant:
    """What a person has allowed for a time.

    @ivar until: seconds since the epoch.
    """

    grant_id: str
    subject: GrantScope
    until: float
    by: str
    reason: str

    def to_display(self) -> dict[str, Any]:
        """Write it for people."""
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
        """Write what L{from_json} reads, in another process of this proxy."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Grant:
        """Read what another process of this proxy has written."""
        return cls(**{**document, "subject": GrantScope(**document["subject"])})


def truncate(text: str, most: int = _SHOWN) -> str:
    """Give as much of a URL, or of a reason, as is shown, and say so."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def truncate_name(name: str | None) -> str | None:
    """Give as much of a name as is shown, and say so."""
    return None if name is None else truncate(name, _SHOWN_OF_NAMES)
