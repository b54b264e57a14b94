"""The grants of an audit store, as the configuration and the role of a process need them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred

from egress.admin.shared_approvals import SharedApprovals, shared_approvals
from egress.admin.shared_grants import GrantRevoked
from egress.admin.stored_grants import STORE_NAME, StoredGrants
from egress.admin.stored_shared_grants import StoredSharedGrants
from egress.authz.approvals import Approvals
from egress.authz.stored_revocations import covers
from egress.config.model import ProxyConfig
from egress.model.approval import Grant
from egress.model.revocation import RevocationCounts
from egress.runtime.role import Role
from egress.runtime.threads import Threads
from egress.shared.keys import SharedKeys
from egress.shared.state import SharedState
from egress.store.grant_key import grant_secret, keeps_grants
from egress.store.grant_store import configured_grant_store

_T = TypeVar("_T")

CHECK: Final = "grants"
"""The name of the readiness check of stored grants."""


def approval_key(config: ProxyConfig, role: Role) -> bytes:
    """Return the key of the ids of approvals and grants; empty for a random one.

    @raise ConfigError: if the key of stored grants cannot be read.
    """
    if config.shared.key is not None:
        return SharedKeys(config.shared.key, "approvals").derived()
    if role.is_dry_run or role.is_worker or not _stores(config):
        return role.approval_key
    # A grant has the same id after a restart.
    return SharedKeys(grant_secret(config), "approvals").derived()


def _stores(config: ProxyConfig) -> bool:
    """Return whether there can be grants, or revocations of other replicas, and a store for them."""
    return keeps_grants(config) and (config.admin is not None or config.shared.location is not None)


def _stored_grants(reactor: Any, config: ProxyConfig) -> StoredGrants:
    return StoredGrants(reactor, time.time, configured_grant_store(config, covers), Threads(reactor, "grants", 1))


@attrs.frozen
class GrantSources:
    """From where grants come.

    @ivar shared: the approvals of all replicas, if they share state.
    @ivar stored: the grants of the audit store, if it keeps grants.
    """

    shared: SharedApprovals | None
    stored: StoredGrants | None

    @property
    def checks(self) -> dict[str, Callable[[], Deferred[str | None]]]:
        """The readiness checks, by name."""
        return {} if self.stored is None else {CHECK: self.stored.check}


def grants_of(
    reactor: Any, config: ProxyConfig, role: Role, *, approvals: Approvals, state: SharedState | None
) -> GrantSources:
    """Connect the grants of a process that serves clients with other replicas, and with the audit store.

    The supervisor uses the store for workers that share nothing with other replicas.

    @raise ConfigError: if the key of stored grants cannot be read.
    """
    shared = shared_approvals(reactor, time.time, approvals, state)
    if role.is_dry_run or not _stores(config) or (role.is_worker and state is None):
        return GrantSources(shared, None)
    stored = _stored_grants(reactor, config)
    if shared is not None and state is not None:
        StoredSharedGrants(reactor, approvals=approvals, grants=shared.grants, state=state, stored=stored)
    else:
        use_alone(approvals, stored)
    return GrantSources(shared, stored)


def use_alone(approvals: Approvals, stored: StoredGrants) -> None:
    """Connect the grants of the only process with the store."""

    def use(grants: Sequence[Grant]) -> None:
        made = {each.grant_id: each.created for each in approvals.grants}
        for grant in grants:
            if grant.created > made.get(grant.grant_id, 0.0):
                approvals.grant(grant)

    approvals.on_grant = stored.make
    approvals.on_revocation = stored.revoke_matching
    stored.use = use


def supervisor_grants(reactor: Any, config: ProxyConfig) -> StoredGrants | None:
    """Return the stored grants of a supervisor; C{None} if there is no store, or each worker uses it.

    @raise ConfigError: if the key of stored grants cannot be read.
    """
    return None if config.shared.location is not None or not _stores(config) else _stored_grants(reactor, config)


def grant_revoked(
    revoked: Deferred[GrantRevoked], stored: StoredGrants | None, grant_id: str
) -> Deferred[GrantRevoked]:
    """Wait until the revocation of a grant is stored, too."""
    if stored is None:
        return revoked

    def both(found: GrantRevoked, is_stored: bool) -> GrantRevoked:
        existed = found.existed or (is_stored and stored.ended(grant_id))
        return attrs.evolve(found, existed=existed, is_stored=is_stored)

    return _both(revoked, stored, both)


def decisions_revoked(applied: Deferred[RevocationCounts], stored: StoredGrants | None) -> Deferred[RevocationCounts]:
    """Wait until a revocation of decisions is stored, too."""
    if stored is None:
        return applied

    def both(counts: RevocationCounts, is_stored: bool) -> RevocationCounts:
        return counts if is_stored else counts + RevocationCounts(unconfirmed=(STORE_NAME,))

    return _both(applied, stored, both)


def _both(done: Deferred[_T], stored: StoredGrants, combine: Callable[[_T, bool], _T]) -> Deferred[_T]:
    """Combine a result with whether everything is stored."""
    waiting = stored.stored()
    return done.addCallback(lambda result: waiting.addCallback(lambda is_stored: combine(result, is_stored)))
