"""A proxy in this process, for one command in a sandbox."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from socket import socket
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint

from egress.config.listener import Listener
from egress.config.model import ProxyConfig
from egress.launch.client import Client
from egress.launch.client_files import client_files
from egress.launch.isolate.messages import View
from egress.launch.isolate.sandbox import Sandbox, SandboxSockets
from egress.launch.placeholder_names import PlaceholderNames, TcpNames, UdpNames
from egress.launch.runner import executable_of
from egress.launch.secrets import secret_files, without_secrets
from egress.launch.summary import Summary
from egress.model.authority import Authority
from egress.runtime.role import Role
from egress.service import EgressProxyService

_PROXY: Final = Listener("tcp:0:interface=127.0.0.1")
# The command can change only the private temporary directory, and the directory of its files is read-only.
_PRIVATE_PROFILE: Final = Path("/tmp/egress-browser")  # noqa: S108 -- it is private
_TRANSPARENT: Final = Listener("tcp:0", sets_auth=True, transparent=True)


@inlineCallbacks
def run_isolated(
    reactor: Any,
    config: ProxyConfig,
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    directory: Path,
    summary: Summary,
    writable: Sequence[Path] | None = None,
) -> Generator[Deferred[Any], Any, int]:
    """Start a proxy, run a command in a sandbox that reaches only this proxy, and stop the proxy when the command ends.

    @param reactor: the reactor of the process.
    @param config: the configuration of the proxy; its listeners are replaced.
    @param command: the command and its arguments.
    @param environ: the environment, in which the settings of clients replace or extend variables.
    @param directory: an empty directory for the files that the command trusts.
    @param summary: receives the audit records.
    @param writable: if not C{None}, the command can change only these directories and private temporary ones.
    @return: fires with the exit status of the command.
    @raise egress.launch.runner.CannotRun: if the command cannot be started.
    @raise egress.launch.isolate.sandbox.CannotIsolate: if the sandbox cannot be made.
    @raise egress.config.model.ConfigError: naming the invalid value and the fix.
    """
    # Before the proxy makes a CA, for example.
    executable = executable_of(command, environ)
    view = View(None if writable is None else [str(each.absolute()) for each in writable], [str(directory)])
    sandbox: Sandbox = yield Sandbox.start(reactor, view)
    sockets, names = sandbox.sockets, PlaceholderNames()
    dns: list[Any] = []
    try:
        url = f"http://{Authority(*sockets.proxy.getsockname()[:2])}"
        proxy = _proxy(reactor, config, sockets, names=names, summary=summary)
        summary.add_warning(proxy.store_fault)
        proxy.startService()
        try:
            yield proxy.listening()
            dns += _name_servers(reactor, sockets, names)
            files = client_files(config, directory, url, environ)
            profile = Client.profile_in(directory) if writable is None else _PRIVATE_PROFILE
            client = Client(url, files, proxy.certificate_authority.leaf_key_hash, profile)
            arguments, variables = client.arguments(command), client.environment(without_secrets(environ, config))
            status: int = yield sandbox.run(executable, arguments, variables, hidden=secret_files(config))
        finally:
            for port in dns:
                yield maybeDeferred(port.stopListening)
            yield proxy.stopService()
    finally:
        sandbox.close()
        sockets.close()
    return status


def _proxy(
    reactor: Any, config: ProxyConfig, sockets: SandboxSockets, *, names: PlaceholderNames, summary: Summary
) -> EgressProxyService:
    """Return a proxy that accepts connections from the sandbox, and opens connections outside of it."""
    transparent = [_TRANSPARENT] * len(sockets.transparent)
    endpoints = [_endpoint(reactor, each) for each in (sockets.proxy, *sockets.transparent)]
    return EgressProxyService(
        reactor,
        attrs.evolve(config, listen=(_PROXY, *transparent)),
        audit=summary,
        role=Role(endpoints, serves_sandbox=True, has_writer=True),
        names=names,
    )


def _endpoint(reactor: Any, listening: socket) -> AdoptedStreamServerEndpoint:
    """Return the endpoint of a listening socket, which it takes over."""
    family = listening.family
    return AdoptedStreamServerEndpoint(reactor, listening.detach(), family)  # type: ignore[no-untyped-call]


def _name_servers(reactor: Any, sockets: SandboxSockets, names: PlaceholderNames) -> list[Any]:
    """Serve the placeholder names in the sandbox.

    @return: the ports.
    """
    for each in (*sockets.dns_udp, *sockets.dns_tcp):
        each.setblocking(False)
    # The reactor duplicates the descriptors.
    udp = [reactor.adoptDatagramPort(each.fileno(), each.family, UdpNames(names)) for each in sockets.dns_udp]
    tcp = [reactor.adoptStreamPort(each.fileno(), each.family, TcpNames(names)) for each in sockets.dns_tcp]
    return [*udp, *tcp]
