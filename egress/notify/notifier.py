"""The notifier: makes messages from the notices of all processes of a proxy, and delivers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import uuid4

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from egress.config.notify import NotifyEvent, NotifySettings
from egress.model.webhook import WebhookFormat
from egress.notify import message as contents
from egress.notify.backoff import Result
from egress.notify.delivery import MAX_AGE, Delivery, Parcel
from egress.notify.formats import encode
from egress.notify.grouping import Grouping, Summary
from egress.notify.incident import Holders, Incident
from egress.notify.message import Content, Message
from egress.notify.metrics import NotificationMetrics
from egress.notify.notice import Notice

# In one interval: the groups of denials whose first denial is reported immediately, and the groups in a summary.
MAX_FIRSTS: Final = 10
MAX_LISTED: Final = 10
# The days before the expiry of a CA at which messages are sent; 0 is the expiry.
CA_DAYS: Final = (0, 1, 7, 30)
CHECK_CA_EVERY: Final = 3600.0
# The time that a stopping proxy waits for deliveries, in seconds.
CLOSE_SECONDS: Final = 1.0
_DAY: Final = 86400.0
_MAX_APPROVALS: Final = 1000

_log = Logger()


class ExpiringCa(Protocol):
    """A CA, as L{egress.tls.issuer.CertificateAuthority} describes it."""

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate."""

    @property
    def not_after(self) -> datetime:
        """The expiry."""


@attrs.frozen
class Target:
    """A target.

    @ivar format: the format of its messages.
    @ivar delivery: delivers them.
    @ivar close: closes its connection.
    """

    format: WebhookFormat
    delivery: Delivery
    close: Callable[[], object] = lambda: None


