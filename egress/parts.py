"""The parts of a proxy, each made from the configuration; L{egress.service} connects them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from egress.config.contradictions import OWN_AUTHORIZER, RULES_DECIDE, check
from egress.config.model import ConfigError, Limits, Mode, ProxyConfig
from egress.model.no_proxy import HostPattern
from egress.observability.audit_log import JsonLinesAudit, configured_audit
from egress.proxy.context import AuthzContext, OriginContext, ProxyContext, TunnelContext, head_limits
from egress.proxy.tls_intercept import TlsIntercept
from egress.runtime.rlimits import clamp_to, soft_limit
from egress.runtime.role import Role
from egress.tls.ca_source import CaSource, dry_run_ca
from egress.tls.issuer import CaError, CertificateAuthority
from egress.transport.fair_turns import RoundRobin
from egress.transport.reactor import IEgressReactor
from egress.upstream.address_guard import AddressGuard, is_local_address
from egress.upstream.connector import Dialer
from egress.upstream.origins import Origins
from egress.upstream.pool import OriginPool
from egress.upstream.resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Callable

    from egress.interfaces import IAuthorizer, ILeafSource
    from egress.model.record import ExchangeRecord
    from egress.policy.rules import RuleSet
    from egress.tls.reloadable_trust import ReloadableTrust

_log = Logger()

# Extra seconds beyond the authorizer's own longest deadline when a lease is renewed: the authorizer's deadline passes
# first, and its wrappers turn that into the configured outcome.
RENEWAL_MARGIN = 1.0


def effective_config(config: ProxyConfig, role: Role, *, own_authorizer: bool) -> ProxyConfig:
    """Check a configuration for its use in a role, and adapt it to this process.

    @param own_authorizer: whether the application has an authorizer of its own.
    @return: the configuration with limits that the open files of the process permit.
    @raise ConfigError: naming the invalid value and the fix.
    """
    check(config, OWN_AUTHORIZER if own_authorizer else RULES_DECIDE)
    if role.is_dry_run:
        # An explanation is not compared with the shadow authorizer.
        config = attrs.evolve(
            config, shadow_authz_url=None, shadow_authz_token=None, shadow_policy=None, shadow_log=None
        )
    elif not role.is_worker and config.workers != 1:
        raise ConfigError("workers", str(config.workers), "an application has one process: set it to 1")
    if role.is_whole and config.mode is Mode.OBSERVE:
        _log.warn("NOTHING IS ENFORCED: --mode observe forwards requests that would be denied")
    return attrs.evolve(config, limits=_limits(config, log=role.is_whole))


def _limits(config: ProxyConfig, *, log: bool) -> Limits:
    limits = clamp_to(config.limits, soft_limit())
    if log and limits.connections < config.limits.connections:
        _log.info(
            "the limit of open files permits {connections} connections, {each} for one client, instead of {wanted}",
            connections=limits.connections,
            each=limits.connections_per_client,
            wanted=config.limits.connections,
        )
    return limits


def certificate_authority(config: ProxyConfig, source: CaSource, role: Role) -> tuple[CertificateAuthority, str | None]:
    """Return the CA that signs, and a note for explanations.

    @raise ConfigError: if the CA can be neither read nor made.
    """
    if role.is_dry_run:
        return dry_run_ca(config, source)
    try:
        return source.load_or_create(datetime.now(timezone.utc)), None
    except CaError as error:
        raise ConfigError("--ca-dir" if config.ca_cert is None else "--ca-cert", "", str(error)) from error


def address_guard(config: ProxyConfig, rules: RuleSet | None) -> AddressGuard:
    """Return the guard for the addresses of the configuration.

    @param rules: the embedded policy, which may block private addresses.
    """
    return AddressGuard(
        config.allow_address,
        is_local=is_local_address,
        block_private=rules is not None and rules.blocks_private,
        deny=config.deny_address,
        ports=config.allow_ports,
    )


def dialer(
    sockets: IEgressReactor, config: ProxyConfig, guard: AddressGuard, trust: ReloadableTrust, resolver: Resolver
) -> Dialer:
    """Return the connector to origins and upstream proxies."""
    return Dialer(
        sockets,
        config.limits,
        guard,
        trust.connection_creator,
        config.upstream_http,
        config.upstream_https,
        config.bypass,
        resolver,
    )


def audit_log(config: ProxyConfig, role: Role) -> JsonLinesAudit | None:
    """Open the audit log, if there is one.

    @raise ConfigError: if it cannot be written.
    """
    return None if config.audit_log is None or role.is_dry_run else configured_audit(config.audit_log)


def renewal_timeout(config: ProxyConfig) -> float:
    """Return the seconds after which the renewal of a lease fails."""
    return 2 * config.authz_timeout + RENEWAL_MARGIN


def proxy_context(
    reactor: IEgressReactor,
    config: ProxyConfig,
    *,
    authorizer: IAuthorizer,
    dialer: Dialer,
    host_contexts: ILeafSource,
    report: Callable[[ExchangeRecord], None],
) -> ProxyContext:
    """Return the collaborators that all sessions share."""
    turns = RoundRobin(reactor)
    return ProxyContext(
        clock=reactor,
        limits=config.limits,
        turns=turns,
        authz=AuthzContext(reactor, authorizer, report, renewal_timeout=renewal_timeout(config)),
        origins=OriginContext(
            dialer=dialer,
            pool=OriginPool(reactor, config.limits),
            streams=Origins(dialer, head_limits(config.limits), reactor, turns),
            resolve=config.resolve,
        ),
        tunnels=TunnelContext(
            interception=TlsIntercept(host_contexts, reactor, turns),
            passthrough=tuple(HostPattern.parse(text, suffix=False) for text in config.passthrough),
            opaque_ports=config.opaque_ports,
        ),
        upgrade_protocols=frozenset(config.upgrade_protocols),
        oversize_body=config.over_body_limit,
    )
