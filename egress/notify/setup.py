"""The composition of notifications, for the process that delivers messages and for workers."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from random import random
from typing import TYPE_CHECKING

import attrs

from egress.config.model import ConfigError, ProxyConfig
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
    targets = [
        Target(settings.format_of(target), delivery_of(reactor, target, webhook), webhook.close)
        for target in settings.targets
        for webhook in (webhook_of(reactor, config, target, dependencies.route),)
    ]
    notifier = Notifier(
        reactor,
        settings,
        targets,
        authority=dependencies.authority,
        proxy=proxy_name(),
        wall_clock=time.time,
    )
    dependencies.registry.register(notifier.metrics)
    return Notices(reactor, settings, notifier, dependencies.audits)


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
    signs = settings.format_of(target) is WebhookFormat.JSON
    secrets = settings.secret if signs else ()
    return Webhook(reactor, target, route, secrets=secrets, wall_clock=time.time)


def delivery_of(reactor: IEgressReactor, target: WebhookTarget, webhook: Webhook) -> Delivery:
    """Return the delivery to a target."""
    return Delivery(reactor, str(target), webhook.send, explain=webhook.explain, jitter=random)
