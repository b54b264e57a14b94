"""What the tests of both C{twistd} plugins share."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime import plugin


class TapTestCase(SynchronousTestCase):
    """Base: a plugin without signal handlers.

    @cvar tap: the module of the plugin.
    @ivar interruptible: the functions that tidy up after a Ctrl-C before the reactor runs.
    @ivar reloads: the functions that SIGHUP calls.
    """

    tap: ModuleType

    def setUp(self) -> None:
        self.interruptible: list[Callable[[], object]] = []
        self.reloads: list[Callable[[], Deferred[None]]] = []
        self.patch(plugin, "end_when_interrupted", lambda reactor, tidy: self.interruptible.append(tidy))
        self.patch(plugin, "reload_on_sighup", lambda reactor, reload: self.reloads.append(reload))

    def options(self, *arguments: str, **parent: Any) -> Any:
        """Parse the options of the plugin, below those of C{twistd}."""
        options = self.tap.Options()
        options.parseOptions(arguments)
        options.parent = parent
        return options

    def refuse(self, options: Any, expected: str) -> None:
        """Expect an exit with one line."""
        with self.assertRaises(SystemExit) as caught:
            self.tap.makeService(options)
        self.assertEqual(caught.exception.code, expected)
