"""Tests for L{egress.runtime.plugin}; the tests of the plugins have the parts that depend on a configuration."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
from twisted.application.service import Application
from twisted.internet.address import IPv4Address
from twisted.internet.defer import fail, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.admin_endpoint import AdminEndpoint
from egress.config.model import ConfigError
from egress.config.option import Option
from egress.model.log_format import LogFormat, LogThreshold
from egress.runtime import plugin
from egress.runtime.plugin import make_program
from egress.runtime.twistd_options import CommandLine
from tests.tap import IgnoredStops, ListeningService

ADDRESS = IPv4Address("TCP", "127.0.0.1", 8080)


class Options(CommandLine):
    """A command line without options."""

    program = "example"
    table: ClassVar[tuple[Option, ...]] = ()
    longdesc = "An example."


@attrs.frozen
class Config:
    """A configuration."""

    audit_log: str | None = None
    metrics_port: int | None = None
    metrics_interface: str = "127.0.0.1"
    log_format: LogFormat = LogFormat.TEXT
    log_level: LogThreshold = LogThreshold.INFO


class MakeProgramTests(SynchronousTestCase):
    """The steps from the command line to a program."""

    def setUp(self) -> None:
        self.patch(plugin, "end_when_interrupted", lambda reactor, tidy: None)
        self.patch(plugin, "StopSignals", IgnoredStops)
        self.patch(plugin, "spare_started_objects", lambda: self.spared.append(bool(self.service.running)))
        self.spared: list[bool] = []
        self.patch(plugin, "reload_on_sighup", lambda reactor, reload: self.reloads.append(reload))
        self.patch(os, "environ", {"EXAMPLE": "1"})
        self.reloads: list[Any] = []
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def make(self, config: Config | ConfigError, result: Any = None, **parent: Any) -> Any:
        options: Any = Options()
        options.parent = {"nodaemon": True, **parent}

        def load(arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str], reactor: object) -> Config:
            self.assertEqual((arguments, environ), ({}, {"EXAMPLE": "1"}))
            if isinstance(config, ConfigError):
                raise config
            return config

        self.service = ListeningService(succeed((ADDRESS,)) if result is None else result)
        return make_program(
            options,
            load=load,
            make=lambda reactor, config: self.service,
            message=lambda addresses, service, config: f"{addresses[0]} {service is self.service} {config}\n",
            admin=lambda config: AdminEndpoint.parse("tcp:8080"),
        )

    def test_start(self) -> None:
        """It starts the service, writes the message, and reloads when it receives a signal."""
        self.make(Config()).startService()
        self.assertTrue(self.service.running)
        self.assertEqual(self.out.getvalue(), f"{ADDRESS} True {Config()}\n")
        self.assertEqual(self.spared, [True])
        self.assertEqual([reload.args for reload in self.reloads], [(self.service.reload,)])

    def test_json(self) -> None:
        """The program gives its observer to twistd, and the start message is a record."""
        application = Application("example")
        program = self.make(Config(log_format=LogFormat.JSON))
        program.setServiceParent(application)
        with capturedLogs() as events:
            program.startService()
        self.assertEqual(self.out.getvalue(), "")
        self.assertIn(str(ADDRESS), events[-1]["text"])
        application.getComponent(ILogObserver)(events[-1])
        self.assertEqual(json.loads(self.out.getvalue())["message"], events[-1]["text"])

    def test_json_in_the_system_log(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            self.make(Config(log_format=LogFormat.JSON), syslog=True)
        self.assertIn("--log-format 'json': the system log has its own format", str(caught.exception.code))

    def test_check(self) -> None:
        """Without a check of its own, a program makes its service, which finds every error."""
        options: Any = Options()
        options.parseOptions(["--check"])
        options.parent = {"nodaemon": True}
        made: list[object] = []

        def make(reactor: object, config: Config) -> ListeningService:
            made.append(config)
            return ListeningService(succeed((ADDRESS,)))

        with self.assertRaises(SystemExit) as caught:
            make_program(
                options,
                load=lambda *_: Config(),
                make=make,
                message=lambda *_: "",
            )
        self.assertEqual((caught.exception.code, made), (0, [Config()]))
        self.assertEqual(self.out.getvalue(), "ok       the configuration is valid\n")

    def test_invalid_configuration(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            self.make(ConfigError("--policy", "", "rule 3\nhas no reason"))
        self.assertEqual(caught.exception.code, "example: --policy: rule 3 has no reason")

    def test_audit_log_of_a_daemon(self) -> None:
        self.make(Config("-"))
        self.make(Config("a.jsonl"), nodaemon=False, logfile=self.mktemp())
        with self.assertRaises(SystemExit) as caught:
            self.make(Config("-"), nodaemon=False)
        self.assertIn("a daemon has no standard output", str(caught.exception.code))

    def test_cannot_listen(self) -> None:
        """The error names the option of the port."""
        for port, option in ((8080, "--admin"), (8081, "--listen")):
            error = CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))
            with self.subTest(option):
                self.assertRaises(SystemExit, self.make(Config(), fail(error)).startService)
                self.assertIn(f"example: {option}: cannot listen", self.err.getvalue())
