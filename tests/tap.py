"""What the tests of both C{twistd} plugins share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from twisted.application.service import IServiceMaker, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime import plugin


class ListeningService(Service):
    """A service that listens, or fails, when a test completes its result."""

    def __init__(self, result: Deferred[tuple[IAddress, ...]]) -> None:
        self.result = result

    def listening(self) -> Deferred[tuple[IAddress, ...]]:
        return self.result

    def abort(self) -> None:
        raise AssertionError("there was no second signal")

    def reload(self) -> Deferred[None]:
        raise AssertionError("there was no SIGHUP")


class IgnoredStops:
    """Stop signals without handlers in this process."""

    def __init__(self, reactor: object) -> None:
        self.aborts: list[object] = []
        self.began = self.aborts.append


class Cases:
    """Prevents trial from running the cases themselves."""

    class AnyPlugin(SynchronousTestCase):
        """A plugin without signal handlers.

        @cvar tap: the module of the plugin.
        @cvar program: the name of the plugin.
        @cvar service_name: the name of the service's class in that module.
        @ivar configs: the configurations of the services that were made.
        @ivar interruptible: the functions that tidy up after a Ctrl-C before the reactor runs.
        @ivar reloads: the functions that SIGHUP calls.
        """

        tap: ModuleType
        program: str
        service_name: str

        def setUp(self) -> None:
            self.configs: list[Any] = []
            self.interruptible: list[Callable[[], object]] = []
            self.reloads: list[partial[Deferred[None]]] = []
            self.patch(plugin, "end_when_interrupted", lambda reactor, tidy: self.interruptible.append(tidy))
            self.patch(plugin, "StopSignals", IgnoredStops)
            self.patch(plugin, "spare_started_objects", lambda: None)
            self.patch(plugin, "reload_on_sighup", lambda reactor, reload: self.reloads.append(reload))
            self.patch(self.tap, self.service_name, self.make)

        def make(self, reactor: object, config: Any, **named: Any) -> ListeningService:
            """Make a service without effects."""
            self.configs.append(config)
            return self.service()

        def service(self) -> ListeningService:
            """Return a service."""
            raise NotImplementedError

        def options(self, *arguments: str, **parent: Any) -> Any:
            """Parse the options of the plugin, below those of C{twistd}."""
            options = self.tap.Options()
            options.parseOptions(arguments)
            options.parent = parent
            return options

        def refuse(self, options: Any, expected: str) -> None:
            """Expect an exit with one line, which starts with the name of the plugin."""
            with self.assertRaises(SystemExit) as caught:
                self.tap.makeService(options)
            self.assertEqual(caught.exception.code, f"{self.program}: {expected}")

        def test_invalid_value(self) -> None:
            self.refuse(self.options("--metrics-port", "x"), "--metrics-port 'x': write a TCP port from 1 to 65535")
            self.assertEqual(self.configs, [])

        def test_error_of_the_service(self) -> None:
            def refuse(reactor: object, config: object, **named: object) -> ListeningService:
                raise ConfigError("--policy", "", "rule 3\nhas no reason")

            self.patch(self.tap, self.service_name, refuse)
            self.refuse(self.options(), "--policy: rule 3 has no reason")

        def test_standard_output_of_a_daemon(self) -> None:
            self.refuse(
                self.options("--audit-log", "-", nodaemon=False),
                "--audit-log '-': a daemon has no standard output: name a file, or use twistd -n",
            )
            self.tap.makeService(self.options("--audit-log", "-", nodaemon=True))
            self.assertEqual([config.audit_log for config in self.configs], ["-"])

        def test_found(self) -> None:
            """C{twistd} finds the plugin."""
            (maker,) = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == self.program]
            self.assertIs(maker.options, self.tap.Options)
            make: Callable[..., object] = maker.makeService
            self.assertIs(make, self.tap.makeService)
