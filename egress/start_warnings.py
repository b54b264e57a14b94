"""Warnings about a configuration with which a proxy can start, but cannot do all that the configuration intends."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from egress.authz.secrets.vault import unreadable_secrets
from egress.model.decision import Verdict
from egress.model.file_access import PRIVATE
from egress.model.trace import Otel
from egress.tracing.settings import read_settings
from egress.tracing.telemetry import sdk_installed

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from egress.config.model import ProxyConfig
    from egress.resources import LoadedResources


@attrs.frozen
class StartWarning:
    """A warning.

    @ivar option: the option to change.
    @ivar text: the consequence and the fix, without the option.
    """

    option: str
    text: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.option}: {self.text}"


def start_warnings(
    config: ProxyConfig, resources: LoadedResources, clock: IReactorTime, environ: Mapping[str, str] | None = None
) -> Iterator[StartWarning]:
    """Yield the warnings about a configuration.

    @param config: the configuration.
    @param resources: the files that it names.
    @param clock: the reactor.
    @param environ: the environment of the secrets; C{None}: that of this process.
    """
    if config.otel is Otel.AUTO:
        yield from _telemetry_warnings(os.environ if environ is None else environ)
    if resources.rules is not None and config.admin is None:
        names = [f"{rule.rule_id} ({rule.where})" for rule in resources.rules.rules if rule.verdict is Verdict.ASK]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield StartWarning(
                "--admin",
                f"is not set, so no approver can allow the requests of the rule {names[0]}{more}, and they are denied: "
                "set it, for example to unix:/run/egress/admin.sock",
            )
    if config.shared.location is not None:
        yield from _shared_warnings(config, resources)
    yield from _audit_log_warnings(config)
    if resources.rules is not None and not resources.rules.is_loaded:
        yield StartWarning("--policy", "no version of this URL is stored, so requests get 503 until it is loaded")
    if resources.secrets is not None:
        for name, reason in unreadable_secrets(resources.secrets, clock, environ):
            yield StartWarning(
                "--secrets", f"the secret {name} cannot be read: {reason}; a request that needs it gets 503 until then"
            )


def _shared_warnings(config: ProxyConfig, resources: LoadedResources) -> Iterator[StartWarning]:
    """Yield a warning if there are neither decisions nor budgets to share."""
    if resources.rules is not None:
        if not resources.rules.has_budgets:
            why = "has no effect on decisions of a policy without budgets, which are not cached: set --authz-url"
            yield StartWarning("--shared", why)
    elif config.authz_cache is None:
        yield StartWarning("--shared", "has no effect without a cache: set --authz-cache to a number")


def _audit_log_warnings(config: ProxyConfig) -> Iterator[StartWarning]:
    """Yield a warning if the audit log file exists, and the permissions for its creation are different."""
    access = config.audit_access
    if config.audit_log is None or access == PRIVATE:
        return
    try:
        state = os.stat(config.audit_log)
    except OSError:
        return
    path = shlex.quote(config.audit_log)
    if stat.S_ISREG(state.st_mode):
        mode = f"{stat.S_IMODE(state.st_mode):o}"
        if mode != access.mode.value:
            yield StartWarning(
                "--audit-log-mode", f"the file exists with the mode {mode}: run chmod {access.mode.value} {path}"
            )
        if access.group not in (None, state.st_gid):
            yield StartWarning(
                "--audit-log-group", f"the file exists with the group {state.st_gid}: run chgrp {access.group} {path}"
            )


def _telemetry_warnings(environ: Mapping[str, str]) -> Iterator[StartWarning]:
    settings, invalid = read_settings(environ)
    for each in invalid:
        yield StartWarning(each.name, each.text)
    if settings.enabled and not sdk_installed():
        yield StartWarning(
            "--otel",
            "the environment has OTEL_ variables, but the OpenTelemetry SDK is not installed, so nothing is exported: "
            "install egressproxy[opentelemetry], or set --otel off",
        )
