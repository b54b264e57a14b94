"""The settings of the state that replicas share."""

from __future__ import annotations

from typing import Final

import attrs

from egress.config import contradictions
from egress.config.contradictions import Contradiction
from egress.model import text_converters as setting_text
from egress.model.converters import BadValue, checked, positive
from egress.model.shared_location import SharedLocation

MIN_KEY: Final = 32
"""The minimum length of the key, in bytes."""


def shared_key(value: object) -> bytes:
    """Accept the key of the replicas."""
    if not isinstance(value, bytes) or len(value) < MIN_KEY:
        raise BadValue(f"must have at least {MIN_KEY} random bytes, as from: openssl rand -hex 32")
    return value


_CONTRADICTIONS: Final = (
    *(
        Contradiction(
            name,
            lambda settings, name=name: contradictions.changed(settings, name) and settings.location is None,  # type: ignore[misc]
            "has no effect without shared state: set {location}",
            unused=True,
            prefix="shared.",
        )
        for name in ("password", "sentinel_password", "key", "timeout")
    ),
    Contradiction(
        "sentinel_password",
        lambda settings: settings.sentinel_password is not None and not settings.location.sentinels,
        "has no effect without sentinels: set {location} to redis+sentinel://HOST1,HOST2/MASTER",
        unused=True,
        prefix="shared.",
    ),
    Contradiction(
        "location",
        lambda settings: (
            settings.location is not None
            and settings.location.sentinel_user is not None
            and settings.sentinel_password is None
        ),
        "has a user of the sentinels without a password: set {sentinel_password}",
        prefix="shared.",
    ),
    Contradiction(
        "location",
        lambda settings: settings.location is not None and settings.key is None,
        "needs a key, because everyone who can write there could forge decisions: set {key}",
        prefix="shared.",
    ),
    Contradiction(
        "location",
        lambda settings: (
            settings.location is not None and settings.location.user is not None and settings.password is None
        ),
        "has a user without a password: set {password}",
        prefix="shared.",
    ),
)


@attrs.frozen(
    kw_only=True,
    field_transformer=checked(
        location=SharedLocation.parse,
        key=shared_key,
        password=setting_text.password,
        sentinel_password=setting_text.password,
    ),
)
class SharedSettings:
    """The settings of the state that replicas share.

    @ivar location: the Redis or Valkey; L{SharedLocation.parse} parses text.  C{None}: there is no shared state.
    @ivar key: the key with which all replicas seal what they share; at least L{MIN_KEY} random bytes.
    @ivar password: the password for the engine.
    @ivar sentinel_password: the password for its sentinels.
    @ivar timeout: the timeout of one command, in seconds.
    """

    location: SharedLocation | None = None
    key: bytes | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    sentinel_password: str | None = attrs.field(default=None, repr=False)
    timeout: float = attrs.field(default=0.5, validator=positive)

    def __attrs_post_init__(self) -> None:
        """Check the fields for contradictions.

        @raise ConfigError: names the field and the remedy.
        """
        contradictions.check(self, _CONTRADICTIONS)
