"""The files that the configuration names, loaded together so that they can be reloaded together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

from egress.authz.distribution.metrics import PolicyCheckMetrics
from egress.authz.distribution.setup import DistributedPolicy, PolicyDistribution, ServerRoute
from egress.authz.distribution.store import PolicyStore
from egress.authz.secrets.table import SecretTable, SecretTableError
from egress.authz.secrets.vault import load_secret_table
from egress.config.model import ConfigError, ProxyConfig
from egress.config.notify import NotifySettings
from egress.config.notify_files import reread
from egress.grpc.descriptors import Descriptors, InvalidDescriptors
from egress.model.policy_url import PolicyUrl
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.parse.load import PolicyError, load_content, load_policy, load_starter, no_policy
from egress.policy.rules import RuleSet
from egress.runtime.signing_keys import read_public_keys
from egress.tls.origin_policy import load_origin_policies
from egress.tls.origin_trust import OriginTrust
from egress.tls.pem import TrustError
from egress.tls.reloadable_trust import ReloadableTrust

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from prometheus_client import CollectorRegistry

    from egress.runtime.role import Role
    from egress.transport.reactor import IEgressReactor

_log = Logger()

# The labels of policies in metrics.
POLICY: Final = "policy"
SHADOW_POLICY: Final = "shadow"


@attrs.frozen(kw_only=True)
class LoadedResources:
    """The loaded content of the files.

    @ivar rules: the embedded policy; C{None} when another authorizer decides.
    @ivar shadow: the shadow policy, if there is one.
    @ivar trust: the trust for origins and upstream proxies.
    @ivar authz_trust: the trust for the authorization service.
    @ivar policy_trust: the trust for the servers of policies.
    @ivar notify_trust: the trust for the receivers of notifications, without settings and certificates for others.
    @ivar notify: the settings of notifications, with the content of their files.
    @ivar secrets: the secrets that decisions may inject into requests, if there are any.
    """

    rules: RuleSet | None
    shadow: RuleSet | None
    trust: OriginTrust
    authz_trust: OriginTrust
    policy_trust: OriginTrust
    notify_trust: OriginTrust
    notify: NotifySettings
    secrets: SecretTable | None = None


@attrs.frozen
class Trusts:
    """The certificates that a process trusts, for each kind of server.

    @ivar origins: for origins and upstream proxies.
    @ivar authz: for the authorization service.
    @ivar policy: for the servers of policies.
    @ivar notify: for the receivers of notifications.
    """

    origins: ReloadableTrust
    authz: ReloadableTrust
    policy: ReloadableTrust
    notify: ReloadableTrust

    @classmethod
    def of(cls, resources: LoadedResources) -> Trusts:
        """Use the loaded files."""
        trusts = (resources.trust, resources.authz_trust, resources.policy_trust, resources.notify_trust)
        return cls(*map(ReloadableTrust, trusts))

    def use(self, resources: LoadedResources) -> None:
        """Use files that were loaded again."""
        self.origins.replace(resources.trust)
        self.authz.replace(resources.authz_trust)
        self.policy.replace(resources.policy_trust)
        self.notify.replace(resources.notify_trust)


def load_resources(config: ProxyConfig, *, embedded: bool) -> LoadedResources:
    """Load all files.

    @param config: the configuration.
    @param embedded: whether the embedded policy decides.
    @raise ConfigError: naming the invalid value and the fix.
    """
    trust = plain_trust(config)
    rules: RuleSet | None = None
    if embedded:
        rules, secrets = read_policy(config)
    else:
        secrets = _secrets(config.secrets)
    return LoadedResources(
        rules=rules,
        shadow=read_shadow(config),
        trust=_origin_trust(config, trust),
        authz_trust=_service_trust(config, trust, "--authz-client-cert", config.authz_client_cert),
        policy_trust=_service_trust(config, trust, "--policy-client-cert", config.policy_client_cert),
        notify_trust=trust,
        notify=reread(config.notify),
        secrets=secrets,
    )


def read_policy(config: ProxyConfig) -> tuple[RuleSet, SecretTable | None]:
    """Load the embedded policy and the secrets that it may name.

    @raise ConfigError: naming the invalid value or the missing secret.
    """
    rules = read_rules(config.policy, config.grpc_descriptors, config.policy_key, config.policy_cache)
    secrets = _secrets(config.secrets)
    check_secrets(rules.secrets, secrets)
    return rules, secrets


def check_secrets(names: Iterable[str], secrets: SecretTable | None) -> None:
    """Check that every secret that the embedded policy names exists.

    @raise ConfigError: naming the missing secrets.
    """
    missing = (secrets or SecretTable({})).missing(names)
    if missing:
        remedy = "set --secrets to a file with" if secrets is None else "--secrets does not contain"
        raise ConfigError("--policy", "", f"requires secrets: {remedy} {', '.join(missing)}")


def _secrets(path: Path | None) -> SecretTable | None:
    if path is None:
        return None
    try:
        return load_secret_table(path)
    except SecretTableError as error:
        raise ConfigError("--secrets", "", str(error)) from error


def plain_trust(config: ProxyConfig) -> OriginTrust:
    """Return the trust without settings for single origins, and without a client certificate.

    @raise ConfigError: if the file with further CAs cannot be used.
    """
    try:
        return OriginTrust(config.extra_ca_certs)
    except TrustError as error:
        raise ConfigError("--ssl-extra-ca-certs", "", str(error)) from error


def _origin_trust(config: ProxyConfig, trust: OriginTrust) -> OriginTrust:
    """Return the trust for connections on behalf of clients; the authorization service has its own options."""
    if config.origin_tls is None and config.http2:
        return trust
    try:
        origins = () if config.origin_tls is None else load_origin_policies(config.origin_tls)
        return OriginTrust(config.extra_ca_certs, origins=origins, http2=config.http2)
    except TrustError as error:
        raise ConfigError("--origin-tls", "", str(error)) from error


def _service_trust(config: ProxyConfig, trust: OriginTrust, option: str, client_cert: Path | None) -> OriginTrust:
    """Return the trust for a service of the operator, which may receive a client certificate that origins never do."""
    if client_cert is None:
        return trust
    try:
        return OriginTrust(config.extra_ca_certs, client_cert)
    except TrustError as error:
        raise ConfigError(option, "", str(error)) from error


def read_descriptors(paths: Sequence[Path]) -> Descriptors | None:
    """Load the types of gRPC messages; C{None} without files.

    @raise ConfigError: naming the error in them.
    """
    if not paths:
        return None
    where = ", ".join(map(str, paths))
    try:
        return Descriptors([path.read_bytes() for path in paths])
    except OSError as error:
        raise ConfigError("--grpc-descriptors", where, f"cannot be read: {error.strerror}") from error
    except InvalidDescriptors as error:
        raise ConfigError("--grpc-descriptors", where, str(error)) from error


def read_rules(
    policy: Path | PolicyUrl | None, descriptors: Sequence[Path], key: Path | None = None, cache: Path | None = None
) -> RuleSet:
    """Load the embedded policy.

    @param policy: its file or its URL; C{None}: the starter policy of the package.
    @param descriptors: the descriptor sets with the types of gRPC messages.
    @param key: the file with the public keys of which one must have signed the policy; C{None}: none must.
    @param cache: the directory for the last good version of a URL.
    @raise ConfigError: naming the error in it.
    """
    if policy is None:
        return with_descriptors(load_starter(), read_descriptors(descriptors))
    return _read(policy, "--policy", descriptors, key, cache)


def _read(
    policy: Path | PolicyUrl, option: str, descriptors: Sequence[Path], key: Path | None, cache: Path | None
) -> RuleSet:
    types, keys = read_descriptors(descriptors), _keys(key)
    try:
        if isinstance(policy, PolicyUrl):
            assert cache is not None
            return with_descriptors(_stored(policy, cache, keys), types)
        return with_descriptors(load_policy(policy, keys), types)
    except PolicyError as error:
        raise ConfigError(option, "", str(error)) from error


def _keys(path: Path | None) -> list[Ed25519PublicKey] | None:
    if path is None:
        return None
    try:
        return read_public_keys(path)
    except OSError as error:
        raise ConfigError("--policy-key", str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError("--policy-key", str(path), "must be Ed25519 public keys in PEM") from error


def _stored(url: PolicyUrl, cache: Path, keys: Sequence[Ed25519PublicKey] | None) -> RuleSet:
    """Load the last good version of a policy; a version that is not valid now is replaced at the next check."""
    store = PolicyStore(cache, url)
    try:
        content = store.read()
        if content is not None:
            return load_content(content, url.url, store.policy, keys)
    except (OSError, PolicyError) as error:
        _log.warn("the stored version of the policy is not used: {error}", error=str(error))
    return no_policy(url.url, store.policy)


@attrs.frozen
class PoliciesInUse:
    """The policies that a process uses.

    @ivar rules: returns the policy.
    @ivar shadow: returns the shadow policy.
    @ivar shadow_changed: is called when a URL has another shadow policy.
    """

    rules: Callable[[], RuleSet | None]
    shadow: Callable[[], RuleSet | None]
    shadow_changed: Callable[[], object] = lambda: None


# A process that serves no client uses no policy.
NO_POLICIES: Final = PoliciesInUse(lambda: None, lambda: None)


def distributed_policies(config: ProxyConfig, in_use: PoliciesInUse) -> list[DistributedPolicy]:
    """Return the policies that have a URL.

    @param config: the configuration.
    @param in_use: the policies in use.
    """
    found = []
    # The files of the policy are watched, because they need not be from a URL.
    if isinstance(config.policy, PolicyUrl):
        parse = partial(_parse, config, POLICY, config.policy)
        found.append(
            DistributedPolicy(label=POLICY, name="the policy", url=config.policy, parse=parse, rules=in_use.rules)
        )
    if isinstance(config.shadow_policy, PolicyUrl):
        found.append(
            DistributedPolicy(
                label=SHADOW_POLICY,
                name="the shadow policy",
                url=config.shadow_policy,
                parse=partial(_parse, config, SHADOW_POLICY, config.shadow_policy),
                rules=in_use.shadow,
                changed=in_use.shadow_changed,
            )
        )
    return found


def policy_distribution(
    reactor: IEgressReactor,
    config: ProxyConfig,
    role: Role,
    route: ServerRoute,
    *,
    registry: CollectorRegistry,
    in_use: PoliciesInUse = NO_POLICIES,
) -> PolicyDistribution:
    """Return the distribution of the policies that have a URL.

    @param reactor: the reactor.
    @param config: the configuration.
    @param role: a worker uses the results of its supervisor, which checks the URLs.
    @param route: how their servers are connected to.
    @param registry: the metrics.
    @param in_use: the policies that this process uses.
    """
    own = route if role.notifies and not role.serves_sandbox else None
    distribution = PolicyDistribution(reactor, config, distributed_policies(config, in_use), own)
    if distribution.stats():
        registry.register(PolicyCheckMetrics(distribution.stats))
    return distribution


def _parse(config: ProxyConfig, label: str, url: PolicyUrl, content: bytes) -> RuleSet:
    """Verify and parse a policy of a URL as for its use.

    @raise ValueError: if it is not valid.
    """
    store, keys = PolicyStore(config.policy_cache, url), _keys(config.policy_key)
    types = read_descriptors(config.grpc_descriptors)
    try:
        rules = with_descriptors(load_content(content, url.url, store.policy, keys), types)
    except PolicyError as error:
        raise ValueError(error.reason) from error
    if label == POLICY:
        check_secrets(rules.secrets, _secrets(config.secrets))
    return rules


def read_shadow(config: ProxyConfig) -> RuleSet | None:
    """Load the shadow policy, if there is one.

    @raise ConfigError: naming the error in it.
    """
    if config.shadow_policy is None:
        return None
    return _read(
        config.shadow_policy, "--shadow-policy", config.grpc_descriptors, config.policy_key, config.policy_cache
    )
