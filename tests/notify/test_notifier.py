"""Tests for L{egress.notify.notifier}."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.notify import NotifyEvent, NotifySettings
from egress.model.webhook import WebhookFormat, WebhookTarget
from egress.notify.delivery import Delivery, Parcel, Response
from egress.notify.notice import Notice
from egress.notify.notifier import CHECK_CA_EVERY, CLOSE_SECONDS, MAX_FIRSTS, Notifier, Target
from tests.notify.test_message import APPROVAL, DENIAL

START = 1_800_000_000.0
DAY = 86400.0


@attrs.define
class FakeCa:
    """A CA."""

    fingerprint: str
    not_after: datetime


class NotifierTestCase(SynchronousTestCase):
    """Base: a notifier with a receiver of JSON."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bodies: list[dict[str, Any]] = []
        self.parcels: list[Parcel] = []
        self.hangs = False
        self.closed: list[str] = []
        self.authority = FakeCa("AA", datetime.fromtimestamp(START + 400 * DAY, timezone.utc))
        self.notifier = self.make()

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, **given: Any) -> Notifier:
        """Make a notifier."""
        options = {"interval": 60.0, "console_url": "https://console.test", **given}
        settings = NotifySettings(url=(WebhookTarget.parse("slack:https://hooks.test/"),), **options)
        delivery = Delivery(self.clock, "x", self.send, explain=repr, jitter=lambda: 1.0)
        return Notifier(
            self.clock,
            settings,
            [Target(WebhookFormat.JSON, delivery, lambda: self.closed.append("x"))],
            authority=lambda: self.authority,
            proxy="proxy-1",
            wall_clock=self.now,
        )

    def now(self) -> float:
        return START + self.clock.seconds()

    def send(self, parcel: Parcel) -> Deferred[Response]:
        self.parcels.append(parcel)
        self.bodies.append(json.loads(parcel.body))
        return Deferred() if self.hangs else succeed(Response(204))

    def take(self) -> list[dict[str, Any]]:
        """Return the messages since the last call."""
        taken, self.bodies = self.bodies, []
        return taken

    def types(self) -> list[str]:
        return [body["type"] for body in self.take()]

    def close(self) -> None:
        self.successResultOf(self.notifier.close())

    def deny(self, key: str = "a", count: int = 1, **data: Any) -> None:
        self.notifier.post(Notice(NotifyEvent.DENIAL, key, {**DENIAL, **data}, count), "1")


class DenialTests(NotifierTestCase):
    """A flood of denials is few messages with the right counts."""

    def test_flood(self) -> None:
        for _ in range(100):
            self.deny(count=50)
            self.clock.advance(0.2)
        self.clock.advance(60.0)
        first, summary = self.take()
        self.assertEqual((first["type"], first["data"]["count"]), ("denial.first", 50))
        self.assertEqual((summary["type"], summary["data"]["count"]), ("denial.summary", 99 * 50))
        self.assertEqual(summary["data"]["since"], "2027-01-15T08:00:00.000Z")
        self.clock.advance(60.0)
        self.assertEqual(self.take(), [])

    def test_many_groups(self) -> None:
        for number in range(500):
            self.deny(str(number), host=f"{number}.test")
        firsts = self.take()
        self.assertEqual([body["type"] for body in firsts], ["denial.first"] * MAX_FIRSTS)
        self.clock.advance(60.0)
        (summary,) = self.take()
        self.assertEqual((summary["data"]["count"], summary["data"]["groupsTotal"]), (490, 490))
        self.assertEqual(len(summary["data"]["groups"]), 10)
        self.clock.advance(60.0)

    def test_links(self) -> None:
        self.deny()
        (body,) = self.take()
        self.assertEqual(body["link"], "https://console.test/console/requests/r%2F1")
        self.assertEqual((body["version"], body["proxy"]), (1, "proxy-1"))
        self.close()

    def test_no_links(self) -> None:
        self.notifier = self.make(console_url=None)
        self.deny()
        self.assertIsNone(self.take()[0]["link"])
        self.close()

    def test_ids_differ(self) -> None:
        self.deny("a")
        self.deny("b")
        first, second = self.take()
        self.assertNotEqual(first["id"], second["id"])
        self.assertEqual([parcel.message_id for parcel in self.parcels], [first["id"], second["id"]])
        self.close()


