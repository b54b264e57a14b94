"""The C{twistd} plugin: C{twistd egressproxy}.

An operator error is one line on standard error and exit status 1, before anything is served.  A start message of at
most six lines is printed once it listens.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from egress import __version__
from egress.config.load import load_config
from egress.config.model import STDOUT, Mode, ProxyConfig
from egress.config.options import OPTIONS
from egress.model.authority import Authority
from egress.model.log_format import LoggedRequests
from egress.observability.health import OK
from egress.preflight import check_configuration, exit_status
from egress.runtime.build import build_name
from egress.runtime.plugin import make_program
from egress.runtime.role import PROGRAM
from egress.runtime.startup import TcpListener, command_of, endpoint_of, fact_lines, open_endpoints, tcp_listeners
from egress.runtime.twistd_options import CommandLine
from egress.service import EgressProxyService
from egress.store.location import sqlite_file
from egress.tls.ca_source import ca_source
from egress.tls.issuer import CertificateAuthority, time_left
from egress.workers.service import WorkerPool

_log = Logger()

_PROGRAM: Final = "egressproxy"

_DEFAULT_URL: Final = "http://127.0.0.1:8080"
_NOT_ENFORCED: Final = "NOTHING IS ENFORCED (--mode observe): denied requests are forwarded and recorded"


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
        "client-auth": "the clients that may use the proxy",
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
    addresses: Sequence[IAddress],
    certificate: Path,
    ca: CertificateAuthority,
    authorizer: str,
    config: ProxyConfig,
    *,
    store: Path | str | None = None,
    egress: str = "egress",
) -> str:
    """Write the start message: at most six lines with the facts that an operator needs.

    @param addresses: the addresses on which it listens, in the order of C{config.listen}.
    @param certificate: the file with the CA certificate.
    @param ca: the CA that signs.
    @param authorizer: the name of the authorizer.
    @param config: the configuration.
    @param store: the file or the URL of the audit store, if there is one.
    @param egress: the command C{egress}.
    """
    now = datetime.now(timezone.utc)
    workers = f", {config.workers} workers" if config.workers > 1 else ""
    observes = config.mode is Mode.OBSERVE
    end = time_left(ca.not_after, now) + (": replace it" if ca.ends_soon(now) else "")
    limits = f", signs for {ca.limits}" if ca.limits is not None else ""
    facts = [
        ("listens on", ", ".join(_listeners(addresses, config)) + workers),
        ("decides", f"{authorizer}, {_NOT_ENFORCED if observes else 'mode enforce'}"),
        ("CA", f"{certificate}, SHA-256 {ca.fingerprint}, ends {end}{limits}"),
        ("upstream", "; ".join([_upstream(config), *_interfaces(config, store)])),
    ]
    tcp = tcp_listeners(addresses, config.listen)
    notes = list(_notes(tcp, ca, config))
    if notes:
        facts.append(("note", " ".join(notes)))
    known = [each for each in tcp if not (each.listener.transparent or each.listener.proxy_protocol)]
    if known:
        facts.append(("clients", _client_line(egress, known[0], config)))
    (name, where), *rest = facts
    build = "" if (kind := build_name()) == "pure" else f" ({kind})"
    return "\n".join([f"{_PROGRAM} {__version__}{build} {name} {where}", *fact_lines(rest), ""])


def _listeners(addresses: Sequence[IAddress], config: ProxyConfig) -> Iterator[str]:
    for address, listener in zip(addresses, config.listen, strict=False):
        kinds = ", ".join(listener.kinds)
        yield endpoint_of(address) + (f" ({kinds})" if kinds else "")


def _upstream(config: ProxyConfig) -> str:
    """Return the upstream proxies, which may come from variables that are meant for clients."""
    http, https = config.upstream_http, config.upstream_https
    if http == https:
        return str(http or "none, direct")
    names = {
        scheme: "none, direct" if proxy is None else str(proxy) for scheme, proxy in (("http", http), ("https", https))
    }
    return f"for http {names['http']}; for https {names['https']}"


def _interfaces(config: ProxyConfig, store: Path | str | None) -> Iterator[str]:
    if config.admin is not None:
        yield f"admin {config.admin}"
    if config.metrics_port is not None:
        yield f"metrics http://{Authority(config.metrics_interface, config.metrics_port)}/metrics"
    if store is not None:
        yield f"audit store {store}"


def _notes(tcp: Sequence[TcpListener], ca: CertificateAuthority, config: ProxyConfig) -> Iterator[str]:
    """Yield what an operator may not expect, one sentence each."""
    exposed = open_endpoints(tcp, config.requires_auth_at)
    if exposed:
        yield f"Open to the network: {exposed}. Everyone who can connect to it can send requests through it."
    if not ca.rooted:
        yield "Clients must trust the root of this CA, which is not one of its certificates."
    if config.passthrough:
        yield f"Not intercepted: {', '.join(config.passthrough)}."


def _client_line(egress: str, listener: TcpListener, config: ProxyConfig) -> str:
    """Return the shell command that sends the traffic of a shell through a listener."""
    url, note = listener.url, ""
    if config.auth_at(listener.listener) is not None:
        url, note = url.replace("://", "://NAME:PASSWORD@", 1), ", with the password or the token of the client"
    words = [egress, "env"]
    if url != _DEFAULT_URL:
        words += ["--proxy", url]
    if config.ca_cert is not None:
        words += ["--ca-cert", str(config.ca_cert), "--ca-key", str(config.ca_key)]
        if config.ca_root is not None:
            words += ["--ca-root", str(config.ca_root)]
    elif not _is_default(config.ca_dir):
        words += ["--ca-dir", str(config.ca_dir)]
    return f'eval "$({shlex.join(words)})"{note}'


def _is_default(ca_dir: Path) -> bool:
    try:
        return ca_dir == ProxyConfig().ca_dir
    except RuntimeError:
        # The user has no home directory, as often in a container.
        return False


def makeService(options: Options) -> IService:
    """Make the service for C{twistd} (C{twisted.application.service.IServiceMaker}).

    @raise SystemExit: with one line, when the configuration cannot be used.
    """
    return make_program(
        options,
        load=_load,
        make=_make_proxy,
        message=_message,
        admin=lambda config: config.admin,
        check=_check,
        started=_report_readiness,
    )


def _load(arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str], reactor: object) -> ProxyConfig:
    """Load the configuration; by default, the log of the program has lines about denied requests."""
    config = load_config(arguments, environ, reactor)
    if config.log_requests is not None:
        return config
    # The records of the audit log are on the same terminal.
    default = LoggedRequests.NONE if config.audit_log == STDOUT else LoggedRequests.DENIED
    return attrs.evolve(config, log_requests=default)


@inlineCallbacks
def _check(
    reactor: Any, config: ProxyConfig, spell: Callable[[str], str]
) -> Generator[Deferred[Any], Any, tuple[list[str], int]]:
    findings = yield check_configuration(reactor, config)
    return [str(finding.spelled(spell)) for finding in findings], exit_status(findings)


def _report_readiness(proxy: EgressProxyService | WorkerPool) -> Deferred[None]:
    """Warn if the authorizer cannot decide: the first client would get the reason only with its 503."""

    def report(checks: dict[str, str]) -> None:
        reason = checks.get("authorizer", OK)
        if reason != OK:
            _log.warn("the authorizer is not ready: {reason}; until it is, requests get 503", reason=reason)

    return proxy.readiness().addCallback(report)


def _make_proxy(reactor: Any, config: ProxyConfig) -> EgressProxyService | WorkerPool:
    return EgressProxyService(reactor, config, role=PROGRAM) if config.workers == 1 else WorkerPool(reactor, config)


def _message(addresses: Sequence[IAddress], proxy: EgressProxyService | WorkerPool, config: ProxyConfig) -> str:
    certificate = ca_source(config).certificate_path
    ca, authorizer = proxy.certificate_authority, proxy.authorizer_name
    location = config.audit_store if proxy.store_fault is None else None
    store = None if location is None else sqlite_file(location) or location
    return start_message(addresses, certificate, ca, authorizer, config, store=store, egress=command_of("egress"))
