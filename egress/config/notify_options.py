"""The options for notifications."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from egress.config import notify
from egress.config import parsers as values
from egress.config.notify import NotifyEvent
from egress.config.notify_files import secret_file, target_file
from egress.config.option import Option, Variable
from egress.config.parsers import BadValue, ParseContext
from egress.model.converters import choice
from egress.model.webhook import WebhookFormat, WebhookTarget, webhook_secret

_NONE: Final = ("none",)
_ALL: Final = "all"


def target(text: str, place: ParseContext) -> WebhookTarget:
    """Parse a target."""
    return WebhookTarget.parse(text)


def secret(text: str, place: ParseContext) -> tuple[bytes, ...]:
    """Parse secrets that are separated by white space."""
    return tuple(map(webhook_secret, text.split()))


def _format(text: str, place: ParseContext) -> Any:
    return choice(WebhookFormat)(text)


def _console_url(text: str, place: ParseContext) -> str:
    return notify.console_url(text)


def events(text: str, place: ParseContext) -> tuple[NotifyEvent, ...]:
    """Parse the name of an event; C{all} is every event."""
    if text.lower() == _ALL:
        return notify.ALL_EVENTS
    try:
        return (choice(NotifyEvent)(text),)
    except BadValue as error:
        raise BadValue(f"{error.remedy}, or all") from error


def _distinct(given: Sequence[tuple[NotifyEvent, ...]]) -> tuple[NotifyEvent, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(given)))


NOTIFY_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="notify-url",
        group="Notifications",
        metavar="URL",
        help="A webhook that receives notifications: an https:// URL, or slack:URL or teams:URL. Other users of this "
        "machine can read a command line: use --notify-url-file for a URL that is a secret.",
        default="none",
        fields=("notify.url",),
        parse=target,
        clear=_NONE,
        repeatable=True,
        secret=True,
    ),
    Option(
        name="notify-url-file",
        group="Notifications",
        metavar="FILE",
        help="A file with the webhooks that receive notifications, one on each line, as in --notify-url. It "
        "is read again on SIGHUP.",
        default="none",
        fields=("notify.url_file",),
        parse=target_file,
        clear=_NONE,
    ),
    Option(
        name="notify-format",
        group="Notifications",
        metavar="json|slack|teams",
        help="The format for webhooks without one. json: signed JSON. slack: an incoming webhook of Slack. teams: a "
        "workflow of Microsoft Teams.",
        default="json",
        fields=("notify.format",),
        parse=_format,
    ),
    Option(
        name="notify-secret-file",
        group="Notifications",
        metavar="FILE",
        help="A file with the secret that signs notifications in JSON: whsec_ and base64. A second line can contain "
        "the earlier secret, which then signs, too. The file is read again on SIGHUP. The variable "
        "EGRESS_NOTIFY_SECRET contains the secret itself.",
        default="none",
        fields=("notify.secret",),
        parse=secret_file,
        variables=(Variable(name="EGRESS_NOTIFY_SECRET", parse=secret, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="notify-events",
        group="Notifications",
        metavar="NAMES",
        help="The events to notify about: denial, approval, breaker, policy, ca, audit, or all.",
        default=_ALL,
        fields=("notify.events",),
        parse=events,
        repeatable=True,
        lists=True,
        combine=_distinct,
    ),
    Option(
        name="notify-interval",
        group="Notifications",
        metavar="TIME",
        help="The interval of summaries: the first denial of a rule, host and client is notified immediately, and the "
        "next ones are counted for a summary.",
        default="5m",
        fields=("notify.interval",),
        parse=values.duration,
    ),
    Option(
        name="console-url",
        group="Notifications",
        metavar="URL",
        help="The URL at which the readers of notifications open the console. Notifications then contain links to it.",
        default="none",
        fields=("notify.console_url",),
        parse=_console_url,
        clear=_NONE,
    ),
    Option(
        name="notify-via-upstream",
        group="Notifications",
        metavar="",
        help="Send notifications through the upstream proxy instead of directly.",
        default="false",
        fields=("notify.via_upstream",),
        parse=values.boolean,
    ),
    Option(
        name="notify-allow-http",
        group="Notifications",
        metavar="",
        help="Permit http:// webhooks on other machines. Without this option, they are permitted only on loopback "
        "addresses.",
        default="false",
        fields=("notify.allow_http",),
        parse=values.boolean,
    ),
)
