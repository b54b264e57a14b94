"""The formats of messages: JSON of this project, blocks for Slack, and an adaptive card for Microsoft Teams.

Clients choose URLs and names, which are part of messages.  In Slack and Teams they must neither mention users, nor
become links or formatting.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from egress.model.approval import truncate
from egress.model.quote import printable
from egress.model.webhook import WebhookFormat
from egress.notify.message import VERSION, Message, Severity, written_time

# Slack accepts 3000 characters in a section, and Teams accepts 28 KiB in a message.
_MAX_VALUE: Final = 250
_MAX_SECTION: Final = 2900
_LINK_TEXT: Final = "Open in the console"
_COLORS: Final = {Severity.INFO: "good", Severity.WARNING: "warning", Severity.CRITICAL: "attention"}
# https://docs.slack.dev/messaging/formatting-message-text, "Escaping text".
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def json_body(message: Message) -> dict[str, Any]:
    """Return a message as the JSON that docs/how-to/notifications.md documents."""
    content = message.content
    return {
        "version": VERSION,
        "id": message.message_id,
        "type": content.type,
        "timestamp": written_time(message.time),
        "proxy": message.proxy,
        "severity": content.severity.value,
        "title": content.title,
        "link": message.link,
        "data": dict(content.data),
    }


def _value(text: str) -> str:
    return truncate(printable(text), _MAX_VALUE)


def slack_text(text: str) -> str:
    """Escape text for Slack: without these characters it cannot contain a mention or a link."""
    return text.translate(_ESCAPES)


def slack_body(message: Message) -> dict[str, Any]:
    """Return a message for an incoming webhook of Slack."""
    content = message.content
    # Escape each value as a whole: the limit must not cut an escape sequence.
    lines: list[str] = []
    size = 0
    for label, value in content.facts:
        line = f"*{slack_text(label)}:* {slack_text(_value(value))}"
        size += len(line) + 1
        if size <= _MAX_SECTION:
            lines.append(line)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": content.title[:150], "emoji": False}}
    ]
    if lines:
        blocks.append({"type": "section", "text": _mrkdwn("\n".join(lines))})
    about = slack_text(f"{_value(message.proxy)}, {content.type}")
    if message.link is not None:
        about = f"{about}, <{slack_text(message.link)}|{_LINK_TEXT}>"
    blocks.append({"type": "context", "elements": [_mrkdwn(about)]})
    return {
        "text": slack_text(f"{content.title} ({_value(message.proxy)})"),
        "blocks": blocks,
        # Slack would request denied URLs to show previews of them.
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _mrkdwn(text: str) -> dict[str, Any]:
    # With "verbatim", Slack converts no names and no URLs.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def teams_body(message: Message) -> dict[str, Any]:
    """Return a message for a workflow of Microsoft Teams that posts a card when it receives a webhook request."""
    content = message.content
    body = [_runs((content.title, {"weight": "bolder", "size": "medium", "color": _COLORS[content.severity]}))]
    body += [_runs((f"{label}: ", {"weight": "bolder"}), (_value(value), {})) for label, value in content.facts]
    body.append(_runs((f"{_value(message.proxy)}, {content.type}", {"isSubtle": True, "size": "small"})))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if message.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": _LINK_TEXT, "url": message.link}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _runs(*texts: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    # Unlike a TextBlock and a FactSet, a TextRun contains no Markdown.
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **how} for text, how in texts]}


_BODIES: Final[dict[WebhookFormat, Callable[[Message], dict[str, Any]]]] = {
    WebhookFormat.JSON: json_body,
    WebhookFormat.SLACK: slack_body,
    WebhookFormat.TEAMS: teams_body,
}


def encode(message: Message, target_format: WebhookFormat) -> bytes:
    """Encode a message for a target."""
    return json.dumps(_BODIES[target_format](message), separators=(",", ":")).encode("ascii")