class Notifier:
    """Makes messages from notices, and delivers them.

    Notices of several processes about one fault are one message.

    @param clock: times summaries and the checks of the CA.
    @param settings: the settings.
    @param targets: the targets.
    @param authority: returns the CA that signs.
    @param proxy: the name of this proxy in messages.
    @param wall_clock: returns seconds since the epoch.
    @ivar metrics: the metrics.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: NotifySettings,
        targets: Sequence[Target],
        *,
        authority: Callable[[], ExpiringCa],
        proxy: str,
        wall_clock: Callable[[], float],
    ) -> None:
        self.metrics = NotificationMetrics(settings.events, self._waiting)
        self._clock = clock
        self._settings = settings
        self._targets = targets
        self._closing: set[Deferred[None]] = set()
        self._authority = authority
        self._proxy = proxy
        self._wall_clock = wall_clock
        self._denials = Grouping(settings.interval, MAX_FIRSTS, MAX_LISTED)
        self._audit = Grouping(settings.interval, 1, 1)
        self._timers: dict[Grouping, IDelayedCall] = {}
        self._breaker = Incident()
        self._policy = Incident(follows=True)
        self._approvals = Holders(_MAX_APPROVALS)
        self._warned: tuple[str, int] | None = None
        self._checking = LoopingCall(self._check_ca)
        self._checking.clock = clock

    def _waiting(self) -> int:
        return sum(each.delivery.waiting for each in self._targets)

    def use(self, settings: NotifySettings, targets: Sequence[Target]) -> None:
        """Use other settings and targets. A target that remains keeps the messages that wait for it.

        @param settings: the settings, with the same events and interval.
        @param targets: the targets.
        """
        removed = [target for target in self._targets if target not in targets]
        self._settings, self._targets = settings, targets
        for target in removed:
            self._remove(target)

    def _remove(self, target: Target) -> None:
        closing = _close(target)

        def closed(_: None) -> None:
            self._closing.discard(closing)

        if not closing.called:
            self._closing.add(closing)
            closing.addCallback(closed)

    def start(self) -> None:
        """Start to check the CA."""
        if self._settings.wants(NotifyEvent.CA) and not self._checking.running:
            checking = self._checking.start(CHECK_CA_EVERY)
            checking.addErrback(lambda failure: _log.failure("the expiry of the CA is no longer checked", failure))

    def post(self, notice: Notice, source: str = "") -> None:
        """Take a notice.

        @param notice: the notice.
        @param source: the process that reports it.
        """
        if notice.event is NotifyEvent.DENIAL:
            if self._count(self._denials, notice, self._summarize_denials):
                self._send(contents.denial(notice.data, notice.count))
        elif notice.event is NotifyEvent.AUDIT:
            if self._count(self._audit, notice, self._summarize_audit):
                self._send(contents.audit(notice.data, notice.count))
        elif notice.event is NotifyEvent.APPROVAL:
            self._approval(notice.key, notice.data, source)
        else:
            incident, write = (
                (self._breaker, contents.breaker)
                if notice.event is NotifyEvent.BREAKER
                else (self._policy, contents.policy)
            )
            fault = notice.data.get("fault")
            change = incident.report(f"{source} {notice.key}", fault)
            if change is not None:
                self._send(write(change, fault or ""))

    # -- repeated events

    def _count(self, grouping: Grouping, notice: Notice, summarize: Callable[[Summary, float], Content]) -> bool:
        now = self._clock.seconds()
        reported = grouping.add(notice.key, notice.data, notice.count, now)
        self._schedule(grouping, summarize)
        return reported

    def _schedule(self, grouping: Grouping, summarize: Callable[[Summary, float], Content]) -> None:
        if grouping.due is not None and grouping not in self._timers:
            delay = max(0.0, grouping.due - self._clock.seconds())
            self._timers[grouping] = self._clock.callLater(delay, self._flush, grouping, summarize)

    def _flush(self, grouping: Grouping, summarize: Callable[[Summary, float], Content]) -> None:
        del self._timers[grouping]
        self._summarize(grouping, summarize)
        self._schedule(grouping, summarize)

    def _summarize(self, grouping: Grouping, summarize: Callable[[Summary, float], Content]) -> None:
        now, wall = self._clock.seconds(), self._wall_clock()
        summary = grouping.flush(now)
        if summary is not None:
            self._send(summarize(attrs.evolve(summary, since=wall - (now - summary.since)), wall))

    def _summarize_denials(self, summary: Summary, until: float) -> Content:
        return contents.denials(summary, until)

    def _summarize_audit(self, summary: Summary, until: float) -> Content:
        return contents.audit(summary.groups[0].data, summary.count)

    # -- approvals and the CA

    def _approval(self, approval_id: str, data: Mapping[str, Any], source: str) -> None:
        if not data:
            self._approvals.remove(approval_id, source)
        elif self._approvals.add(approval_id, source, data["until"], self._wall_clock()):
            self._send(contents.approval(data))

    def _check_ca(self) -> None:
        authority, now = self._authority(), self._wall_clock()
        end = authority.not_after.timestamp()
        days = next((days for days in CA_DAYS if end - now <= days * _DAY), None)
        if days is not None and self._warned != (authority.fingerprint, days):
            self._warned = authority.fingerprint, days
            self._send(contents.ca(authority.fingerprint, end, now))

    # -- delivery

    def _send(self, content: Content) -> None:
        event, now = content.event, self._wall_clock()
        assert event is not None
        message = made(content, self._settings, self._proxy, now)
        expires = MAX_AGE if content.until is None else max(1.0, content.until - now)
        for target in self._targets:

            def finished(result: Result) -> None:
                self.metrics.count(event, result)

            body = encode(message, target.format)
            target.delivery.enqueue(Parcel(message.message_id, body, finished, min(expires, MAX_AGE)))

    def close(self) -> Deferred[None]:
        """Send the last summaries, and wait for a short time until the messages are delivered.

        @return: fires when no message waits.
        """
        if self._checking.running:
            self._checking.stop()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._summarize(self._denials, self._summarize_denials)
        self._summarize(self._audit, self._summarize_audit)
        return DeferredList([*map(_close, self._targets), *self._closing]).addCallback(lambda _: None)


def _close(target: Target) -> Deferred[None]:
    """Wait for a short time until the messages of a target are delivered, and close its connection."""

    def delivered(_: object) -> None:
        target.close()

    return target.delivery.close(CLOSE_SECONDS).addCallback(delivered)


def made(content: Content, settings: NotifySettings, proxy: str, now: float) -> Message:
    """Make a message with a new id.

    @param content: its content.
    @param settings: the settings.
    @param proxy: the name of this proxy.
    @param now: seconds since the epoch.
    """
    console = settings.console_url
    return Message(
        message_id=f"msg_{uuid4().hex}",
        time=now,
        proxy=proxy,
        link=None if console is None else f"{console}{content.page}",
        content=content,
    )
