"""The settings of notifications."""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import Final

import attrs

from egress.config import contradictions
from egress.config.contradictions import Contradiction
from egress.model.converters import BadValue, checked, positive, string
from egress.model.webhook import WebhookFormat, WebhookTarget, webhook_secret, webhook_target

_CONSOLE: Final = re.compile(r"https?://[!-\"$-.0->@-~]+(/[!-\"$->@-~]*)?", re.IGNORECASE)


class NotifyEvent(enum.Enum):
    """A kind of event that a proxy notifies about.

    @cvar DENIAL: denied requests.
    @cvar APPROVAL: pending approvals.
    @cvar BREAKER: the circuit breaker of the authorizer opens, or closes again.
    @cvar POLICY: the policy or another reloaded file cannot be loaded, or can be loaded again.
    @cvar CA: the CA expires soon.
    @cvar AUDIT: audit records are lost.
    """

    DENIAL = "denial"
    APPROVAL = "approval"
    BREAKER = "breaker"
    POLICY = "policy"
    CA = "ca"
    AUDIT = "audit"


ALL_EVENTS: Final = tuple(NotifyEvent)


def console_url(value: object) -> str:
    """Accept the URL at which approvers open the console."""
    url = string(value)
    if not _CONSOLE.fullmatch(url):
        raise BadValue("write the URL of the console without a query, as in https://egress.example:9099")
    if "@" in url:
        raise BadValue("remove the credentials from the URL")
    return url.rstrip("/")


_CONTRADICTIONS: Final = (
    *(
        Contradiction(
            name,
            lambda settings, name=name: contradictions.changed(settings, name) and not settings.targets,  # type: ignore[misc]
            "has no effect without a target: set {url}",
            unused=True,
            prefix="notify.",
        )
        for name in ("format", "secret", "events", "interval", "console_url", "via_upstream", "allow_http")
    ),
    Contradiction(
        "secret",
        lambda settings: not settings.secret and WebhookFormat.JSON in map(settings.format_of, settings.targets),
        "is required for messages in JSON, because everyone could forge an unsigned message",
        prefix="notify.",
    ),
    *(
        Contradiction(
            name,
            lambda settings, name=name: (  # type: ignore[misc]
                not settings.allow_http
                and not all(target.is_encrypted or target.is_local for target in getattr(settings, name))
            ),
            "messages would cross the network without encryption: use https://, or set {allow_http}",
            prefix="notify.",
        )
        for name in ("url", "url_file")
    ),
)


@attrs.frozen(
    kw_only=True,
    field_transformer=checked(
        url=webhook_target, url_file=webhook_target, secret=webhook_secret, console_url=console_url
    ),
)
class NotifySettings:
    """The settings of notifications.

    @ivar url: the targets, each as text: a URL, or C{json:URL}, C{slack:URL} or C{teams:URL}.
    @ivar url_file: further targets, which a file names because their URLs are secrets.
    @ivar url_file_source: the file with these targets, which is read again on a reload; C{None}: they do not change.
    @ivar format: the format for targets without one.
    @ivar secret: the secrets that sign messages: bytes, or texts that begin with C{whsec_}; the current one is first.
    @ivar secret_source: the file with these secrets, which is read again on a reload; C{None}: they do not change.
    @ivar events: the kinds of events.
    @ivar interval: the seconds for which repeated events are counted for one summary.
    @ivar console_url: the URL of the console, for links; C{None}: no links.
    @ivar via_upstream: whether messages are sent through the upstream proxy.
    @ivar allow_http: whether targets without TLS may be on other machines.
    """

    url: tuple[WebhookTarget, ...] = attrs.field(default=(), repr=False)
    url_file: tuple[WebhookTarget, ...] = attrs.field(default=(), repr=False)
    url_file_source: Path | None = None
    format: WebhookFormat = WebhookFormat.JSON
    secret: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    secret_source: Path | None = None
    events: tuple[NotifyEvent, ...] = ALL_EVENTS
    interval: float = attrs.field(default=300.0, validator=positive)
    console_url: str | None = None
    via_upstream: bool = False
    allow_http: bool = False

    def __attrs_post_init__(self) -> None:
        """Check the fields for contradictions.

        @raise ConfigError: names the field and the remedy.
        """
        contradictions.check(self, _CONTRADICTIONS)

    @property
    def targets(self) -> tuple[WebhookTarget, ...]:
        """All targets, each once."""
        return tuple(dict.fromkeys((*self.url, *self.url_file)))

    def format_of(self, target: WebhookTarget) -> WebhookFormat:
        """Return the format of the messages for a target."""
        return target.written or self.format

    def wants(self, event: NotifyEvent) -> bool:
        """Tell whether a kind of event is notified."""
        return bool(self.targets) and event in self.events
