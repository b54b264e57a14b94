"""Tests for L{egress.notify.formats}."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.webhook import WebhookFormat
from egress.notify import message as contents
from egress.notify.formats import encode, json_body, slack_body, slack_text, teams_body
from egress.notify.grouping import Group, Summary
from egress.notify.incident import Change
from egress.notify.message import Content, Message
from tests.notify.test_message import APPROVAL, DENIAL, NOW

HOSTILE = (
    "https://a.test/<!channel>&<https://evil.test|click>[click](https://evil.test)*b*<at>All</at>"
    "\n@here \u202eok :fire:"
)


def message(content: Content, link: str | None = "https://c.test/console/live") -> Message:
    """Make a message."""
    return Message(message_id="msg_1", time=NOW, proxy="proxy-1", link=link, content=content)


def hostile() -> Message:
    """Make a message with the hostile text of a client in each fact."""
    return message(contents.denial({**DENIAL, "url": HOSTILE, "identity": HOSTILE, "reason": HOSTILE}, 1))


def strings(document: Any) -> list[str]:
    """Return all texts of a document."""
    if isinstance(document, dict):
        return [text for value in document.values() for text in strings(value)]
    if isinstance(document, list):
        return [text for value in document for text in strings(value)]
    return [document] if isinstance(document, str) else []


class JsonTests(SynchronousTestCase):
    """The JSON of this project."""

    def test_members(self) -> None:
        self.assertEqual(
            json_body(message(contents.breaker(Change.BEGAN, "timed out"))),
            {
                "version": 1,
                "id": "msg_1",
                "type": "breaker.opened",
                "timestamp": "2026-11-29T14:00:00.000Z",
                "proxy": "proxy-1",
                "severity": "critical",
                "title": "The circuit breaker of the authorizer is open: requests get 503",
                "link": "https://c.test/console/live",
                "data": {"cause": "timed out"},
            },
        )

    def test_encoding(self) -> None:
        body = encode(hostile(), WebhookFormat.JSON)
        self.assertTrue(body.isascii())
        self.assertEqual(json.loads(body)["data"]["url"], HOSTILE)


class SlackTests(SynchronousTestCase):
    """Blocks for an incoming webhook of Slack."""

    def test_blocks(self) -> None:
        body = slack_body(message(contents.approval(APPROVAL)))
        header, section, context = body["blocks"]
        self.assertEqual((header["text"]["type"], header["text"]["emoji"]), ("plain_text", False))
        self.assertIn("*Request:* POST https://a.test/pay\n", section["text"]["text"])
        self.assertIn("<https://c.test/console/live|Open in the console>", context["elements"][0]["text"])

    def test_no_preview_of_a_denied_url(self) -> None:
        """A preview would be a request of Slack to the denied URL."""
        body = slack_body(hostile())
        self.assertEqual((body["unfurl_links"], body["unfurl_media"]), (False, False))

    def test_injection(self) -> None:
        """Text of a client cannot mention anyone, be a link, or begin another line."""
        body = slack_body(hostile())
        section, context = body["blocks"][1]["text"], body["blocks"][2]["elements"][0]
        self.assertEqual((section["verbatim"], context["verbatim"]), (True, True))
        for text in strings([body["text"], section]):
            self.assertNotIn("<", text)
            self.assertNotIn(">", text)
            self.assertNotIn("\u202e", text)
        self.assertIn("&lt;!channel&gt;&amp;&lt;https://evil.test|click&gt;", section["text"])
        labels = [line.partition(":*")[0] for line in section["text"].split("\n")]
        self.assertEqual(labels, ["*Request", "*Rule", "*Reason", "*Client", "*Request ID"])

    def test_escaping(self) -> None:
        self.assertEqual(slack_text("<&>"), "&lt;&amp;&gt;")
        self.assertEqual(slack_text("&lt;"), "&amp;lt;")

    def test_limits(self) -> None:
        """Slack rejects a section of more than 3000 characters; no escape sequence is cut."""
        data = {**DENIAL, "host": "&" * 5000, "client": "<" * 5000}
        summary = Summary(tuple(Group(data, 1, 0.0) for _ in range(10)), 10, 10, NOW)
        section = slack_body(message(contents.denials(summary, NOW)))["blocks"][1]["text"]["text"]
        self.assertLessEqual(len(section), 3000)
        self.assertGreater(len(section), 1000)
        unescaped = section.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        self.assertNotIn("&", unescaped)

    def test_without_link_and_facts(self) -> None:
        body = slack_body(message(contents.test(), None))
        self.assertEqual([block["type"] for block in body["blocks"]], ["header", "context"])
        self.assertNotIn("|", body["blocks"][1]["elements"][0]["text"])


class TeamsTests(SynchronousTestCase):
    """An adaptive card for a workflow of Microsoft Teams."""

    def card(self, content: Message) -> dict[str, Any]:
        """Return the card of a message."""
        body = teams_body(content)
        self.assertEqual(body["type"], "message")
        (attachment,) = body["attachments"]
        self.assertEqual(attachment["contentType"], "application/vnd.microsoft.card.adaptive")
        card: dict[str, Any] = attachment["content"]
        self.assertEqual((card["type"], card["version"]), ("AdaptiveCard", "1.4"))
        return card

    def test_card(self) -> None:
        card = self.card(message(contents.approval(APPROVAL)))
        texts = ["".join(run["text"] for run in block["inlines"]) for block in card["body"]]
        self.assertIn("Request: POST https://a.test/pay", texts)
        self.assertEqual(card["actions"][0]["url"], "https://c.test/console/live")

    def test_injection(self) -> None:
        """No text of a client is in an element that contains Markdown, and a mention needs an entity."""
        card = self.card(hostile())
        self.assertEqual({block["type"] for block in card["body"]}, {"RichTextBlock"})
        self.assertEqual({run["type"] for block in card["body"] for run in block["inlines"]}, {"TextRun"})
        self.assertNotIn("msteams", card)
        for text in strings(card["body"]):
            self.assertTrue(text.isprintable())

    def test_limits(self) -> None:
        """Teams rejects a message of more than 28 KiB."""
        data = {**DENIAL, "host": "\u20ac" * 5000, "client": "\u20ac" * 5000}
        summary = Summary(tuple(Group(data, 1, 0.0) for _ in range(10)), 10, 10, NOW)
        self.assertLess(len(encode(message(contents.denials(summary, NOW)), WebhookFormat.TEAMS)), 28 * 1024)

    def test_without_link(self) -> None:
        self.assertNotIn("actions", self.card(message(contents.test(), None)))
