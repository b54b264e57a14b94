"""Webhooks: the format, the URL and the secrets of a target, and the signature of a message.

Signatures follow the Standard Webhooks specification, version 1 (https://www.standardwebhooks.com), so that receivers
can verify them with an existing library.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

import attrs

from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.converters import BadValue, string
from egress.model.errors import InvalidTarget

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - this is not a secret
# The specification requires from 192 to 512 bits.
_MIN_SECRET: Final = 24
_MAX_SECRET: Final = 64

_URL: Final = re.compile(r"(https?)://([^/?#]*)(/[!-\"$-~]*)?(\?[!-\"$-~]*)?", re.IGNORECASE)
_HOW_TO_CREATE: Final = "create one with: printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\""


class WebhookFormat(enum.Enum):
    """The format of the messages for a target.

    @cvar JSON: the documented JSON of this project, signed.
    @cvar SLACK: blocks, for an incoming webhook of Slack.
    @cvar TEAMS: an adaptive card, for a workflow of Microsoft Teams.
    """

    JSON = "json"
    SLACK = "slack"
    TEAMS = "teams"


@attrs.frozen
class WebhookTarget:
    """A receiver of messages.

    @ivar url: its URL, which can be a secret: it is excluded from C{repr}, and no message displays its path.
    @ivar origin: its scheme, host and port.
    @ivar written: its format; C{None} for the default format.
    """

    url: str = attrs.field(repr=False)
    origin: Origin
    written: WebhookFormat | None = None

    @classmethod
    def parse(cls, text: str) -> WebhookTarget:
        """Parse a URL, with an optional format before it: C{https://host/path}, C{slack:https://host/path}.

        @raise BadValue: naming the fix, without the text.
        """
        written: WebhookFormat | None = None
        kind, colon, rest = text.partition(":")
        if colon and kind.lower() not in DEFAULT_PORTS:
            try:
                written, text = WebhookFormat(kind.lower()), rest
            except ValueError as error:
                raise BadValue("write an https:// or http:// URL, or json:URL, slack:URL or teams:URL") from error
        match = _URL.fullmatch(text)
        if match is None:
            raise BadValue(
                "write an https:// or http:// URL as in https://hooks.example/egress, in visible ASCII characters"
            )
        scheme, netloc, path, query = match[1].lower(), match[2], match[3] or "/", match[4] or ""
        if "@" in netloc:
            raise BadValue("remove the credentials from the URL: messages are signed instead")
        try:
            authority = Authority.parse(netloc, DEFAULT_PORTS[scheme])
        except InvalidTarget as error:
            raise BadValue(f"write a host and an optional port in the URL: {error.reason}") from error
        origin = Origin(scheme, authority)
        return cls(f"{origin}{path}{query}", origin, written)

    @property
    def is_local(self) -> bool:
        """Whether the messages do not leave this machine."""
        authority = self.origin.authority
        return authority.host == "localhost" if authority.ip is None else authority.ip.is_loopback

    @property
    def is_encrypted(self) -> bool:
        """Whether messages are sent over TLS."""
        return self.origin.scheme == "https"

    def __str__(self) -> str:
        """Return the origin: the path can be a secret."""
        return str(self.origin)


def webhook_target(value: object) -> WebhookTarget:
    """Accept a L{WebhookTarget}, or its text."""
    return value if isinstance(value, WebhookTarget) else WebhookTarget.parse(string(value))


def webhook_secret(value: object) -> bytes:
    """Accept the bytes of a secret, or its text: C{whsec_} and base64.

    @raise BadValue: naming the fix, without the text.
    """
    if isinstance(value, bytes):
        secret = value
    else:
        text = string(value)
        if not text.startswith(SECRET_PREFIX):
            raise BadValue(f"a secret begins with {SECRET_PREFIX}: {_HOW_TO_CREATE}")
        try:
            secret = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError as error:
            raise BadValue(f"a secret is base64 after {SECRET_PREFIX}: {_HOW_TO_CREATE}") from error
    if not _MIN_SECRET <= len(secret) <= _MAX_SECRET:
        raise BadValue(f"a secret has {_MIN_SECRET} to {_MAX_SECRET} bytes: {_HOW_TO_CREATE}")
    return secret


def signature(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message, for the field C{webhook-signature}.

    @param secrets: the current secret, and an earlier one while receivers change to the current one.
    @param message_id: the field C{webhook-id}.
    @param timestamp: the field C{webhook-timestamp}: the time of this attempt, in seconds since the epoch.
    @param body: the content, as it is sent.
    @return: one signature for each secret, separated by spaces.
    """
    signed = b"%b.%d.%b" % (message_id.encode("ascii"), timestamp, body)
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{b64encode(digest).decode('ascii')}" for digest in digests)
