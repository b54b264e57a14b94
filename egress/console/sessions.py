"""The sessions of the console: who is signed in, and the codes and tokens with which people sign in."""

from __future__ import annotations

import enum
import hmac
import secrets
from collections.abc import Callable
from typing import Final

import attrs

MAX_SESSIONS: Final = 64
"""The maximum number of sessions; a new one replaces the one that was unused for the longest time."""

IDLE_SECONDS: Final = 2 * 3600.0
"""The time after which an unused session ends."""

ABSOLUTE_SECONDS: Final = 12 * 3600.0
"""The time after which every session ends."""

CODE_SECONDS: Final = 60.0
"""The time for which a code can be used."""

_MAX_CODES: Final = 64
_BYTES: Final = 32


class SessionRole(enum.Enum):
    """What a session may do."""

    ADMIN = "admin"
    VIEWER = "viewer"


@attrs.define(eq=False)
class Session:
    """One signed-in browser.

    @ivar role: what it may do.
    @ivar csrf: the token that each of its forms contains.
    @ivar began: when it began, in seconds of the monotonic clock.
    @ivar used: when it was last used.
    """

    role: SessionRole
    csrf: str
    began: float
    used: float

    @property
    def may_change(self) -> bool:
        """Whether it may change anything."""
        return self.role is SessionRole.ADMIN


class Sessions:
    """The sessions, by their secret ids, and the single-use codes.

    @param clock: returns the seconds of a monotonic clock.
    @param admin_token: the token with which an administrator signs in; C{None}: only with a code.
    @param viewer_token: the token with which a viewer signs in; C{None}: only with a code.
    """

    def __init__(self, clock: Callable[[], float], admin_token: str | None, viewer_token: str | None) -> None:
        self._clock = clock
        self._tokens = [
            (role, token.encode())
            for role, token in ((SessionRole.ADMIN, admin_token), (SessionRole.VIEWER, viewer_token))
            if token is not None
        ]
        self._sessions: dict[str, Session] = {}
        self._codes: dict[str, tuple[SessionRole, float]] = {}

    @property
    def has_tokens(self) -> bool:
        """Whether a token is configured."""
        return bool(self._tokens)

    def role_of_token(self, given: str) -> SessionRole | None:
        """Return the role of a token; the comparison takes the same time for every token of its length."""
        found = None
        for role, token in self._tokens:
            if hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token):
                found = role
        return found

    def make_code(self, role: SessionRole) -> str:
        """Make a code that one browser can use within a minute."""
        now = self._clock()
        self._codes = {code: made for code, made in self._codes.items() if made[1] > now}
        while len(self._codes) >= _MAX_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(_BYTES)
        self._codes[code] = (role, now + CODE_SECONDS)
        return code

    def use_code(self, code: str) -> SessionRole | None:
        """Return the role of a code, which cannot be used again."""
        role, until = self._codes.pop(code, (None, 0.0))
        return role if until > self._clock() else None

    def begin(self, role: SessionRole) -> tuple[str, Session]:
        """Begin a session.

        @return: its secret id, and the session.
        """
        self._expire()
        while len(self._sessions) >= MAX_SESSIONS:
            oldest = min(self._sessions, key=lambda each: self._sessions[each].used)
            del self._sessions[oldest]
        now = self._clock()
        identifier = secrets.token_urlsafe(_BYTES)
        session = self._sessions[identifier] = Session(role, secrets.token_urlsafe(_BYTES), now, now)
        return identifier, session

    def find(self, identifier: str) -> Session | None:
        """Return the session with an id, which is used now."""
        self._expire()
        session = self._sessions.get(identifier)
        if session is not None:
            session.used = self._clock()
        return session

    def touch(self, session: Session) -> bool:
        """Use a session; return whether it continues."""
        self._expire()
        if not any(each is session for each in self._sessions.values()):
            return False
        session.used = self._clock()
        return True

    def end(self, identifier: str) -> None:
        """End a session."""
        self._sessions.pop(identifier, None)

    def _expire(self) -> None:
        now = self._clock()
        for identifier, session in [*self._sessions.items()]:
            if now - session.used >= IDLE_SECONDS or now - session.began >= ABSOLUTE_SECONDS:
                del self._sessions[identifier]
