"""The C{twistd} plugin: C{twistd egressauthz}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.interfaces import IAddress

from egress.authz_service.config import AuthzServiceConfig
from egress.authz_service.load import load_authz_service_config
from egress.authz_service.options import AUTHZ_SERVICE_OPTIONS
from egress.authz_service.service import EgressAuthzService
from egress.model.authority import Authority
from egress.runtime.plugin import make_program
from egress.runtime.startup import endpoint_of, facts_of, open_endpoints, tcp_listeners
from egress.runtime.twistd_options import CommandLine

_PROGRAM: Final = "egressauthz"


class Options(CommandLine):
    """The command line of C{twistd egressauthz}."""

    program = _PROGRAM
    table = AUTHZ_SERVICE_OPTIONS
    longdesc = (
        "An authorization service that decides by a policy (POST /validate), for Postman runners and egressproxy. "
        "Command-line options override environment variables, which override --config. Use none to unset an option."
    )
    common = {
        "listen": "where proxies connect [default: tcp:9000:interface=127.0.0.1]",
        "token-file": "the bearer token that callers must send",
        "policy": "the rules that decide",
        "audit-log": "one line of JSON for each decision; -: standard output",
        "metrics-port": "the port for /metrics and /health",
        "config": "a TOML file with these options",
    }
    examples = (
        ("Decide by a policy", "twistd -n egressauthz --policy policy.toml"),
        ("Use it in a proxy", "twistd -n egressproxy --authz-url http://127.0.0.1:9000"),
    )


def start_message(addresses: Sequence[IAddress], authorizer: str, config: AuthzServiceConfig) -> str:
    """Write the message for the operator at startup.

    @param addresses: the addresses of the listeners, in the order of C{config.listen}.
    @param authorizer: the name of the authorizer.
    @param config: the configuration.
    """
    facts = [("listens on", ", ".join(map(endpoint_of, addresses))), ("decides", authorizer)]
    if config.token is not None:
        facts.append(("callers", "must send the token"))
    if config.metrics_port is not None:
        facts.append(("metrics", f"http://{Authority(config.metrics_interface, config.metrics_port)}/metrics"))
    lines = facts_of(_PROGRAM, facts)
    tcp = tcp_listeners(addresses, config.listen)
    exposed = open_endpoints(tcp, config.requires_auth_at)
    if exposed:
        lines += [f"Open to the network: {exposed}. Everybody who can connect can query the policy.", ""]
    if tcp:
        lines += [f"For a proxy: --authz-url {tcp[0].url}", ""]
    return "\n".join(lines)


def makeService(options: Options) -> IService:
    """Make the service for C{twistd} (C{twisted.application.service.IServiceMaker}).

    @raise SystemExit: with one line, if the configuration cannot be used.
    """
    return make_program(options, load=load_authz_service_config, make=_make_service, message=_message)


def _make_service(reactor: Any, config: AuthzServiceConfig) -> EgressAuthzService:
    return EgressAuthzService(reactor, config)


def _message(addresses: Sequence[IAddress], service: EgressAuthzService, config: AuthzServiceConfig) -> str:
    return start_message(addresses, service.authorizer.name, config)
