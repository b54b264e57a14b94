"""The program of a C{twistd} plugin: it loads the configuration, makes the service and runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from egress.config.model import STDOUT, ConfigError
from egress.config.wording import Spellings
from egress.model.log_format import LogFormat, LogThreshold
from egress.runtime.collector import spare_started_objects
from egress.runtime.global_reactor import global_reactor
from egress.runtime.log_output import log_observer
from egress.runtime.program import Listening, Program
from egress.runtime.react import run
from egress.runtime.rlimits import raise_limit
from egress.runtime.service_manager import ServiceManager
from egress.runtime.signals import StopSignals, end_when_interrupted, reload_on_sighup
from egress.runtime.startup import HasMetrics, start_fault
from egress.runtime.terminal import Terminal
from egress.runtime.twistd_options import CommandLine, exit_with

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress

    from egress.config.admin_endpoint import AdminEndpoint


class PluginConfig(HasMetrics, Protocol):
    """The configuration of a plugin's service."""

    @property
    def audit_log(self) -> str | None:
        """The audit log, if there is one."""

    @property
    def log_format(self) -> LogFormat:
        """The format of the log."""

    @property
    def log_level(self) -> LogThreshold:
        """The lowest level of the records in the log."""


class PluginService(Listening, Protocol):
    """The service of a plugin."""

    def reload(self) -> Deferred[None]:
        """Reload the files of the configuration."""


C = TypeVar("C", bound=PluginConfig)
S = TypeVar("S", bound=PluginService)


def make_program(
    options: CommandLine,
    *,
    load: Callable[[Mapping[str, Sequence[str]], Mapping[str, str], object], C],
    make: Callable[[Any, C], S],
    message: Callable[[Sequence[IAddress], S, C], str],
    admin: Callable[[C], AdminEndpoint | None] = lambda config: None,
    check: Callable[[Any, C, Callable[[str], str]], Deferred[tuple[list[str], int]]] | None = None,
    started: Callable[[S], object] = lambda service: None,
) -> Program:
    """Make the program of a plugin, for C{makeService} (C{twisted.application.service.IServiceMaker}).

    @param options: the parsed command line.
    @param load: loads the configuration from the command line and the environment; its last argument is the reactor.
    @param make: makes the service on a reactor.
    @param message: writes the start message, for the addresses of the listeners.
    @param admin: returns the endpoint of the admin API, if there is one.
    @param check: checks the configuration for C{--check}, and returns lines and the exit status; its last argument
        names an option as the user gave it.  C{None}: making the service is all that is checked.
    @param started: is called when the service listens, after the start message.
    @raise SystemExit: with one line, if the configuration cannot be used.
    """
    # twistd has installed the reactor that was chosen.
    reactor = global_reactor()
    spellings = Spellings(options.table, options.arguments, os.environ)
    terminal = Terminal.of(options.program, options.parent)
    try:
        config = load(options.arguments, os.environ, reactor)
        raise_limit(reactor)
        if config.audit_log == STDOUT and not terminal.foreground:
            raise ConfigError("--audit-log", STDOUT, "a daemon has no standard output: name a file, or use twistd -n")
        if options.checks and check is not None:
            lines, status = run(lambda reactor: check(reactor, config, spellings.of))
            terminal.end(lines, status)
        observer = log_observer(config.log_format, config.log_level, options.parent, os.environ, terminal.out)
        service = make(reactor, config)
        if options.checks:
            terminal.end(["ok       the configuration is valid"], 0)
    except ConfigError as error:
        exit_with(options.program, str(spellings.reworded(error)))
    if config.log_format is LogFormat.JSON and observer is not None:
        # A reader of the log does not expect text between its records.
        terminal = attrs.evolve(terminal, logs=True)
    if terminal.foreground:
        end_when_interrupted(reactor, terminal.tidy)

    def listens() -> None:
        spare_started_objects()
        started(service)

    manager = ServiceManager(reactor, os.getpid(), os.environ)
    reload_on_sighup(reactor, partial(manager.reloading, service.reload))
    return Program(
        service,
        message=lambda addresses: message(addresses, service, config),
        fault=lambda error: start_fault(error, config, admin(config), spell=spellings.of),
        terminal=terminal,
        stop=reactor.stop,
        observer=observer,
        started=listens,
        manager=manager,
        stopping=StopSignals(reactor).began,
    )
