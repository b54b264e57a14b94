"""The C{twistd} plugin: C{twistd egressauthz}."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.load import load_authz_service_config
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.authz_service.service import EgressAuthzService
from egress.config.model import ConfigError
from egress.model.authority import Authority
from egress.observability.audit_log import STDOUT
from egress.runtime.global_reactor import global_reactor
from egress.runtime.program import Program
from egress.runtime.rlimits import raise_limit
from egress.runtime.signals import end_when_interrupted, reload_on_sighup
from egress.runtime.startup import endpoint_of, facts_of, start_fault
from egress.runtime.terminal import Terminal
from egress.runtime.twistd_options import CommandLine, exit_with

_PROGRAM: Final = "egressauthz"


class Options(CommandLine):
    """The command line of C{twistd egressauthz}."""

    program = _PROGRAM
    table = AUTHZ_SERVICE_OPTIONS
    longdesc = (
        "An authorization service that decides by a policy (POST /validate), for Postman runners and egressproxy. "
        "Command-line options override environment variables, which override --config. Use none to unset an option."
    )


def start_message(addresses: Sequence[IAddress], authorizer: str, config: AuthzServiceConfig) -> str:
    """Write the message for the operator at startup.

    @param addresses: the addresses of the listeners, in the order of C{config.listen}.
    @param authorizer: the name of the authorizer.
    """
    facts = [("listens on", ", ".join(map(endpoint_of, addresses))), ("decides", authorizer)]
    if config.token is not None:
        facts.append(("callers", "must send the token"))
    if config.metrics_port is not None:
        facts.append(("metrics", f"http://{Authority(config.metrics_interface, config.metrics_port)}/metrics"))
    lines = facts_of(_PROGRAM, facts)
    tcp = [
        (address, listener)
        for address, listener in zip(addresses, config.listen, strict=False)
        if isinstance(address, (IPv4Address, IPv6Address))
    ]
    exposed = [
        endpoint_of(address)
        for address, listener in tcp
        if not config.requires_auth_at(listener) and not ip_address(address.host.partition("%")[0]).is_loopback
    ]
    if exposed:
        where = ", ".join(exposed)
        lines += [f"Open to the network: {where}. Everybody who can connect can query the policy.", ""]
    if tcp:
        address, listener = tcp[0]
        lines += [f"For a proxy: --authz-url {_url(address, listener.tls is not None)}", ""]
    return "\n".join(lines)


def _url(address: IPv4Address | IPv6Address, tls: bool) -> str:
    """Write the URL by which a program on this machine reaches a listener."""
    ip = ip_address(address.host.partition("%")[0])
    if ip.is_unspecified:
        ip = ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"{'https' if tls else 'http'}://{Authority(str(ip), address.port)}"


def makeService(options: Options) -> IService:
    """Make the service for C{twistd} (C{twisted.application.service.IServiceMaker}).

    @raise SystemExit: with one line, if the configuration cannot be used.
    """
    # twistd has installed the one that was chosen.
    reactor = global_reactor()
    terminal = Terminal.of(_PROGRAM, options.parent)
    try:
        config = load_authz_service_config(options.arguments, os.environ, reactor)
        raise_limit(reactor)
        if config.audit_log == STDOUT and not terminal.foreground:
            raise ConfigError("--audit-log", STDOUT, "a daemon has no standard output: name a file, or use twistd -n")
        service = EgressAuthzService(reactor, config)
    except ConfigError as error:
        exit_with(_PROGRAM, str(error))
    if terminal.foreground:
        end_when_interrupted(reactor, terminal.tidy)
    reload_on_sighup(reactor, service.reload)

    def message(addresses: Sequence[IAddress]) -> str:
        return start_message(addresses, service.authorizer.name, config)

    return Program(service, message, partial(start_fault, config=config), terminal, reactor.stop)