class FaultTests(NotifierTestCase):
    """A fault of several processes is one message."""

    def fault(self, event: NotifyEvent, fault: str | None, source: str = "1", key: str = "") -> None:
        self.notifier.post(Notice(event, key, {"fault": fault}), source)

    def test_breaker_of_four_workers(self) -> None:
        for source in "1234":
            self.fault(NotifyEvent.BREAKER, "timed out", source)
        (opened,) = self.take()
        self.assertEqual((opened["type"], opened["data"]), ("breaker.opened", {"cause": "timed out"}))
        for source in "1234":
            self.fault(NotifyEvent.BREAKER, None, source)
        self.assertEqual(self.types(), ["breaker.closed"])

    def test_policy(self) -> None:
        for source in "12":
            self.fault(NotifyEvent.POLICY, "line 3", source, "policy")
        self.fault(NotifyEvent.POLICY, "line 4", "1", "policy")
        self.fault(NotifyEvent.POLICY, "line 4", "2", "policy")
        bodies = self.take()
        self.assertEqual([body["data"]["error"] for body in bodies], ["line 3", "line 4"])
        self.fault(NotifyEvent.POLICY, "a CA", "1", "files")
        for source in "12":
            self.fault(NotifyEvent.POLICY, None, source, "policy")
        self.assertEqual(self.types(), ["policy.failed"])
        self.fault(NotifyEvent.POLICY, None, "1", "files")
        self.assertEqual(self.types(), ["policy.loaded"])

    def test_audit(self) -> None:
        for count in (3, 5, 7):
            self.notifier.post(Notice(NotifyEvent.AUDIT, "", {"reason": "full"}, count), "1")
        self.clock.advance(60.0)
        self.assertEqual([body["data"]["count"] for body in self.take()], [3, 12])
        self.clock.advance(60.0)


class ApprovalTests(NotifierTestCase):
    """A pending approval is one message, and a later one with the same id is another."""

    def approval(self, source: str = "1", **data: Any) -> None:
        data = {**APPROVAL, "since": self.now(), "until": self.now() + 300, **data}
        self.notifier.post(Notice(NotifyEvent.APPROVAL, data["id"], data), source)

    def ended(self, source: str = "1", approval_id: str = "abc") -> None:
        self.notifier.post(Notice(NotifyEvent.APPROVAL, approval_id, {}), source)

    def test_several_workers(self) -> None:
        self.approval("1")
        self.approval("2")
        (body,) = self.take()
        self.assertEqual((body["type"], body["data"]["id"]), ("approval.pending", "abc"))
        self.assertEqual(body["link"], "https://console.test/console/approvals")
        self.ended("1")
        self.approval("1")
        self.assertEqual(self.take(), [])
        self.ended("1")
        self.ended("2")
        self.ended("2")
        self.approval("2")
        self.assertEqual(self.types(), ["approval.pending"])

    def test_a_worker_that_died(self) -> None:
        """Its approvals are forgotten when they would have expired."""
        self.approval("1")
        self.clock.advance(301.0)
        self.approval("2")
        self.assertEqual(self.types(), ["approval.pending"] * 2)

    def test_expiry(self) -> None:
        """A message about an approval that has expired is useless."""
        self.approval()
        self.approval(id="old", until=self.now() - 5)
        self.assertEqual([parcel.expires for parcel in self.parcels], [300.0, 1.0])


