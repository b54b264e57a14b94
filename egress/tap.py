"""The C{twistd} plugin: C{twistd egressproxy}.

An operator error is one line on standard error and exit status 1, before anything is served.  A start message with
what the operator needs to use the proxy is printed once it listens.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from egress.config.listener import Listener
from egress.config.load import load_config
from egress.config.model import ConfigError, Mode, ProxyConfig
from egress.config.options import OPTIONS
from egress.model.authority import Authority
from egress.observability.audit_log import STDOUT
from egress.runtime.global_reactor import global_reactor
from egress.runtime.program import Program
from egress.runtime.rlimits import raise_limit
from egress.runtime.signals import end_when_interrupted, reload_on_sighup
from egress.runtime.startup import endpoint_of, facts_of, start_fault
from egress.runtime.terminal import Terminal
from egress.runtime.twistd_options import CommandLine, exit_with
from egress.service import EgressProxyService
from egress.tls.ca_source import ca_source
from egress.tls.issuer import CertificateAuthority, time_left
from egress.workers.service import WorkerPool

_PROGRAM: Final = "egressproxy"

# Variables that make programs trust a CA in place of their own CAs; NODE_EXTRA_CA_CERTS and DENO_CERT add to them.
_TRUST_VARIABLES: Final = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
)


class Options(CommandLine):
    """The command line of C{twistd egressproxy}."""

    program = _PROGRAM
    table = OPTIONS
    longdesc = (
        "An egress proxy that authorizes every outbound HTTP and HTTPS request before it forwards the request. "
        "Command-line options override environment variables, which override --config. Use none to unset an option."
    )


def _proxy_url(address: IPv4Address | IPv6Address, listener: Listener) -> str:
    """Return the URL by which a program on this machine reaches a listener."""
    ip = ip_address(address.host.partition("%")[0])
    if ip.is_unspecified:
        ip = ip_address("127.0.0.1" if ip.version == 4 else "::1")
    scheme = "http" if listener.tls is None else "https"
    return f"{scheme}://{Authority(str(ip), address.port)}"


def start_message(
    addresses: Sequence[IAddress], certificate: Path, ca: CertificateAuthority, authorizer: str, config: ProxyConfig
) -> str:
    """Write the start message: the facts that an operator needs, and the lines to paste into a shell.

    @param addresses: the addresses on which it listens, in the order of C{config.listen}.
    @param certificate: the file with the CA certificate.
    @param authorizer: the name of the authorizer.
    """
    now = datetime.now(timezone.utc)
    facts = [
        ("listens on", ", ".join(endpoint_of(address) for address in addresses)),
        ("decides", authorizer),
        ("CA", str(certificate)),
        ("SHA-256", ca.fingerprint),
        ("CA ends", time_left(ca.not_after, now) + (": replace it" if ca.ends_soon(now) else "")),
    ]
    if ca.limits is not None:
        facts.append(("signs for", ca.limits))
    if config.workers > 1:
        facts.append(("workers", f"{config.workers} processes"))
    if config.metrics_port is not None:
        facts.append(("metrics", f"http://{Authority(config.metrics_interface, config.metrics_port)}/metrics"))
    if config.admin is not None:
        facts.append(("admin", str(config.admin)))
    lines = facts_of(_PROGRAM, facts)
    if config.mode is Mode.OBSERVE:
        lines += ["NOTHING IS ENFORCED (--mode observe): requests that would be denied are forwarded and recorded.", ""]
    tcp = [
        (address, listener)
        for address, listener in zip(addresses, config.listen, strict=False)
        if isinstance(address, (IPv4Address, IPv6Address))
    ]
    unauthenticated = [address for address, listener in tcp if not config.requires_auth_at(listener)]
    exposed = [address for address in unauthenticated if not ip_address(address.host.partition("%")[0]).is_loopback]
    if exposed:
        where = ", ".join(endpoint_of(address) for address in exposed)
        lines += [f"Open to the network: {where}. Everyone who can connect to it can send requests through it.", ""]
    if tcp:
        lines += _shell_lines(_proxy_url(*tcp[0]), certificate if ca.rooted else None)
        if config.auth_at(tcp[0][1]) is not None:
            lines += ["", "Clients must authenticate: put NAME:PASSWORD@ or NAME:TOKEN@ before the host of the proxy."]
        if config.passthrough:
            lines += [
                "",
                f"Not intercepted: {', '.join(config.passthrough)}. These hosts present their own certificates: if",
                "the variables above replace the CAs of the system, use a file that contains both.",
            ]
        lines.append("")
    return "\n".join(lines) + "\n"


def _shell_lines(url: str, certificate: Path | None) -> list[str]:
    trust = " ".join(f'{name}="$CURL_CA_BUNDLE"' for name in _TRUST_VARIABLES)
    others = " ".join(f'{name}="$HTTP_PROXY"' for name in ("HTTPS_PROXY", "ALL_PROXY"))
    lower = " ".join(f'{name}="$HTTP_PROXY"' for name in ("http_proxy", "https_proxy", "all_proxy"))
    trusting = ["", "Clients must trust the root of this CA, which is not one of its certificates."]
    if certificate is not None:
        trusting = [f"export CURL_CA_BUNDLE={shlex.quote(str(certificate))}", f"export {trust}"]
    return [
        "To use the proxy in a shell, paste:",
        "",
        f"export HTTP_PROXY={shlex.quote(url)}",
        f"export {others} {lower}",
        "unset NO_PROXY no_proxy",
        *trusting,
        "",
        "Clients contact hosts in NO_PROXY directly, without a decision.",
    ]


def makeService(options: Options) -> IService:
    """Make the service for C{twistd} (C{twisted.application.service.IServiceMaker}).

    @raise SystemExit: with one line, when the configuration cannot be used.
    """
    # twistd has installed the one that was chosen.
    reactor = global_reactor()
    terminal = Terminal.of(_PROGRAM, options.parent)
    try:
        config = load_config(options.arguments, os.environ, reactor)
        raise_limit(reactor)
        if config.audit_log == STDOUT and not terminal.foreground:
            raise ConfigError("--audit-log", STDOUT, "a daemon has no standard output: name a file, or use twistd -n")
        make = EgressProxyService if config.workers == 1 else WorkerPool
        proxy = make(reactor, config)
    except ConfigError as error:
        exit_with(_PROGRAM, str(error))
    if terminal.foreground:
        end_when_interrupted(reactor, terminal.tidy)
    reload_on_sighup(reactor, proxy.reload)

    def message(addresses: Sequence[IAddress]) -> str:
        certificate = ca_source(config).certificate_path
        return start_message(addresses, certificate, proxy.certificate_authority, proxy.authorizer_name, config)

    return Program(proxy, message, partial(start_fault, config=config, admin=config.admin), terminal, reactor.stop)
