"""The inputs of a proxy: the files, the CA and the settings that its configuration names, loaded and checked.

L{egress.service} composes a proxy from them.  L{egress.workers.service} loads them only to find every error in the
configuration before it starts a worker.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

from egress.authz.chain import DecisionSources, decision_sources
from egress.config.contradictions import OWN_AUTHORIZER, RULES_DECIDE, check
from egress.config.model import AuditFailure, ConfigError, Limits, Mode, ProxyConfig
from egress.config.reduced import without_shadow
from egress.observability.audit_log import JsonLinesAudit, configured_audit
from egress.proxy.listeners import FetchKeysOf, ListenerSecurity, listener_security
from egress.resources import LoadedResources, load_resources
from egress.runtime.rlimits import clamp_to, soft_limit
from egress.runtime.role import Role
from egress.runtime.safe_files import make_private
from egress.start_warnings import start_warnings
from egress.store.interfaces import IAuditStore, ISpooledStore
from egress.store.location import configured_store, sqlite_file
from egress.tls.ca_source import CaSource, ca_source, dry_run_ca
from egress.tls.issuer import CaError, CertificateAuthority

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from egress.client_auth.authenticator import InThread
    from egress.interfaces import IAuthorizer

_log = Logger()

_FEWER_CONNECTIONS: Final = (
    "the limit of open files permits {connections} connections, {each} for one client, instead of {wanted}"
)
# A user who has not set the number of connections does not expect fewer.
_FEW_CONNECTIONS: Final = 1000


@attrs.frozen(kw_only=True)
class ProxyInputs:
    """The loaded and checked inputs of one proxy.

    @ivar config: the configuration with limits that the open files of the process permit.
    @ivar resources: the content of the files that can be reloaded.
    @ivar ca_source: the source of the CA.
    @ivar authority: the CA that signs.
    @ivar ca_note: a note about the CA, for explanations.
    @ivar audit_log: the audit log, if there is one.
    @ivar audit_store: the audit store, if there is one.
    @ivar store_fault: the reason why the default audit store is not used, with the fix; C{None}: it is, or there is
        none.
    @ivar sources: the sources of decisions and of shadow decisions.
    @ivar listeners: the security settings of each listener, in the order of C{config.listen}.
    """

    config: ProxyConfig
    resources: LoadedResources
    ca_source: CaSource
    authority: CertificateAuthority
    ca_note: str | None
    audit_log: JsonLinesAudit | None
    audit_store: IAuditStore | None
    store_fault: str | None
    sources: DecisionSources
    listeners: tuple[ListenerSecurity, ...]

    def close(self) -> None:
        """Close the log files; for a process that only checks the configuration."""
        if self.audit_log is not None:
            self.audit_log.close()
        if self.audit_store is not None:
            self.audit_store.close()
        if self.sources.shadow_log is not None:
            self.sources.shadow_log.close()


def load_inputs(
    config: ProxyConfig,
    role: Role,
    *,
    own: IAuthorizer | None,
    clock: IReactorTime,
    in_thread: InThread,
    fetch_of: FetchKeysOf,
) -> ProxyInputs:
    """Load and check the inputs of a proxy.

    @param config: the configuration.
    @param role: the use that this process makes of the inputs.
    @param own: the authorizer of the application, if it has one.
    @param clock: the reactor.
    @param in_thread: runs password checks in a thread.
    @param fetch_of: returns the function that downloads the keys of an issuer of tokens.
    @raise ConfigError: naming the invalid value and the fix.
    """
    config = effective_config(config, role, own_authorizer=own is not None)
    resources = load_resources(config, embedded=own is None and config.authz_url is None)
    if role.notifies:
        for warning in start_warnings(config, resources, clock):
            _log.warn("{option}: {text}", option=warning.option, text=warning.text)
    source = ca_source(config)
    authority, note = certificate_authority(config, source, role)
    store, store_fault = audit_store(config, role)
    return ProxyInputs(
        config=config,
        resources=resources,
        ca_source=source,
        authority=authority,
        ca_note=note,
        audit_log=audit_log(config, role),
        audit_store=store,
        store_fault=store_fault,
        sources=decision_sources(config, clock, own=own, rules=resources.rules, shadow_rules=resources.shadow),
        listeners=listener_security(config, clock, in_thread, fetch_of),
    )


def effective_config(config: ProxyConfig, role: Role, *, own_authorizer: bool) -> ProxyConfig:
    """Check a configuration for its use in a role, and adapt it to this process.

    @param config: the configuration.
    @param role: the use that this process makes of the inputs.
    @param own_authorizer: whether the application has an authorizer of its own.
    @return: the configuration with limits that the open files of the process permit.
    @raise ConfigError: naming the invalid value and the fix.
    """
    check(config, OWN_AUTHORIZER if own_authorizer else RULES_DECIDE)
    if role.is_dry_run:
        # An explanation is not compared with the shadow authorizer.
        config = without_shadow(config)
    elif role.is_whole and config.workers != 1:
        raise ConfigError("workers", str(config.workers), "an application has one process: set it to 1")
    if role.notifies and config.mode is Mode.OBSERVE:
        _log.warn("NOTHING IS ENFORCED: --mode observe forwards requests that would be denied")
    return attrs.evolve(config, limits=_limits(config, log=role.notifies))


def _limits(config: ProxyConfig, *, log: bool) -> Limits:
    limits = clamp_to(config.limits, soft_limit())
    wanted = config.limits.connections
    if log and limits.connections < wanted:
        fields = {"connections": limits.connections, "each": limits.connections_per_client, "wanted": wanted}
        if wanted != Limits().connections or limits.connections < _FEW_CONNECTIONS:
            _log.warn(_FEWER_CONNECTIONS, **fields)
        else:
            _log.debug(_FEWER_CONNECTIONS, **fields)
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
        raise ConfigError(ca_option(config, error), "", str(error)) from error


def ca_option(config: ProxyConfig, error: CaError) -> str:
    """Return the option that an error of the CA is about."""
    if config.ca_cert is None:
        return "--ca-dir"
    return "--ca-key" if error.of_key else "--ca-cert"


def audit_log(config: ProxyConfig, role: Role) -> JsonLinesAudit | None:
    """Open the audit log, if there is one.

    @raise ConfigError: if it cannot be written.
    """
    if config.audit_log is None or role.is_dry_run:
        return None
    return configured_audit(config.audit_log, config.audit_access)


def audit_store(config: ProxyConfig, role: Role) -> tuple[IAuditStore | None, str | None]:
    """Open the audit store, if there is one.

    @return: the store, and the reason why the default store is not used, with the fix.
    @raise ConfigError: if it cannot be written, unless it is the default and every record is written to an audit log
        or can be lost.
    """
    if config.audit_store is None or role.is_dry_run:
        return None, None
    if config.audit_store_required:
        store = configured_store(config, worker=role.worker, check=role.notifies)
        if role.notifies and ISpooledStore.providedBy(store) and store.fault is not None:
            _log.warn("--audit-store: {fault}; until it can be reached, records wait in the spool", fault=store.fault)
        return store, None
    try:
        path = sqlite_file(config.audit_store)
        assert path is not None, "the default is a file"
        make_private(path.parent)
        return configured_store(config), None
    except (ConfigError, OSError) as error:
        if config.audit_log is None and config.audit_failure is AuditFailure.DENY:
            raise
        why = error.remedy if isinstance(error, ConfigError) else f"cannot be created: {error.strerror}"
        fault = f"{config.audit_store} {why}; without it, egress logs finds no record: set a file, or none"
        if role.notifies:
            _log.warn("--audit-store: {fault}", fault=fault)
        return None, fault
