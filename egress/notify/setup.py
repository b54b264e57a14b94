"""The composition of notifications, for the process that delivers messages and for workers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from random import random
from typing import TYPE_CHECKING

import attrs

from egress.config.model import ConfigError, ProxyConfig
from egress.config.notify import NotifySettings
from egress.model.authority import UpstreamProxy
from egress.model.webhook import WebhookFormat, WebhookTarget
from egress.notify.delivery import Delivery
from egress.notify.notices import AuditTarget, Notices
from egress.notify.notifier import ExpiringCa, Notifier, Target
from egress.notify.webhook import Webhook, WebhookRoute
from egress.transport.reactor import IEgressReactor

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from egress.runtime.role import Role


@attrs.frozen(kw_only=True)
class NotifyDependencies:
    """The parts of a process on which notifications depend.

    @ivar route: how targets are connected to directly.
    @ivar authority: returns the CA that signs.
    @ivar registry: the registry of the metrics.
    @ivar audits: the audit log and the audit store, if there are any.
    """

    route: WebhookRoute
    authority: Callable[[], ExpiringCa]
    registry: CollectorRegistry
    audits: Sequence[AuditTarget] = ()


def notices_of(reactor: IEgressReactor, config: ProxyConfig, role: Role, dependencies: NotifyDependencies) -> Notices:
    """Compose the notifications of one process.

    @raise ConfigError: naming the invalid value and the fix.
    """
    settings = config.notify
    check_upstream(config)
    if not settings.targets or not role.notifies:
        return Notices(reactor, settings, None, dependencies.audits)
    targets = _Targets(reactor, config, dependencies.route)
    notifier = Notifier(
        reactor,
        settings,
        targets.of(settings),
        authority=dependencies.authority,
        proxy=proxy_name(),
        wall_clock=time.time,
    )
    dependencies.registry.register(notifier.metrics)
    return Notices(reactor, settings, notifier, dependencies.audits, targets.of)


class _Targets:
    """The targets of one process, each of which is created once.

    @param route: how targets are connected to directly.
    """

    def __init__(self, reactor: IEgressReactor, config: ProxyConfig, route: WebhookRoute) -> None:
        self._reactor = reactor
        self._config = config
        self._route = route
        self._known: dict[WebhookTarget, tuple[Webhook, Target]] = {}

    def of(self, settings: NotifySettings) -> list[Target]:
        """Return the targets of settings, which sign with their secrets."""
        known = self._known
        self._known = {each: known.get(each) or self._make(each, settings) for each in settings.targets}
        for name, (webhook, _) in self._known.items():
            webhook.secrets = secrets_for(name, settings)
        return [target for _, target in self._known.values()]

    def _make(self, name: WebhookTarget, settings: NotifySettings) -> tuple[Webhook, Target]:
        webhook = webhook_of(self._reactor, self._config, name, self._route)
        return webhook, Target(settings.format_of(name), delivery_of(self._reactor, name, webhook), webhook.close)


def secrets_for(target: WebhookTarget, settings: NotifySettings) -> tuple[bytes, ...]:
    """Return the secrets that sign the messages for a target."""
    return settings.secret if settings.format_of(target) is WebhookFormat.JSON else ()


def check_upstream(config: ProxyConfig) -> None:
    """Check that there is an upstream proxy, if notifications are sent through it.

    @raise ConfigError: naming the fix.
    """
    if config.notify.via_upstream and _upstream(config) is None:
        raise ConfigError("--notify-via-upstream", "", "has no effect without an upstream proxy: set --upstream-proxy")


def _upstream(config: ProxyConfig) -> UpstreamProxy | None:
    return config.upstream_https or config.upstream_http


def proxy_name() -> str:
    """Return the name of this proxy in messages: the name of the machine."""
    return socket.gethostname()


def webhook_of(reactor: IEgressReactor, config: ProxyConfig, target: WebhookTarget, route: WebhookRoute) -> Webhook:
    """Return the client for a target.

    @param reactor: the reactor.
    @param config: the configuration, which determines whether it is contacted through the upstream proxy.
    @param target: the target.
    @param route: how targets are connected to directly.
    """
    settings = config.notify
    if settings.via_upstream and not config.bypass.matches(target.origin.authority):
        route = attrs.evolve(route, upstream=_upstream(config))
    return Webhook(reactor, target, route, secrets=secrets_for(target, settings), wall_clock=time.time)


def delivery_of(reactor: IEgressReactor, target: WebhookTarget, webhook: Webhook) -> Delivery:
    """Return the delivery to a target."""
    return Delivery(reactor, str(target), webhook.send, explain=webhook.explain, jitter=random)
