"""Redaction of secrets in URLs that are logged.

More people read a log than the requests were intended for, so a URL is redacted before it is logged.  The userinfo is
always redacted, and so is each query value that its key or its format identifies as a secret.  In case of doubt the
value is redacted; the key, the host and the path remain because operators search for them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

REDACTED: Final = "REDACTED"

# Matches in a key that is reduced to lower-case letters and digits.
_TELLING: Final = re.compile(
    r"token|secret|passw|passphrase|signature|credential|authorization|apikey|accesskey|privatekey|jwt|bearer"
    r"|sessionid|assertion|cookie|verifier|samlresponse|^xamz|^xgoog"
)
# Matches any single word of a key: session_id, userAuth; not author.
_WORDS: Final = frozenset({"auth", "oauth", "session", "sid", "sig", "hmac", "pwd", "pass", "pin", "otp", "creds"})
# Match the last word of a key (key, subscription-key), or its only word (code, but not country_code).
_LAST_WORDS: Final = frozenset({"key"})
_ONLY_WORDS: Final = frozenset({"code"})

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
_PAIRS: Final = re.compile(r"([&;?#])")
_PREFIX: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*)?:[/\\]+|//")
_AUTHORITY: Final = re.compile(r"[^/?#\\]*")
_HOST_AND_PORT: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9]*")
# The prefix of most URLs: it contains no userinfo unless the URL contains an "@".
_PLAIN: Final = re.compile(r"(?:https?://)?[A-Za-z0-9._-]*(?::[0-9]{1,5})?(?:[/?#]|\Z)")
_AT: Final = re.compile(r"@|%40")

# Values that are secrets under any key: a JWT (RFC 7519), and the token formats of well-known issuers.
_TOKENS: Final = re.compile(
    r"eyJ[a-z0-9_-]{8,}\.[a-z0-9_-]{4,}|PMAK-[0-9a-f]{16}|gh[opsur]_[a-z0-9]{20}|github_pat_[a-z0-9_]{20}"
    r"|glpat-[a-z0-9_-]{16}|xox[a-z]-[a-z0-9-]{10}|[sr]k[-_][a-z0-9_-]{20}|AKIA[a-z0-9]{16}|AIza[a-z0-9_-]{30}"
    r"|ya29\.|npm_[a-z0-9]{30}|Bearer \S{8}",
    re.IGNORECASE,
)

_CACHED_KEY: Final = 64
_DEPTH: Final = 4
# Each pair and each level of encoding costs time.  Longer text than a reader would use is redacted as a whole.
_MOST_PAIRS: Final = 256
_LONG_KEY: Final = 1024
_LONG_VALUE: Final = 4096


def redact_url(url: str) -> str:
    """Redact the secrets of a URL, or of client input in the place of a URL.

    @return: the text with each secret replaced by C{REDACTED}; the same object if there is none.
    """
    return _redact(url, _DEPTH)


def redact_userinfo(text: str) -> str:
    """Redact every possible user name and password in a text that should be a URL.

    For a mistyped value of an operator: everything up to the last C{@} is removed, whether or not the text is a URL.
    """
    before, at, rest = text.rpartition("@")
    if not at:
        return text
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}{REDACTED}@{rest}" if slashes else f"{REDACTED}@{rest}"


def _redact(url: str, depth: int) -> str:
    if "@" in url or not _PLAIN.match(url):
        url = _without_userinfo(url)
    mark = min((index for index in (url.find("?"), url.find("#")) if index >= 0), default=-1)
    if mark < 0:
        return url
    pieces = _PAIRS.split(url[mark:], _MOST_PAIRS + 1)
    if len(pieces) > 2 * _MOST_PAIRS + 1:
        return url[: mark + 1] + REDACTED
    # Every second piece is a separator; each of the others can be key=value.
    for index in range(0, len(pieces), 2):
        if pieces[index]:
            pieces[index] = _redact_pair(pieces[index], depth)
    return url[:mark] + "".join(pieces)


def _without_userinfo(url: str) -> str:
    prefix = _PREFIX.match(url)
    start = prefix.end() if prefix else 0
    authority = _AUTHORITY.match(url, start)
    assert authority is not None  # it may be empty
    if "@" in authority[0]:
        cut = start + authority[0].rindex("@")
    elif _HOST_AND_PORT.fullmatch(authority[0]):
        return url
    else:
        # The text after the colon is not a port: it can be a password, perhaps with a slash that should have been
        # percent-encoded, or with nothing after it.
        cut = max((at.start() for at in _AT.finditer(url)), default=len(url))
    return url[:start] + REDACTED + url[cut:]


def _redact_pair(pair: str, depth: int) -> str:
    key, equals, value = pair.partition("=")
    if not equals:
        return REDACTED if _hides_secret(key, depth) else pair
    if value and (is_secret_key(key) or _hides_secret(value, depth)):
        return f"{key}={REDACTED}"
    return pair


def _hides_secret(value: str, depth: int) -> bool:
    """Whether a value looks like a token, or is itself a URL or a form that contains a secret."""
    decoded = unquote_plus(value) if "%" in value or "+" in value else value
    if _TOKENS.match(decoded):
        return True
    if "=" not in decoded and "://" not in decoded and ("%" not in decoded or decoded == value):
        return False
    if depth == 0 or len(decoded) > _LONG_VALUE:
        # Legitimate values are not nested this deeply or this long: they hide a secret or waste CPU time.
        return True
    inner = decoded if "://" in decoded else f"?{decoded}"
    return _redact(inner, depth - 1) != inner


def hides_secret(value: str) -> bool:
    """Whether a value is a secret under any key: a token, or a URL or a form that contains a secret."""
    return _hides_secret(value, _DEPTH)


def is_secret_key(key: str) -> bool:
    """Whether the value of a query key, as it was sent, is a secret."""
    # Clients choose the keys: cache only keys of a normal length.
    if len(key) <= _CACHED_KEY:
        return _cached_secret_key(key)
    return len(key) > _LONG_KEY or _secret_key(key)


def _secret_key(key: str) -> bool:
    text = unquote_plus(key) if "%" in key or "+" in key else key
    words = [word for word in _SEPARATORS.split(_CAMEL.sub("_", text).lower()) if word]
    if not words:
        return False
    return (
        bool(_TELLING.search("".join(words)))
        or not _WORDS.isdisjoint(words)
        or words[-1] in _LAST_WORDS
        or (len(words) == 1 and words[0] in _ONLY_WORDS)
    )


_cached_secret_key = lru_cache(maxsize=1024)(_secret_key)
