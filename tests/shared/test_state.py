"""Tests for L{egress.shared.state}."""

from __future__ import annotations

import builtins
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.config.shared import SharedSettings
from egress.model.authority import Authority
from egress.shared.state import SharedState, shared_state

KEY = bytes(32)


class SharedStateTests(SynchronousTestCase):
    """The shared state of one process."""

    def state(self, **settings: Any) -> SharedState | None:
        self.reactor = MemoryReactorClock()
        trust: Any = None
        config = ProxyConfig(shared=SharedSettings(**settings))
        reactor: Any = self.reactor
        return shared_state(config, reactor, trust=trust, now=self.reactor.seconds)

    def test_none(self) -> None:
        self.assertIsNone(self.state())

    def test_life(self) -> None:
        state = self.state(location="unix:/run/r", key=KEY)
        assert state is not None
        self.assertEqual(self.reactor.unixClients, [])
        state.start()
        self.assertEqual(len(self.reactor.unixClients), 1)
        self.assertFalse(state.is_ready)
        self.assertIn("unix:/run/r cannot be used", self.successResultOf(state.check()) or "")
        state.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_master(self) -> None:
        """With sentinels, the readiness check names the master."""
        state = self.state(location="unix:/run/r", key=KEY)
        assert state is not None
        self.assertIsNone(state.master())
        state = self.state(location="redis+sentinel://127.0.0.1:1/m", key=KEY, sentinel_password="pw")
        assert state is not None
        self.assertEqual(state.master(), (None, 0))
        client: Any = state.client
        self.patch(type(client), "master", property(lambda self: Authority("a.test", 7000)))
        self.assertEqual(state.master(), ("a.test:7000", 0))
        self.assertEqual(self.successResultOf(state.check()), "the master is a.test:7000")

    def test_keys(self) -> None:
        state = self.state(location="unix:/run/r", key=KEY)
        assert state is not None
        self.assertNotEqual(state.keys("a").group(b"x"), state.keys("b").group(b"x"))

    def test_not_installed(self) -> None:
        """The error names the extra."""
        original = builtins.__import__

        def without(name: str, *arguments: Any) -> Any:
            if name == "hiredis":
                raise ImportError(name)
            return original(name, *arguments)

        self.patch(builtins, "__import__", without)
        error = self.assertRaises(ConfigError, self.state, location="unix:/run/r", key=KEY)
        self.assertIn("egressproxy[redis]", error.remedy)
