"""What the configuration names in files, read together, so that it can be read again as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs

from egress.authz.secrets.table import SecretTable, SecretTableError
from egress.authz.secrets.vault import load_secret_table
from egress.config.model import ConfigError, ProxyConfig
from egress.policy.parse.load import PolicyError, load_policy, load_starter
from egress.policy.rules import RuleSet
from egress.tls.origin_policy import load_origin_policies
from egress.tls.origin_trust import OriginTrust
from egress.tls.pem import TrustError


@attrs.frozen
class LoadedResources:
    """What was in the files.

    @ivar rules: the embedded policy; C{None} when somebody else decides.
    @ivar shadow: the policy that is asked without effect, if there is one.
    @ivar trust: whom to trust as an origin or an upstream proxy.
    @ivar authz_trust: whom to trust as the authorization service.
    @ivar secrets: what decisions may put into requests, where there is anything.
    """

    rules: RuleSet | None
    shadow: RuleSet | None
    trust: OriginTrust
    authz_trust: OriginTrust
    secrets: SecretTable | None = None


def load_resources(config: ProxyConfig, *, embedded: bool) -> LoadedResources:
    """Read all of them.

    @param embedded: whether the embedded policy decides.
    @raise ConfigError: naming what cannot be used, and the remedy.
    """
    trust = _trust(config)
    rules: RuleSet | None = None
    if embedded:
        rules, secrets = read_policy(config)
    else:
        secrets = _secrets(config.secrets)
    return LoadedResources(rules, _shadow(config), _origin_trust(config, trust), _authz_trust(config, trust), secrets)


def read_policy(config: ProxyConfig) -> tuple[RuleSet, SecretTable | None]:
    """Read the embedded policy, and the secrets that it may name.

    @raise ConfigError: saying what cannot be used, or which secret there is not.
    """
    rules, secrets = read_rules(config.policy), _secrets(config.secrets)
    check_secrets(rules.secrets, secrets)
    return rules, secrets


def check_secrets(names: Iterable[str], secrets: SecretTable | None) -> None:
    """See that there is every secret that the embedded policy names.

    @raise ConfigError: naming those that there are not.
    """
    missing = (secrets or SecretTable({})).missing(names)
    if missing:
        remedy = "give --secrets with" if secrets is None else "--secrets does not have"
        raise ConfigError("--policy", "", f"names secrets: {remedy} {', '.join(missing)}")


def _secrets(path: Path | None) -> SecretTable | None:
    if path is None:
        return None
    try:
        return load_secret_table(path)
    except SecretTableError as error:
        raise ConfigError("--secrets", "", str(error)) from error


def _trust(config: ProxyConfig) -> OriginTrust:
    try:
        return OriginTrust(config.extra_ca_certs)
    except TrustError as error:
        raise ConfigError("--ssl-extra-ca-certs", "", str(error)) from error


def _origin_trust(config: ProxyConfig, trust: OriginTrust) -> OriginTrust:
    """Trust for what is dialled for clients alone: the authorization service has options of its own."""
    if config.origin_tls is None:
        return trust
    try:
        return OriginTrust(config.extra_ca_certs, origins=load_origin_policies(config.origin_tls))
    except TrustError as error:
        raise ConfigError("--origin-tls", "", str(error)) from error


def _authz_trust(config: ProxyConfig, trust: OriginTrust) -> OriginTrust:
    """Trust for the authorization service alone, where it is shown a certificate: origins never see that one."""
    if config.authz_client_cert is None:
        return trust
    try:
        return OriginTrust(config.extra_ca_certs, config.authz_client_cert)
    except TrustError as error:
        raise ConfigError("--authz-client-cert", "", str(error)) from error


def read_rules(policy: Path | None) -> RuleSet:
    """Read the embedded policy.

    @param policy: its file; C{None}: that of the package.
    @raise ConfigError: saying what cannot be used.
    """
    try:
        return load_starter() if policy is None else load_policy(policy)
    except PolicyError as error:
        raise ConfigError("--policy", "", str(error)) from error


def _shadow(config: ProxyConfig) -> RuleSet | None:
    if config.shadow_policy is None:
        return None
    try:
        return load_policy(config.shadow_policy)
    except PolicyError as error:
        raise ConfigError("--shadow-policy", "", str(error)) from error
