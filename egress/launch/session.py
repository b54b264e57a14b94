"""A proxy in this process, for one command."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from egress.client_settings.variables import ClientFiles
from egress.config.model import ProxyConfig
from egress.launch.client import Client
from egress.launch.client_files import client_files
from egress.launch.runner import executable_of, run_command
from egress.launch.secrets import without_secrets
from egress.launch.summary import Summary
from egress.runtime.role import PROGRAM
from egress.runtime.startup import tcp_listeners
from egress.service import EgressProxyService


@inlineCallbacks
def run_behind_proxy(
    reactor: Any,
    config: ProxyConfig,
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    directory: Path,
    summary: Summary,
) -> Generator[Deferred[Any], Any, int]:
    """Start a proxy, run a command behind it, and stop the proxy when the command ends.

    @param reactor: the reactor of the process.
    @param config: the configuration of the proxy; its first listener is a TCP port.
    @param command: the command and its arguments.
    @param environ: the environment, in which the settings of clients replace or extend variables.
    @param directory: an empty directory for the files that the command trusts.
    @param summary: receives the audit records.
    @return: fires with the exit status of the command.
    @raise egress.launch.runner.CannotRun: if the command cannot be started.
    @raise egress.config.model.ConfigError: naming the invalid value and the fix.
    """
    # Before the proxy makes a CA, for example.
    executable = executable_of(command, environ)
    proxy = EgressProxyService(reactor, config, audit=summary, role=PROGRAM)
    summary.add_warning(proxy.store_fault)
    proxy.startService()
    try:
        addresses = yield proxy.listening()
        url = tcp_listeners(addresses, config.listen)[0].url
        files = client_files(config, directory, url, environ)
        client = Client(url, files, proxy.certificate_authority.leaf_key_hash)
        arguments, variables = client.arguments(command), client.environment(without_secrets(environ, config))
        status: int = yield run_command(reactor, executable, arguments, variables)
    finally:
        yield proxy.stopService()
    return status


def run_client(
    reactor: Any, proxy: str, command: Sequence[str], environ: Mapping[str, str], *, files: ClientFiles
) -> Deferred[int]:
    """Run a command that uses a running proxy.

    @param reactor: the reactor of the process.
    @param proxy: the URL of the proxy.
    @param command: the command and its arguments.
    @param environ: the environment, in which the settings of clients replace or extend variables.
    @param files: the files that the command trusts.
    @return: fires with the exit status of the command.
    @raise egress.launch.runner.CannotRun: if the command cannot be started.
    """
    client = Client(proxy, files)
    executable = executable_of(command, environ)
    return run_command(reactor, executable, client.arguments(command), client.environment(environ))
