"""The pending approvals and the grants, as the Approvals page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import attrs

from egress.console import formats
from egress.model.approval import ApprovalAnswer, InvalidApprovalAnswer
from egress.model.counted import counted

TIMES: Final = (
    (900, "15 minutes"),
    (3600, "1 hour"),
    (8 * 3600, "8 hours"),
    (24 * 3600, "1 day"),
    (7 * 24 * 3600, "7 days"),
)
"""The times for which a grant can be made: seconds, and words."""

_ANSWERS: Final = {"once": "allow", "grant": "allow", "deny": "deny"}
_SOON: Final = 60.0


@attrs.frozen(kw_only=True)
class PendingRow:
    """One pending approval.

    @ivar id: its id.
    @ivar method: the method.
    @ivar url: the redacted URL.
    @ivar requests: the number of requests, if there are several.
    @ivar client: the client.
    @ivar nodes: the replicas on which the requests wait; empty if replicas do not share approvals.
    @ivar rule: the rule that requires the approval; empty if the authorizer names none.
    @ivar reason: the reason of the rule.
    @ivar decided_by: the authorizer.
    @ivar waiting: how long it has been waiting.
    @ivar left: the time that is left.
    @ivar is_urgent: whether less than a minute is left.
    @ivar headers: the header fields without secrets: names and values.
    @ivar more_headers: how many others there are, in words.
    @ivar content: the beginning of the content; C{None} if it is not shown.
    @ivar content_note: what the content is, or why it is not shown.
    """

    id: str
    method: str
    url: str
    requests: str
    client: str
    nodes: str
    rule: str
    reason: str
    decided_by: str
    waiting: str
    left: str
    is_urgent: bool
    headers: tuple[tuple[str, str], ...]
    more_headers: str
    content: str | None
    content_note: str


@attrs.frozen(kw_only=True)
class GrantRow:
    """One grant.

    @ivar id: its id.
    @ivar method: the method.
    @ivar url: the URL without its query.
    @ivar client: the client.
    @ivar rule: the rule that requires the approval.
    @ivar until: when it ends, in UTC.
    @ivar left: the time that is left.
    @ivar by: the approver.
    @ivar reason: the reason of the approver.
    """

    id: str
    method: str
    url: str
    client: str
    rule: str
    until: str
    left: str
    by: str
    reason: str


@attrs.frozen
class ApprovalsView:
    """The Approvals page.

    @ivar pending: the pending approvals, the oldest first.
    @ivar grants: the grants, the first to end first.
    """

    pending: tuple[PendingRow, ...]
    grants: tuple[GrantRow, ...]

    @classmethod
    def of(cls, listed: Mapping[str, Any], now: float) -> ApprovalsView:
        """Make the page from the list of an L{egress.admin.api.AdminBackend}."""
        return cls(
            tuple(_pending(one, now) for one in listed["pending"]), tuple(_grant(one, now) for one in listed["grants"])
        )

    @property
    def version(self) -> str:
        """A text that changes if the page has other entries: the times that are left do not count."""
        entries = [(one.id, one.requests) for one in self.pending], [(one.id, one.until) for one in self.grants]
        return sha256(repr(entries).encode()).hexdigest()[:16]


def client_text(address: str, identity: str | None) -> str:
    """Return a client with its name, if it has one."""
    return address if identity is None else f"{identity} at {address}"


def _pending(one: Mapping[str, Any], now: float) -> PendingRow:
    preview = one["preview"]
    text, note = _content(one, preview)
    left = one["until"] - now
    more = 0 if preview is None else preview["moreHeaders"]
    return PendingRow(
        id=one["id"],
        method=one["method"],
        url=one["url"],
        requests="" if one["count"] == 1 else counted(one["count"], "request"),
        client=client_text(one["client"], one["identity"]),
        nodes=", ".join(one.get("nodes", ())),
        rule=one["ruleId"] or "",
        reason=one["reason"],
        decided_by=one["decidedBy"],
        waiting=formats.seconds(max(0.0, now - one["since"])),
        left=formats.seconds(max(0.0, left)),
        is_urgent=left < _SOON,
        headers=() if preview is None else tuple((name, value) for name, value in preview["headers"]),
        more_headers="" if not more else counted(more, "other field"),
        content=text,
        content_note=note,
    )


def _content(one: Mapping[str, Any], preview: Mapping[str, Any] | None) -> tuple[str | None, str]:
    """Return the content, and what it is, or why it is not shown."""
    length = one["contentLength"]
    size = "of unknown length" if length is None else formats.size(length)
    if length == 0:
        return None, "No content"
    if preview is None:
        return None, f"Content {size}, not shown because the list is long"
    content = preview["content"]
    if content is None:
        return None, f"Content {size}, not read: an approval allows any content"
    kind = content["type"] or "of unknown type"
    if content["text"] is None:
        return None, f"Content {size}, {kind}, not text"
    return content["text"], f"Content {size}, {kind}{', only its beginning' if content['truncated'] else ''}"


def _grant(one: Mapping[str, Any], now: float) -> GrantRow:
    return GrantRow(
        id=one["id"],
        method=one["method"],
        url=one["url"],
        client=client_text(one["client"], one["identity"]),
        rule=one["ruleId"] or formats.NONE,
        until=formats.moment(one["until"]),
        left=formats.seconds(max(0.0, one["until"] - now)),
        by=one["by"] or formats.NONE,
        reason=one["reason"] or formats.NONE,
    )


def answer_of(answer: str, seconds: str, reason: str, by: str) -> ApprovalAnswer:
    """Parse the form of a pending approval.

    @param answer: C{once}, C{grant} or C{deny}.
    @param seconds: the time of a grant.
    @param reason: the reason of the approver; may be empty.
    @param by: the name of the approver; may be empty.
    @raise InvalidApprovalAnswer: if a field is not valid.
    """
    if answer not in _ANSWERS:
        raise InvalidApprovalAnswer("choose to allow or to deny")
    document: dict[str, Any] = {"answer": _ANSWERS[answer], "reason": reason, "by": by}
    if answer == "grant":
        if seconds not in {str(time) for time, _ in TIMES}:
            raise InvalidApprovalAnswer("choose one of the times")
        document["for"] = int(seconds)
    return ApprovalAnswer.parse(document)


def notice_of(done: str, name: str, number: str) -> tuple[str, str] | None:
    """Return the kind and the text of a notice about what the visitor did.

    @param done: C{allowed}, C{granted}, C{denied}, C{gone}, C{revoked} or C{no-grant}.
    @param name: the id of the approval or grant.
    @param number: the number of requests.
    """
    requests = counted(int(number), "request") if number.isdecimal() and len(number) < 6 else "the requests"
    texts = {
        "allowed": ("good", f"{name}: {requests} allowed."),
        "granted": ("good", f"{name}: {requests} allowed, with a grant for the next ones."),
        "denied": ("good", f"{name}: {requests} denied."),
        "gone": ("warn", f"{name} is not pending any more: it was already allowed or denied, or its time is over."),
        "revoked": ("good", f"The grant {name} is revoked."),
        "no-grant": ("warn", f"There is no grant {name} any more."),
    }
    return texts.get(done)
