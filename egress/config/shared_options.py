"""The options for the state that replicas share; a part of L{egress.config.options}."""

from __future__ import annotations

from typing import Final

from egress.config import parsers as values
from egress.config import shared
from egress.config.option import Option, Variable
from egress.config.parsers import BadValue, ParseContext
from egress.model.shared_location import SharedLocation

_NONE: Final = ("none",)
# More than any key has.
_KEY_FILE: Final = 4096


def location(text: str, place: ParseContext) -> SharedLocation:
    """Parse the location of the engine."""
    return SharedLocation.parse(text)


def key_file(text: str, place: ParseContext) -> bytes:
    """Read the key from a file, whose surrounding white space is not part of it."""
    path = values.readable_file(text, place)
    with path.open("rb") as file:
        data = file.read(_KEY_FILE + 1)
    if len(data) > _KEY_FILE:
        raise BadValue(f"a key file has at most {_KEY_FILE} bytes")
    return shared.shared_key(data.strip())


SHARED_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="shared",
        group="Shared state",
        metavar="LOCATION",
        help="A Redis or Valkey in which several proxies share decisions, as the authorization service permits: "
        "redis://HOST:6379, rediss://USER@HOST (TLS), redis+sentinel://HOST1,HOST2/MASTER, or unix:PATH. While it "
        "cannot be reached, each proxy calls the authorization service itself.",
        default="none",
        fields=("shared.location",),
        parse=location,
        clear=_NONE,
        url=True,
    ),
    Option(
        name="shared-key-file",
        group="Shared state",
        metavar="FILE",
        help="A file with the key of all proxies that share state, at least 32 random bytes. They encrypt and "
        "authenticate everything that they write, so only a holder of the key can write a decision.",
        default="none",
        fields=("shared.key",),
        parse=key_file,
        clear=_NONE,
    ),
    Option(
        name="shared-password-file",
        group="Shared state",
        metavar="FILE",
        help="A file with the password for --shared. The variable EGRESS_SHARED_PASSWORD contains the password itself.",
        default="none",
        fields=("shared.password",),
        parse=values.password_file,
        variables=(Variable(name="EGRESS_SHARED_PASSWORD", parse=values.password, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="shared-sentinel-password-file",
        group="Shared state",
        metavar="FILE",
        help="A file with the password for the sentinels of --shared, if they require one. The variable "
        "EGRESS_SHARED_SENTINEL_PASSWORD contains the password itself.",
        default="none",
        fields=("shared.sentinel_password",),
        parse=values.password_file,
        variables=(Variable(name="EGRESS_SHARED_SENTINEL_PASSWORD", parse=values.password, secret=True),),
        clear=_NONE,
    ),
    Option(
        name="shared-timeout",
        group="Shared state",
        metavar="TIME",
        help="Timeout for one command to --shared. After it, the proxy connects again, and meanwhile decides without "
        "shared state.",
        default="500ms",
        fields=("shared.timeout",),
        parse=values.duration,
    ),
)
