"""Tests for L{egress.upstream.origin_versions}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin
from egress.upstream.origin_versions import CHOICE_SECONDS, FAILURE_SECONDS, MAX_ORIGINS, OriginVersions

ORIGIN = Origin("https", Authority("origin.test", 443))


class OriginVersionsTests(SynchronousTestCase):
    """What is known about an origin is bounded, and expires."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.versions = OriginVersions(self.clock)

    def test_choice(self) -> None:
        self.assertIsNone(self.versions.choice(ORIGIN))
        for http2 in (True, False):
            self.versions.learn(ORIGIN, http2=http2)
            self.assertIs(self.versions.choice(ORIGIN), http2)
        self.clock.advance(CHOICE_SECONDS)
        self.assertIsNone(self.versions.choice(ORIGIN))
        self.assertEqual(len(self.versions), 0)

    def test_failure(self) -> None:
        """The choice of an origin that was offered only HTTP/1.1 does not extend the failure."""
        self.versions.learn(ORIGIN, http2=True)
        self.versions.fail(ORIGIN)
        self.clock.advance(FAILURE_SECONDS - 1)
        self.versions.learn(ORIGIN, http2=False)
        self.assertTrue(self.versions.failed(ORIGIN))
        self.assertIs(self.versions.choice(ORIGIN), False)
        self.clock.advance(1)
        self.assertFalse(self.versions.failed(ORIGIN))
        self.assertIsNone(self.versions.choice(ORIGIN))

    def test_forget(self) -> None:
        self.versions.forget(ORIGIN)
        self.versions.fail(ORIGIN)
        self.versions.forget(ORIGIN)
        self.assertFalse(self.versions.failed(ORIGIN))

    def test_streams(self) -> None:
        self.versions.learn_streams(ORIGIN, 5)
        self.assertIsNone(self.versions.streams(ORIGIN))
        self.versions.learn(ORIGIN, http2=True)
        self.versions.learn_streams(ORIGIN, 5)
        self.versions.learn(ORIGIN, http2=True)
        self.assertEqual(self.versions.streams(ORIGIN), 5)

    def test_limit(self) -> None:
        for port in range(1, MAX_ORIGINS + 2):
            self.versions.learn(Origin("https", Authority("origin.test", port)), http2=True)
        self.assertEqual(len(self.versions), MAX_ORIGINS)
        self.assertIsNone(self.versions.choice(Origin("https", Authority("origin.test", 1))))
        self.assertIs(self.versions.choice(Origin("https", Authority("origin.test", 2))), True)
