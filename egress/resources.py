"""The files that the configuration names, loaded together so that they can be reloaded together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from egress.authz.secrets.table import SecretTable, SecretTableError
from egress.authz.secrets.vault import load_secret_table
from egress.config.model import ConfigError, ProxyConfig
from egress.config.notify import NotifySettings
from egress.config.notify_files import reread
from egress.grpc.descriptors import Descriptors, InvalidDescriptors
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.parse.load import PolicyError, load_policy, load_starter
from egress.policy.rules import RuleSet
from egress.tls.origin_policy import load_origin_policies
from egress.tls.origin_trust import OriginTrust
from egress.tls.pem import TrustError


@attrs.frozen(kw_only=True)
class LoadedResources:
    """The loaded content of the files.

    @ivar rules: the embedded policy; C{None} when another authorizer decides.
    @ivar shadow: the shadow policy, if there is one.
    @ivar trust: the trust for origins and upstream proxies.
    @ivar authz_trust: the trust for the authorization service.
    @ivar notify_trust: the trust for the receivers of notifications, without settings and certificates for others.
    @ivar notify: the settings of notifications, with the content of their files.
    @ivar secrets: the secrets that decisions may inject into requests, if there are any.
    """

    rules: RuleSet | None
    shadow: RuleSet | None
    trust: OriginTrust
    authz_trust: OriginTrust
    notify_trust: OriginTrust
    notify: NotifySettings
    secrets: SecretTable | None = None


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
        shadow=_shadow(config),
        trust=_origin_trust(config, trust),
        authz_trust=_authz_trust(config, trust),
        notify_trust=trust,
        notify=reread(config.notify),
        secrets=secrets,
    )


def read_policy(config: ProxyConfig) -> tuple[RuleSet, SecretTable | None]:
    """Load the embedded policy and the secrets that it may name.

    @raise ConfigError: naming the invalid value or the missing secret.
    """
    rules, secrets = read_rules(config.policy, config.grpc_descriptors), _secrets(config.secrets)
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


def _authz_trust(config: ProxyConfig, trust: OriginTrust) -> OriginTrust:
    """Return the trust for the authorization service, which may receive a client certificate that origins never do."""
    if config.authz_client_cert is None:
        return trust
    try:
        return OriginTrust(config.extra_ca_certs, config.authz_client_cert)
    except TrustError as error:
        raise ConfigError("--authz-client-cert", "", str(error)) from error


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


def read_rules(policy: Path | None, descriptors: Sequence[Path]) -> RuleSet:
    """Load the embedded policy.

    @param policy: its file; C{None}: the starter policy of the package.
    @param descriptors: the descriptor sets with the types of gRPC messages.
    @raise ConfigError: naming the error in it.
    """
    types = read_descriptors(descriptors)
    try:
        return with_descriptors(load_starter() if policy is None else load_policy(policy), types)
    except PolicyError as error:
        raise ConfigError("--policy", "", str(error)) from error


def _shadow(config: ProxyConfig) -> RuleSet | None:
    if config.shadow_policy is None:
        return None
    types = read_descriptors(config.grpc_descriptors)
    try:
        return with_descriptors(load_policy(config.shadow_policy), types)
    except PolicyError as error:
        raise ConfigError("--shadow-policy", "", str(error)) from error
