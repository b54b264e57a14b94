"""A notice: an event, as the process in which it happens reports it to the process that delivers messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from egress.config.notify import NotifyEvent
from egress.model.approval import truncate, truncate_name
from egress.model.record import ExchangeRecord
from egress.model.redact import redact_url

# The facts about a pending approval that a message contains.  The content of the request is not one of them.
APPROVAL_FACTS: Final = (
    *("id", "stage", "method", "url", "contentLength", "client", "identity", "ruleId", "reason", "decidedBy"),
    *("since", "until"),
)
_MAX_REASON: Final = 500


@attrs.frozen
class Notice:
    """An event.

    @ivar event: its kind.
    @ivar key: notices with an equal key are about the same: denials of one rule, host and client, or one approval.
    @ivar data: the facts about it, as JSON.
    @ivar count: the number of events.
    """

    event: NotifyEvent
    key: str
    data: Mapping[str, Any]
    count: int = 1

    def to_text(self) -> str:
        """Serialize the notice for L{from_text} in another process of this proxy."""
        return json.dumps([self.event.value, self.key, self.data, self.count])

    @classmethod
    def from_text(cls, text: str) -> Notice:
        """Parse a notice of another process of this proxy."""
        event, key, data, count = json.loads(text)
        return cls(NotifyEvent(event), key, data, count)


PostNotice = Callable[[Notice], None]
"""Reports a notice to the process that delivers messages."""


def host_of(url: str) -> str:
    """Return the host and port of a URL of an audit record, without its userinfo.

    A record of a tunnel has only a host and a port.
    """
    _, slashes, rest = url.partition("://")
    netloc = (rest if slashes else url).partition("/")[0].partition("?")[0].partition("#")[0]
    return truncate(netloc.rpartition("@")[2], _MAX_REASON)


def denial_key(record: ExchangeRecord) -> tuple[str | None, str, str]:
    """Return the rule, the host and the client of a denial: denials with an equal key are counted together."""
    return record.rule_id, host_of(record.url), record.client.address


def denial_data(record: ExchangeRecord) -> dict[str, Any]:
    """Return the facts about a denial, with a redacted URL."""
    rule, host, client = denial_key(record)
    return {
        "requestId": record.request_id,
        "time": record.time,
        "stage": record.stage,
        "method": truncate(record.method, _MAX_REASON),
        "url": truncate(redact_url(record.url)),
        "host": host,
        "client": client,
        "identity": truncate_name(record.client.identity),
        "ruleId": truncate_name(rule),
        "reason": truncate(record.reason, _MAX_REASON),
        "decidedBy": truncate(record.decided_by, _MAX_REASON),
        "outcome": record.outcome,
    }
