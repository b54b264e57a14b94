"""Configurations with fewer settings, for processes that do not need all of them."""

from __future__ import annotations

from typing import Any, Final

import attrs

from egress.config.contradictions import POLICY_URL_FIELDS
from egress.config.model import ProxyConfig
from egress.model.policy_url import PolicyUrl

_SHADOW: Final = ("shadow_authz_url", "shadow_authz_token", "shadow_policy", "shadow_log")


def without_shadow(config: ProxyConfig) -> ProxyConfig:
    """Return a configuration without a shadow, and without the settings that have no effect without one."""
    changes: dict[str, Any] = dict.fromkeys(_SHADOW)
    if not isinstance(config.policy, PolicyUrl):
        defaults = ProxyConfig()
        changes |= {field: getattr(defaults, field) for field in POLICY_URL_FIELDS}
    if config.policy is None:
        changes["policy_key"] = None
    return attrs.evolve(config, **changes)
