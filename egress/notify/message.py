"""The messages about events: their types, titles and facts, for every format."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final
from urllib.parse import quote

import attrs

from egress.config.notify import NotifyEvent
from egress.notify.grouping import Summary
from egress.notify.incident import Change

# The version of the JSON.  Members may be added to a version; a change of a member needs the next version.
VERSION: Final = 1

_DAY: Final = 86400.0


class Severity(enum.Enum):
    """The importance of a message.

    @cvar INFO: nothing is to be done.
    @cvar WARNING: an operator should look at it.
    @cvar CRITICAL: requests fail, or will fail soon.
    """

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@attrs.frozen(kw_only=True)
class Content:
    """The content of a message.

    @ivar event: the kind of the event; C{None} for a test.
    @ivar type: the type of the message, a name that receivers distinguish.
    @ivar severity: the importance.
    @ivar title: a sentence without text of clients.
    @ivar facts: labels and values; values can contain text of clients.
    @ivar page: the page of the console about it, as an absolute path.
    @ivar data: the facts, for programs.
    @ivar until: when the message becomes useless, in seconds since the epoch.
    """

    event: NotifyEvent | None
    type: str
    severity: Severity
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    page: str
    data: Mapping[str, Any] = attrs.field(factory=dict)
    until: float | None = None


@attrs.frozen(kw_only=True)
class Message:
    """A message.

    @ivar message_id: identifies it; each attempt to deliver it has the same id.
    @ivar time: when it was made, in seconds since the epoch.
    @ivar proxy: the name of the proxy.
    @ivar link: the URL of a page of the console, if the URL of the console is known.
    @ivar content: its content.
    """

    message_id: str
    time: float
    proxy: str
    link: str | None
    content: Content


def written_time(seconds: float) -> str:
    """Format a time in UTC (RFC 3339), with milliseconds.

    @param seconds: seconds since the epoch.
    """
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _short_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _known(*facts: tuple[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((label, str(value)) for label, value in facts if value not in (None, ""))


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _dated(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: written_time(value) if name in names else value for name, value in data.items()}


def _request(data: Mapping[str, Any]) -> str:
    return f"{data['method']} {data['url']}".strip()


def _client(data: Mapping[str, Any]) -> str:
    identity = data.get("identity")
    return f"{identity} ({data['client']})" if identity else str(data["client"])


def denial(data: Mapping[str, Any], count: int) -> Content:
    """Return the content about the first denials of a group."""
    return Content(
        event=NotifyEvent.DENIAL,
        type="denial.first",
        severity=Severity.WARNING,
        title="Request denied" if count == 1 else f"{_plural(count, 'request')} denied",
        facts=_known(
            ("Request", _request(data)),
            ("Rule", data["ruleId"]),
            ("Reason", data["reason"]),
            ("Client", _client(data)),
            ("Request ID", data["requestId"]),
        ),
        page=f"/console/requests/{quote(str(data['requestId']), safe='')}",
        data={**_dated(data, "time"), "count": count},
    )


def denials(summary: Summary, until: float) -> Content:
    """Return the content of a summary of denials.

    @param summary: the summary, whose times are seconds since the epoch.
    @param until: the end of its interval.
    """
    facts = [
        (
            _plural(group.count, "denial"),
            f"{group.data['host']}, rule {group.data['ruleId'] or '(none)'}, client {_client(group.data)}",
        )
        for group in summary.groups
    ]
    rest = summary.count - sum(group.count for group in summary.groups)
    if rest:
        facts.append((_plural(rest, "denial"), "of other rules, hosts or clients"))
    return Content(
        event=NotifyEvent.DENIAL,
        type="denial.summary",
        severity=Severity.WARNING,
        title=f"{_plural(summary.count, 'further request')} denied since {_short_time(summary.since)}",
        facts=tuple(facts),
        page="/console/live",
        data={
            "count": summary.count,
            "since": written_time(summary.since),
            "until": written_time(until),
            "groups": [{"count": group.count, "latest": _dated(group.data, "time")} for group in summary.groups],
            "groupsTotal": summary.total,
        },
    )


def approval(data: Mapping[str, Any]) -> Content:
    """Return the content about a pending approval."""
    return Content(
        event=NotifyEvent.APPROVAL,
        type="approval.pending",
        severity=Severity.WARNING,
        title=f"A request waits for an approval until {_short_time(data['until'])}",
        facts=_known(
            ("Request", _request(data)),
            ("Rule", data["ruleId"]),
            ("Reason", data["reason"]),
            ("Client", _client(data)),
            ("Content", None if not data["contentLength"] else _plural(data["contentLength"], "byte")),
            ("Approval ID", data["id"]),
        ),
        page="/console/approvals",
        data=_dated(data, "since", "until"),
        until=data["until"],
    )


def breaker(change: Change, cause: str) -> Content:
    """Return the content about the circuit breaker of the authorizer.

    @param change: whether it opened or closed.
    @param cause: why it opened.
    """
    opened = change is Change.BEGAN
    return Content(
        event=NotifyEvent.BREAKER,
        type="breaker.opened" if opened else "breaker.closed",
        severity=Severity.CRITICAL if opened else Severity.INFO,
        title="The circuit breaker of the authorizer is open: requests get 503"
        if opened
        else "The circuit breaker of the authorizer is closed: the authorizer responds again",
        facts=_known(("Cause", cause if opened else "")),
        page="/console/health",
        data={"cause": cause} if opened else {},
    )


def policy(change: Change, error: str) -> Content:
    """Return the content about a reload.

    @param change: whether the files cannot be loaded, or can be loaded again.
    @param error: the error in the files.
    """
    failed = change is Change.BEGAN
    return Content(
        event=NotifyEvent.POLICY,
        type="policy.failed" if failed else "policy.loaded",
        severity=Severity.CRITICAL if failed else Severity.INFO,
        title="The policy cannot be loaded: the previous policy is in use"
        if failed
        else "The policy can be loaded again, and is in use",
        facts=_known(("Error", error if failed else "")),
        page="/console/policy",
        data={"error": error} if failed else {},
    )


def ca(fingerprint: str, end: float, now: float) -> Content:
    """Return the content about a CA that expires soon, or has expired.

    @param fingerprint: the SHA-256 of its certificate.
    @param end: when it expires, in seconds since the epoch.
    @param now: the current time, in seconds since the epoch.
    """
    days = max(0, int((end - now) // _DAY))
    when = f"on {_short_time(end)}"
    return Content(
        event=NotifyEvent.CA,
        type="ca.expiring",
        severity=Severity.CRITICAL if days < 1 else Severity.WARNING,
        title=f"The CA expired {when}" if now >= end else f"The CA expires {when}, in {_plural(days, 'day')}",
        facts=_known(("SHA-256", fingerprint), ("Fix", "replace the CA, and let the clients trust the new CA")),
        page="/console/health",
        data={"fingerprint": fingerprint, "notAfter": written_time(end), "daysLeft": days},
    )


def audit(data: Mapping[str, Any], count: int) -> Content:
    """Return the content about audit records that are lost."""
    return Content(
        event=NotifyEvent.AUDIT,
        type="audit.lost",
        severity=Severity.CRITICAL,
        title=f"{_plural(count, 'audit record')} lost",
        facts=_known(("Reason", data["reason"])),
        page="/console/health",
        data={"count": count, "reason": data["reason"]},
    )


def test() -> Content:
    """Return the content of a test."""
    return Content(
        event=None,
        type="test",
        severity=Severity.INFO,
        title="This is a test: notifications of this proxy arrive here",
        page="/console/",
    )
