"""A test of the targets: one message for each, sent once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from egress.config.model import ProxyConfig
from egress.model.webhook import WebhookTarget
from egress.notify import message as contents
from egress.notify.backoff import Result, final_result
from egress.notify.delivery import ATTEMPT_SECONDS, Parcel, Response
from egress.notify.formats import encode
from egress.notify.notifier import made
from egress.notify.setup import check_upstream, proxy_name, webhook_of
from egress.transport.reactor import IEgressReactor

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from egress.notify.webhook import WebhookRoute


@attrs.frozen(kw_only=True)
class TrialResult:
    """The result for one target.

    @ivar target: the scheme and the host of the target; its path can be a secret.
    @ivar format: its format.
    @ivar accepted: whether it accepted the message.
    @ivar status: the status code; C{None} without a response.
    @ivar text: the result, and the fix.
    """

    target: str
    format: str
    accepted: bool
    status: int | None
    text: str


def send_test(reactor: IEgressReactor, config: ProxyConfig, route: WebhookRoute) -> Deferred[list[TrialResult]]:
    """Send a test message to each target, without retries.

    @param reactor: the reactor.
    @param config: the configuration.
    @param route: how targets are connected to directly.
    @return: fires with the results, in the order of the targets.
    @raise ConfigError: naming the invalid value and the fix.
    """
    check_upstream(config)
    settings = config.notify
    message = made(contents.test(), settings, proxy_name(), time.time())

    def to(target: WebhookTarget) -> Deferred[TrialResult]:
        target_format = settings.format_of(target)
        webhook = webhook_of(reactor, config, target, route)
        parcel = Parcel(message.message_id, encode(message, target_format), lambda result: None)
        begun = reactor.seconds()

        def result(accepted: bool, status: int | None, text: str) -> TrialResult:
            webhook.close()
            return TrialResult(
                target=str(target), format=target_format.value, accepted=accepted, status=status, text=text
            )

        def responded(response: Response) -> TrialResult:
            elapsed = f"status {response.status} ({(reactor.seconds() - begun) * 1000:.0f} ms)"
            accepted = final_result(response.status) is Result.DELIVERED
            fix = "" if accepted else ": the message was not accepted, check the URL, its format and the secret"
            return result(accepted, response.status, f"{elapsed}{fix}")

        def failed(failure: Failure) -> TrialResult:
            return result(False, None, webhook.explain(failure))

        sending = maybeDeferred(webhook.send, parcel).addTimeout(ATTEMPT_SECONDS, reactor)
        return sending.addCallbacks(responded, failed)

    results = DeferredList([to(target) for target in settings.targets], fireOnOneErrback=True, consumeErrors=True)
    return results.addCallback(lambda found: [each for _, each in found])
