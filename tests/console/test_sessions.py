"""Tests for L{egress.console.sessions}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.console.sessions import ABSOLUTE_SECONDS, CODE_SECONDS, IDLE_SECONDS, MAX_SESSIONS, SessionRole, Sessions

ADMIN, VIEWER = SessionRole.ADMIN, SessionRole.VIEWER


class SessionsTests(SynchronousTestCase):
    """Sessions end, and are bounded."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock.seconds, "secret", "look")

    def test_find(self) -> None:
        identifier, session = self.sessions.begin(ADMIN)
        self.assertIs(self.sessions.find(identifier), session)
        self.assertTrue(session.may_change)
        self.assertIsNone(self.sessions.find(""))
        self.assertIsNone(self.sessions.find(identifier[:-1]))
        self.assertFalse(self.sessions.begin(VIEWER)[1].may_change)

    def test_secrets_differ(self) -> None:
        pairs = [self.sessions.begin(ADMIN) for _ in range(5)]
        secrets = {text for identifier, session in pairs for text in (identifier, session.csrf)}
        self.assertEqual(len(secrets), 10)
        self.assertGreaterEqual(min(map(len, secrets)), 43)

    def test_idle(self) -> None:
        identifier, session = self.sessions.begin(ADMIN)
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertIsNotNone(self.sessions.find(identifier))
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertTrue(self.sessions.touch(session))
        self.clock.advance(IDLE_SECONDS)
        self.assertIsNone(self.sessions.find(identifier))
        self.assertFalse(self.sessions.touch(session))

    def test_absolute(self) -> None:
        """A session that is used all the time ends, too."""
        identifier, _ = self.sessions.begin(ADMIN)
        for _ in range(int(ABSOLUTE_SECONDS / 3600) - 1):
            self.clock.advance(3600)
            self.assertIsNotNone(self.sessions.find(identifier))
        self.clock.advance(3600)
        self.assertIsNone(self.sessions.find(identifier))

    def test_bound(self) -> None:
        """A new session replaces the one that was unused for the longest time."""
        first, second = (self.sessions.begin(ADMIN)[0] for _ in range(2))
        self.clock.advance(1)
        self.sessions.find(first)
        for _ in range(MAX_SESSIONS - 1):
            self.sessions.begin(ADMIN)
        self.assertIsNotNone(self.sessions.find(first))
        self.assertIsNone(self.sessions.find(second))

    def test_end(self) -> None:
        identifier, _ = self.sessions.begin(ADMIN)
        self.sessions.end(identifier)
        self.sessions.end(identifier)
        self.assertIsNone(self.sessions.find(identifier))

    def test_tokens(self) -> None:
        for text, role in (("secret", ADMIN), ("look", VIEWER), ("", None), ("secre", None), ("sécret\udc80", None)):
            with self.subTest(text):
                self.assertIs(self.sessions.role_of_token(text), role)
        self.assertTrue(self.sessions.has_tokens)

    def test_no_tokens(self) -> None:
        """Without a token, nobody signs in with an empty one."""
        sessions = Sessions(self.clock.seconds, None, None)
        self.assertFalse(sessions.has_tokens)
        self.assertIsNone(sessions.role_of_token(""))


class CodeTests(SynchronousTestCase):
    """Codes sign in one browser, for a minute."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock.seconds, None, None)

    def test_once(self) -> None:
        code = self.sessions.make_code(VIEWER)
        self.assertIs(self.sessions.use_code(code), VIEWER)
        self.assertIsNone(self.sessions.use_code(code))
        self.assertIsNone(self.sessions.use_code(""))

    def test_expiry(self) -> None:
        code = self.sessions.make_code(ADMIN)
        self.clock.advance(CODE_SECONDS)
        self.assertIsNone(self.sessions.use_code(code))

    def test_bound(self) -> None:
        codes = [self.sessions.make_code(ADMIN) for _ in range(65)]
        self.assertIsNone(self.sessions.use_code(codes[0]))
        self.assertIs(self.sessions.use_code(codes[1]), ADMIN)
