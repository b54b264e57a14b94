"""Contradictions between fields of a configuration, and fields that have no effect without another field.

The table applies to the command line, to a file and to an application that embeds the proxy.  A value that would be
ignored is an error, because its author relies on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from egress.model.converters import ConfigError, to_display

Spell = Callable[[str], str]
"""Names a field as the user knows it."""

_FIELD: Final = re.compile(r"\{(\w+)\}")


@attrs.frozen
class Contradiction:
    """A combination of values that cannot be intended.

    @ivar field: the field at fault.
    @ivar holds: tells whether a configuration has this contradiction.
    @ivar remedy: the remedy; the names of other fields are in braces.
    @ivar unused: whether the only problem is that the field has no effect.
    @ivar prefix: the prefix of the names of the fields, if they belong to a part of a configuration.
    """

    field: str
    holds: Callable[[Any], bool]
    remedy: str
    unused: bool = False
    prefix: str = ""

    def remedy_for(self, spell: Spell) -> str:
        """Format the remedy with the names that the user knows."""
        return _FIELD.sub(lambda match: spell(self.prefix + match[1]), self.remedy)


class Contradicted(ConfigError):
    """A configuration that contradicts itself.

    @ivar contradiction: the contradiction.
    """

    def __init__(self, contradiction: Contradiction, config: object) -> None:
        value, secret = getattr(config, contradiction.field), _attribute(config, contradiction.field).repr is False
        # A missing value is not displayed.
        text = "" if value is None else to_display(getattr(value, "value", value), secret=secret)
        super().__init__(contradiction.prefix + contradiction.field, text, contradiction.remedy_for(str))
        self.contradiction = contradiction


def check(config: object, contradictions: Iterable[Contradiction]) -> None:
    """Check a configuration for contradictions.

    @raise Contradicted: for the first contradiction.
    """
    for contradiction in contradictions:
        if contradiction.holds(config):
            raise Contradicted(contradiction, config)


def _attribute(config: object, name: str) -> attrs.Attribute[Any]:
    found: attrs.Attribute[Any] = getattr(attrs.fields(type(config)), name)  # type: ignore[arg-type]
    return found


def changed(config: object, name: str) -> bool:
    """Tell whether the value of a field differs from its default."""
    return bool(getattr(config, name) != _attribute(config, name).default)


def _missing(*names: str) -> Callable[[Any], bool]:
    return lambda config: all(getattr(config, name) is None for name in names)


def _unused(needs: Callable[[Any], bool], remedy: str, *names: str) -> tuple[Contradiction, ...]:
    """Create contradictions for fields without effect if C{needs} returns true because something is missing."""

    def of(name: str) -> Contradiction:
        return Contradiction(name, lambda config: changed(config, name) and needs(config), remedy, unused=True)

    return tuple(map(of, names))


def _both(one: str, other: str) -> Callable[[Any], bool]:
    return lambda config: bool(getattr(config, one)) and bool(getattr(config, other))


def _is_the_proxy(name: str) -> Callable[[Any], bool]:
    """Return whether the upstream proxy of a field is the proxy itself."""

    def is_the_proxy(config: Any) -> bool:
        upstream = getattr(config, name)
        hops = () if upstream is None else upstream.hops
        return any(listener.listens_on(hop.authority) for listener in config.listen for hop in hops)

    return is_the_proxy


def _first_url(config: Any) -> str:
    """Return the URL of the authorization service, or else that of its shadow."""
    return config.authz_url or config.shadow_authz_url or ""


# The fields that apply only to a policy with a URL.
POLICY_URL_FIELDS: Final = (
    "policy_interval",
    "policy_token_file",
    "policy_client_cert",
    "policy_max_age",
    "policy_dir",
)


def _without_url(config: Any) -> bool:
    """Return whether no policy has a URL."""
    return not any(hasattr(policy, "url") for policy in (config.policy, config.shadow_policy))


_NO_AUDIT: Final = Contradiction(
    "audit_failure",
    lambda config: config.audit_failure.value == "deny" and config.audit_log is None,
    "has no effect without an audit log: set {audit_log}",
)
_NO_AUDIT_OR_STORE: Final = Contradiction(
    "audit_failure",
    lambda config: _NO_AUDIT.holds(config) and config.audit_store is None,
    "has no effect without an audit log: set {audit_log} or {audit_store}",
)
_NO_AUDIT_FILE: Final = _unused(
    lambda config: config.audit_log in (None, "-"),
    "has no effect without an audit log in a file: set {audit_log} to a file",
    *("audit_log_mode", "audit_log_group"),
)
_NO_METRICS: Final = _unused(
    _missing("metrics_port"),
    "has no effect without a metrics port: set {metrics_port}",
    "metrics_interface",
)

PROXY: Final = (
    Contradiction(
        "policy",
        _both("policy", "authz_url"),
        "cannot be combined with {authz_url}: remove one of them, or set it to none",
    ),
    Contradiction(
        "shadow_policy",
        _both("shadow_policy", "shadow_authz_url"),
        "cannot be combined with {shadow_authz_url}: remove one of them",
    ),
    Contradiction(
        "shadow_log",
        lambda config: config.shadow_log is not None and _missing("shadow_policy", "shadow_authz_url")(config),
        "has no effect without a shadow: set {shadow_policy} or {shadow_authz_url}",
    ),
    *_unused(
        _missing("shadow_authz_url"),
        "has no effect without a shadow authorization service: set {shadow_authz_url}",
        "shadow_authz_token",
    ),
    Contradiction(
        "ca_name_constraints",
        _both("ca_name_constraints", "ca_cert"),
        "cannot be combined with {ca_cert}, which has its own name constraints: remove one of them",
    ),
    Contradiction(
        "ca_key",
        lambda config: config.ca_key is None and config.ca_cert is not None,
        "is required with {ca_cert}",
    ),
    Contradiction(
        "ca_cert",
        lambda config: config.ca_cert is None and config.ca_key is not None,
        "is required with {ca_key}",
    ),
    Contradiction(
        "ca_cert",
        lambda config: config.ca_cert is None and config.ca_root is not None,
        "is required with {ca_root}",
    ),
    Contradiction(
        "authz_response_headers",
        lambda config: bool(config.authz_response_headers) and config.authz_api.value != "ext-authz",
        "applies only to {authz_api} ext-authz: remove it",
    ),
    Contradiction(
        "authz_decode_body",
        lambda config: config.authz_decode_body and config.authz_api.value == "ext-authz",
        "cannot be combined with {authz_api} ext-authz, which sends the body as the client sent it: remove it",
    ),
    Contradiction(
        "authz_decode_body",
        lambda config: config.authz_decode_body and config.authz_body.value == "never",
        "has no effect with {authz_body} never: remove it",
    ),
    *_unused(
        _missing("authz_url", "shadow_authz_url"),
        "has no effect without an authorization service: set {authz_url}",
        *("authz_client_cert", "authz_via_upstream", "authz_api", "authz_body", "authz_decode_body"),
    ),
    *_unused(
        _missing("upstream_http", "upstream_https"),
        "has no effect without an upstream proxy: set {upstream_https}",
        "authz_via_upstream",
    ),
    *_unused(_missing("authz_url"), "has no effect without an authorization service: set {authz_url}", "authz_token"),
    Contradiction(
        "authz_client_cert",
        lambda config: config.authz_client_cert is not None and _first_url(config).startswith("http:"),
        "requires an https:// {authz_url}",
    ),
    *_unused(
        _missing("authz_cache"),
        "has no effect without a cache: set {authz_cache} to a number, or remove this",
        *("authz_max_ttl", "authz_max_stale"),
    ),
    _NO_AUDIT_OR_STORE,
    *_unused(
        _missing("audit_store"),
        "has no effect without an audit store: set {audit_store}",
        *("audit_store_days", "audit_store_size", "audit_signing_key"),
    ),
    *_unused(
        lambda config: not (config.audit_store or "").startswith("postgres"),
        "has no effect without an audit store in PostgreSQL: set {audit_store} to a postgresql:// URL",
        *("audit_store_password", "audit_spool_size"),
    ),
    *_NO_AUDIT_FILE,
    *_NO_METRICS,
    Contradiction(
        "admin",
        lambda config: config.admin is not None and config.admin.wants_token and config.admin_token is None,
        "every user of this machine could use it: set {admin_token}, or use unix:PATH",
    ),
    *_unused(
        _missing("admin"),
        "has no effect without the admin API: set {admin}",
        *("admin_token", "admin_viewer_token", "admin_hosts", "approval_timeout", "approval_queue"),
        "console_policy_edit",
    ),
    *_unused(
        lambda config: config.policy is None or hasattr(config.policy, "url"),
        "has no effect without a policy file: set {policy}",
        "console_policy_edit",
    ),
    *_unused(
        _without_url,
        "has no effect without the URL of a policy: set {policy} to a URL",
        *POLICY_URL_FIELDS,
    ),
    *_unused(_missing("policy", "shadow_policy"), "has no effect without a policy: set {policy}", "policy_key"),
    Contradiction(
        "admin_viewer_token",
        lambda config: config.admin_viewer_token is not None and config.admin_viewer_token == config.admin_token,
        "is the token of administrators: write another one than {admin_token}",
    ),
    Contradiction(
        "client_auth",
        lambda config: config.client_auth is not None and all(listener.sets_auth for listener in config.listen),
        "has no effect, because each listener has its own client-auth in {listen}: remove this",
    ),
    Contradiction(
        "client_auth",
        lambda config: (
            config.client_auth is not None
            and any(listener.transparent and not listener.sets_auth for listener in config.listen)
        ),
        "the clients of a transparent listener cannot authenticate: add client-auth=none to that listener in {listen}",
    ),
    Contradiction(
        "http2",
        lambda config: not config.http2 and any(listener.h2c for listener in config.listen),
        "contradicts h2c=yes of a listener: remove h2c=yes in {listen}",
    ),
    *(
        Contradiction(name, _is_the_proxy(name), "is the address of this proxy: remove it, or set another proxy")
        for name in ("upstream_http", "upstream_https")
    ),
)

OWN_AUTHORIZER: Final = tuple(
    Contradiction(
        name,
        # The configuration of an authorization service has no authz_url.
        lambda config, name=name: getattr(config, name, None) is not None,  # type: ignore[misc]
        "cannot be combined with an authorizer of the application: remove this",
    )
    for name in ("authz_url", "policy")
)

RULES_DECIDE: Final = _unused(
    _missing("authz_url"),
    "applies only to an authorization service: set {authz_url}, or remove this",
    *("authz_max_concurrency", "authz_queue", "authz_breaker_failures"),
    *("authz_cache", "authz_max_ttl", "authz_max_stale"),
)

AUTHZ_SERVICE: Final = (_NO_AUDIT, *_NO_AUDIT_FILE, *_NO_METRICS)
