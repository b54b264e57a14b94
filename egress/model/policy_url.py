"""The URL of a policy that a server distributes."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Final

import attrs

from egress.model.authority import DEFAULT_PORTS, Authority, Origin, parse_ip
from egress.model.converters import BadValue, path, string
from egress.model.errors import InvalidTarget

_URL: Final = re.compile(r"(https?)://([^/?#]*)(/[!-\"$-~]*)?(\?[!-\"$-~]*)?", re.IGNORECASE)
_LOOKS_LIKE_A_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@attrs.frozen
class PolicyUrl:
    """The URL from which a policy is loaded.

    @ivar url: the URL.
    @ivar origin: its scheme, host and port.
    """

    url: str
    origin: Origin

    @classmethod
    def parse(cls, text: str) -> PolicyUrl:
        """Parse a URL.

        @raise BadValue: naming the fix, without the text.
        """
        match = _URL.fullmatch(text)
        if match is None:
            raise BadValue(
                "write an https:// URL as in https://policies.example/policy.toml, in visible ASCII characters"
            )
        scheme, netloc, rest, query = match[1].lower(), match[2], match[3] or "/", match[4] or ""
        if "@" in netloc:
            raise BadValue("remove the credentials: use a token with --policy-token-file")
        try:
            authority = Authority.parse(netloc, DEFAULT_PORTS[scheme])
        except InvalidTarget as error:
            raise BadValue(f"write a host and an optional port: {error.reason}") from error
        if "_" in authority.host:
            raise BadValue("use a host name without an underscore, or an address")
        address = parse_ip(authority.host)
        if scheme == "http" and not (authority.host == "localhost" if address is None else address.is_loopback):
            raise BadValue("use https: a policy over plain HTTP is permitted only from this machine, as in 127.0.0.1")
        origin = Origin(scheme, authority)
        return cls(f"{origin}{rest}{query}", origin)

    @property
    def is_encrypted(self) -> bool:
        """Whether the scheme is C{https}."""
        return self.origin.scheme == "https"

    @property
    def key(self) -> str:
        """A name for files about this URL."""
        return sha256(self.url.encode("ascii")).hexdigest()[:32]

    def __str__(self) -> str:
        """Return the URL."""
        return self.url


def is_url(text: str) -> bool:
    """Tell whether a text is meant as a URL, and not as the name of a file."""
    return _LOOKS_LIKE_A_URL.match(text) is not None


def policy_location(value: object) -> Path | PolicyUrl:
    """Accept a file or a URL, or the text of either."""
    if isinstance(value, (Path, PolicyUrl)):
        return value
    text = string(value)
    found: Path = path(text)
    return PolicyUrl.parse(text) if is_url(text) else found
