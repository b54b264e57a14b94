"""The C{twistd} plugin: C{twistd egressproxy}.

An operator error is one line on standard error and exit status 1, before anything is served.  A start message with
what the operator needs to use the proxy is printed once it listens.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from twisted.application.service import IService
from twisted.internet.interfaces import IAddress

from egress.config.load import load_config
from egress.config.model import Mode, ProxyConfig
from egress.config.options import OPTIONS
from egress.model.authority import Authority
from egress.runtime.plugin import make_program
from egress.runtime.startup import endpoint_of, facts_of, open_endpoints, tcp_listeners
from egress.runtime.twistd_options import CommandLine
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
    common = {
        "listen": "where clients connect [default: tcp:8080:interface=127.0.0.1]",
        "client-auth": "the clients that may use the proxy, with their hashed secrets",
        "authz-url": "the authorization service that decides",
        "policy": "the rules that decide, without a service",
        "mode": "observe: forward and record what would be denied",
        "secrets": "the secrets to insert into requests",
        "passthrough": "a host whose TLS is not intercepted",
        "ca-dir": "the directory of the CA [default: ~/.egressproxy/ca]",
        "upstream-proxy": "the proxy through which requests leave",
        "allow-address": "permit loopback or private addresses",
        "workers": "the number of processes [default: 1]",
        "audit-log": "one line of JSON for each decision; -: standard output",
        "admin": "the admin API, for approvals and egress explain",
        "config": "a TOML file with these options",
    }
    examples = (
        ('Start with the starter policy; then, in another shell: eval "$(egress env)"', "twistd -n egressproxy"),
        (
            "Decide by a policy, and record every decision",
            "twistd -n egressproxy --policy policy.toml --audit-log audit.jsonl",
        ),
        (
            "Let a service decide, for clients on other machines",
            "twistd -n egressproxy --client-auth clients.txt --authz-url http://authz:9000",
        ),
    )


def start_message(
    addresses: Sequence[IAddress], certificate: Path, ca: CertificateAuthority, authorizer: str, config: ProxyConfig
) -> str:
    """Write the start message: the facts that an operator needs, and the lines to paste into a shell.

    @param addresses: the addresses on which it listens, in the order of C{config.listen}.
    @param certificate: the file with the CA certificate.
    @param ca: the CA that signs.
    @param authorizer: the name of the authorizer.
    @param config: the configuration.
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
    facts += _upstream(config)
    if config.workers > 1:
        facts.append(("workers", f"{config.workers} processes"))
    if config.metrics_port is not None:
        facts.append(("metrics", f"http://{Authority(config.metrics_interface, config.metrics_port)}/metrics"))
    if config.admin is not None:
        facts.append(("admin", str(config.admin)))
    lines = facts_of(_PROGRAM, facts)
    if config.mode is Mode.OBSERVE:
        lines += ["NOTHING IS ENFORCED (--mode observe): requests that would be denied are forwarded and recorded.", ""]
    tcp = tcp_listeners(addresses, config.listen)
    exposed = open_endpoints(tcp, config.requires_auth_at)
    if exposed:
        lines += [f"Open to the network: {exposed}. Everyone who can connect to it can send requests through it.", ""]
    if tcp:
        lines += _shell_lines(tcp[0].url, certificate if ca.rooted else None)
        if config.auth_at(tcp[0].listener) is not None:
            lines += ["", "Clients must authenticate: put NAME:PASSWORD@ or NAME:TOKEN@ before the host of the proxy."]
        if config.passthrough:
            lines += [
                "",
                f"Not intercepted: {', '.join(config.passthrough)}. These hosts present their own certificates: if",
                "the variables above replace the CAs of the system, use a file that contains both.",
            ]
        lines.append("")
    return "\n".join(lines) + "\n"


def _upstream(config: ProxyConfig) -> list[tuple[str, str]]:
    """Return the upstream proxies, which may come from variables that are meant for clients."""
    http, https = config.upstream_http, config.upstream_https
    if http == https:
        return [] if http is None else [("upstream", str(http))]
    names = {
        scheme: "none, direct" if proxy is None else str(proxy) for scheme, proxy in (("http", http), ("https", https))
    }
    return [("upstream", f"for http {names['http']}; for https {names['https']}")]


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
    return make_program(
        options, load=load_config, make=_make_proxy, message=_message, admin=lambda config: config.admin
    )


def _make_proxy(reactor: Any, config: ProxyConfig) -> EgressProxyService | WorkerPool:
    return EgressProxyService(reactor, config) if config.workers == 1 else WorkerPool(reactor, config)


def _message(addresses: Sequence[IAddress], proxy: EgressProxyService | WorkerPool, config: ProxyConfig) -> str:
    certificate = ca_source(config).certificate_path
    return start_message(addresses, certificate, proxy.certificate_authority, proxy.authorizer_name, config)