class CaTests(NotifierTestCase):
    """A CA that expires is reported 30, 7 and 1 days before, and when it has expired."""

    def days(self, days: float) -> None:
        self.authority.not_after = datetime.fromtimestamp(self.now() + days * DAY, timezone.utc)

    def test_expiry(self) -> None:
        self.days(31)
        self.notifier.start()
        self.notifier.start()
        left = []
        for _ in range(33 * 24):
            self.clock.advance(CHECK_CA_EVERY)
            left += [body["data"]["daysLeft"] for body in self.take()]
        self.assertEqual(left, [30, 7, 1, 0])
        self.authority = FakeCa("BB", self.authority.not_after)
        self.clock.advance(CHECK_CA_EVERY)
        self.assertEqual([body["data"]["fingerprint"] for body in self.take()], ["BB"])
        self.close()

    def test_start(self) -> None:
        """A start reports a CA that expires soon."""
        self.days(3)
        self.notifier.start()
        self.assertEqual(self.types(), ["ca.expiring"])
        self.close()

    def test_not_wanted(self) -> None:
        self.notifier = self.make(events=("denial",))
        self.days(3)
        self.notifier.start()
        self.assertEqual(self.take(), [])


class ClosingTests(NotifierTestCase):
    """The end of a proxy sends the last summary."""

    def test_summary(self) -> None:
        self.deny()
        self.deny(count=8)
        self.close()
        self.assertEqual([body["data"]["count"] for body in self.take()], [1, 8])
        self.assertEqual(self.closed, ["x"])

    def test_hanging_receiver(self) -> None:
        self.hangs = True
        self.deny()
        closed = self.notifier.close()
        self.clock.advance(CLOSE_SECONDS)
        self.successResultOf(closed)

    def test_metrics(self) -> None:
        registry = CollectorRegistry()
        registry.register(self.notifier.metrics)
        self.deny()
        self.hangs = True
        self.notifier.post(Notice(NotifyEvent.AUDIT, "", {"reason": "full"}, 1), "1")
        self.assertEqual(registry.get_sample_value("egress_notifications_queued"), 1)
        closed = self.notifier.close()
        self.clock.advance(CLOSE_SECONDS)
        self.successResultOf(closed)
        for event, result in (("denial", "delivered"), ("audit", "dropped")):
            labels = {"event": event, "result": result}
            self.assertEqual(registry.get_sample_value("egress_notifications_total", labels), 1)


class UseTests(NotifierTestCase):
    """Targets are replaced while the notifier runs."""

    def make_target(self, name: str, sent: list[str]) -> Target:
        def send(parcel: Parcel) -> Deferred[Response]:
            sent.append(name)
            return Deferred() if self.hangs else succeed(Response(204))

        delivery = Delivery(self.clock, name, send, explain=repr, jitter=lambda: 1.0)
        return Target(WebhookFormat.JSON, delivery, lambda: self.closed.append(name))

    def use(self, *targets: Target) -> None:
        self.notifier.use(NotifySettings(url=(WebhookTarget.parse("slack:https://hooks.test/"),)), targets)

    def waiting(self) -> float | None:
        registry = CollectorRegistry()
        registry.register(self.notifier.metrics)
        return registry.get_sample_value("egress_notifications_queued")

    def test_replaced(self) -> None:
        sent: list[str] = []
        one, two = self.make_target("one", sent), self.make_target("two", sent)
        self.use(one)
        self.assertEqual(self.closed, ["x"])
        self.use(one, two)
        self.deny()
        self.assertEqual((sent, self.closed), (["one", "two"], ["x"]))
        self.close()
        self.assertEqual(self.closed, ["x", "one", "two"])

    def test_messages_that_wait(self) -> None:
        """A target that remains keeps them. A removed target has a short time for them, as at a stop."""
        sent: list[str] = []
        self.hangs = True
        one, two = self.make_target("one", sent), self.make_target("two", sent)
        self.use(one, two)
        self.deny()
        self.assertEqual(self.waiting(), 2)
        self.use(two)
        self.assertEqual((self.waiting(), self.closed), (1, ["x"]))
        closing = self.notifier.close()
        self.assertNoResult(closing)
        self.clock.advance(CLOSE_SECONDS)
        self.successResultOf(closing)
        self.assertEqual(sorted(self.closed), ["one", "two", "x"])
