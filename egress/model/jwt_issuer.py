"""The issuer of the JSON Web Tokens with which clients authenticate, as C{--client-auth} names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from egress.model.authority import DEFAULT_PORTS, Authority, Origin
from egress.model.converters import BadValue, ConfigError, checked, string
from egress.model.errors import EgressError

PREFIX: Final = "jwt:"

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
"""The supported signature algorithms (RFC 7518, RFC 8037): none with a shared secret, and none without a signature."""

AUDIENCE: Final = "egressproxy"
"""The audience of the tokens, unless the operator names another one."""

_SETTING: Final = re.compile(r":([A-Za-z][A-Za-z-]*)=")
_VISIBLE: Final = re.compile(r"[!-~]+")
_SETTINGS: Final = ("audience", "claim", "jwks", "ca", "token-file", "algorithms")
_DISCOVERY: Final = "/.well-known/openid-configuration"
_SYNTAX: Final = "write jwt:ISSUER, as in jwt:https://issuer.example:audience=egressproxy"


def _word(what: str) -> Callable[[object], str]:
    """Return a converter for one word of visible ASCII characters."""

    def take(value: object) -> str:
        word = string(value)
        if not _VISIBLE.fullmatch(word):
            raise BadValue(f"{what} must be one word of visible ASCII characters")
        return word

    return take


def _algorithm(value: object) -> str:
    for name in ALGORITHMS:
        if value == name:
            return name
    raise BadValue(f"choose from {', '.join(ALGORITHMS)}: all others are unsafe or not supported")


def https_origin(url: str) -> Origin:
    """Return the origin of a URL with the scheme C{https}.

    @raise BadValue: for any other text.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "https" or "@" in parts.netloc or parts.fragment or not _VISIBLE.fullmatch(url):
            raise BadValue("write an https:// URL without credentials and fragment")
        return Origin(parts.scheme, Authority.parse(parts.netloc, DEFAULT_PORTS[parts.scheme]))
    except (ValueError, EgressError) as error:
        remedy = error.remedy if isinstance(error, BadValue) else "write an https:// URL, as in https://issuer.example"
        raise BadValue(remedy) from error


def _keys(value: object) -> Path | str:
    """Accept where the keys are: the name of a file, or an C{https} URL."""
    if isinstance(value, Path):
        return value
    text = string(value)
    if "://" not in text:
        if not text or "\0" in text:
            raise BadValue("jwks must be a file, or an https:// URL")
        return Path(text)
    https_origin(text)
    return text


_KINDS: Final = checked(
    issuer=_word("the issuer"),
    audiences=_word("an audience"),
    claim=_word("a claim"),
    jwks=_keys,
    algorithms=_algorithm,
)


@attrs.frozen(field_transformer=_KINDS)
class JwtIssuer:
    """An issuer of tokens, and the tokens that are accepted from it.

    @ivar issuer: the claim C{iss} of the tokens.
    @ivar audiences: a token must be for one of them.
    @ivar claim: the claim with the name of the client.
    @ivar jwks: the keys of the issuer: a file, or a URL; C{None}: the issuer names their URL (OpenID Connect
        Discovery 1.0).
    @ivar ca: a PEM file with further CAs to trust for the download of the keys; C{None}: those for origins.
    @ivar token_file: a file with a bearer token for the download of the keys.
    @ivar algorithms: the accepted signature algorithms.
    """

    issuer: str
    audiences: tuple[str, ...] = (AUDIENCE,)
    claim: str = "sub"
    jwks: Path | str | None = None
    ca: Path | None = None
    token_file: Path | None = None
    algorithms: tuple[str, ...] = ALGORITHMS

    def __attrs_post_init__(self) -> None:
        """Reject settings that contradict each other.

        @raise ConfigError: says what to write instead.
        """
        remedy = self._contradiction()
        if remedy is not None:
            raise ConfigError("client_auth", str(self), remedy)

    def _contradiction(self) -> str | None:
        if not self.audiences or not self.algorithms:
            return "write at least one audience and one algorithm"
        if isinstance(self.jwks, Path):
            downloads = self.ca is not None or self.token_file is not None
            return (
                "ca and token-file apply only to a download: remove them, or set jwks to a URL" if downloads else None
            )
        if self.jwks is None:
            try:
                https_origin(self.issuer)
            except BadValue as error:
                return f"{error.remedy}; for another issuer, add jwks=FILE with its keys"
            if "?" in self.issuer:
                return "remove the query from the URL of the issuer, or add jwks=FILE with its keys"
        return None

    @property
    def discovery(self) -> str:
        """The URL of the metadata of the issuer (OpenID Connect Discovery 1.0 section 4)."""
        return self.issuer.rstrip("/") + _DISCOVERY

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that must be readable."""
        found = (self.jwks, self.ca, self.token_file)
        return tuple(each for each in found if isinstance(each, Path))

    def __str__(self) -> str:
        return f"{PREFIX}{self.issuer}"

    @classmethod
    def parse(cls, text: str, path: Callable[[str], Path] = Path) -> JwtIssuer:
        """Parse C{jwt:ISSUER:NAME=VALUE...}.

        A setting begins at a colon with its name and an equals sign.  Issuers and other URLs contain colons, too, so
        the colons need no escapes.

        @param text: the text to parse.
        @param path: converts a file name to a path.
        @raise BadValue: if it cannot be parsed.
        """
        issuer, *rest = _SETTING.split(text.removeprefix(PREFIX))
        if not issuer:
            raise BadValue(_SYNTAX)
        given: dict[str, list[str]] = {}
        for name, value in zip(rest[::2], rest[1::2], strict=True):
            if name not in _SETTINGS:
                raise BadValue(f"there is no setting {name}: choose from {', '.join(_SETTINGS)}")
            if not value:
                raise BadValue(f"{name} is empty: write a value, or remove it")
            if name in given and name != "audience":
                raise BadValue(f"{name} is set twice: remove one of them")
            given.setdefault(name, []).append(value)
        fields: dict[str, object] = {name.replace("-", "_"): values[0] for name, values in given.items()}
        if "audience" in given:
            del fields["audience"]
            fields["audiences"] = tuple(given["audience"])
        if "algorithms" in given:
            fields["algorithms"] = tuple(given["algorithms"][0].split(","))
        for name in ("ca", "token_file"):
            if name in fields:
                fields[name] = path(str(fields[name]))
        if "://" not in str(fields.get("jwks", "://")):
            fields["jwks"] = path(str(fields["jwks"]))
        try:
            return cls(issuer, **fields)  # type: ignore[arg-type]
        except ConfigError as error:
            raise BadValue(error.remedy) from error


ClientAuth = Path | JwtIssuer
"""How clients authenticate: with a secret whose hash is in a file, or with a token of an issuer."""


def client_auth(text: str, path: Callable[[str], Path] = Path) -> ClientAuth:
    """Parse the name of a file, or C{jwt:ISSUER}.

    @raise BadValue: if it cannot be parsed.
    """
    return JwtIssuer.parse(text, path) if text.startswith(PREFIX) else path(text)


def client_auth_setting(value: object) -> ClientAuth:
    """Accept how clients authenticate, or its text.

    @raise BadValue: for any other value.
    """
    if isinstance(value, (Path, JwtIssuer)):
        return value
    text = string(value)
    if not text or "\0" in text:
        raise BadValue("must not be empty or contain a null character")
    return client_auth(text)


def files_of(setting: ClientAuth | None) -> tuple[Path, ...]:
    """Return the files that a setting names."""
    if isinstance(setting, JwtIssuer):
        return setting.files
    return () if setting is None else (setting,)
