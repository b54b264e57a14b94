"""Tests for L{egress.notify.notices}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.config.model import ConfigError
from egress.config.notify import NotifyEvent, NotifySettings
from egress.interfaces import IAuditSink
from egress.model.webhook import WebhookTarget
from egress.notify.notice import Notice
from egress.notify.notices import BATCH_SECONDS, CHECK_AUDIT_EVERY, MAX_KEYS, DenialSink, Notices
from tests.notify.test_message import APPROVAL
from tests.notify.test_notice import DENIED
from tests.observability.records import ALLOWED

TARGET = WebhookTarget.parse("slack:https://hooks.test/")


@attrs.define
class FakeAudit:
    """An audit log."""

    lost: int = 0
    fault: str | None = None


class DenialSinkTests(SynchronousTestCase):
    """Denials are counted, and the counts are reported."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.posted: list[Notice] = []
        self.sink = DenialSink(self.clock, self.posted.append)

    def test_interface(self) -> None:
        verifyObject(IAuditSink, self.sink)

    def test_counts(self) -> None:
        for number in range(1000):
            self.sink.write(attrs.evolve(DENIED, request_id=str(number)))
            self.sink.write(ALLOWED)
        self.assertEqual(self.posted, [])
        self.clock.advance(BATCH_SECONDS)
        (notice,) = self.posted
        self.assertEqual((notice.count, notice.data["requestId"]), (1000, "999"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_denials(self) -> None:
        for verdict in ("allow", "unavailable", "rejected", "failed"):
            self.sink.write(attrs.evolve(DENIED, verdict=verdict))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_groups(self) -> None:
        client = attrs.evolve(DENIED.client, address="192.0.2.7")
        for record in (
            DENIED,
            attrs.evolve(DENIED, rule_id="other"),
            attrs.evolve(DENIED, url="https://b.test/"),
            attrs.evolve(DENIED, client=client),
            attrs.evolve(DENIED, url=DENIED.url + "&more", method="PUT"),
        ):
            self.sink.write(record)
        self.sink.close()
        self.assertEqual([notice.count for notice in self.posted], [2, 1, 1, 1])
        self.assertEqual(len({notice.key for notice in self.posted}), 4)

    def test_many_groups(self) -> None:
        """The number of notices is limited; no denial is lost from the counts."""
        for number in range(MAX_KEYS * 3):
            self.sink.write(attrs.evolve(DENIED, url=f"https://{number}.test/"))
        self.clock.advance(BATCH_SECONDS)
        self.assertEqual(len(self.posted), MAX_KEYS + 1)
        self.assertEqual(sum(notice.count for notice in self.posted), MAX_KEYS * 3)
        self.assertEqual(self.posted[-1].data["host"], "(several)")

    def test_close(self) -> None:
        self.sink.close()
        self.assertEqual(self.posted, [])
        self.sink.write(DENIED)
        self.sink.close()
        self.assertEqual((len(self.posted), self.clock.getDelayedCalls()), (1, []))


class NoticesTestCase(SynchronousTestCase):
    """Base: the notices of one process."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.posted: list[Notice] = []
        self.audit = FakeAudit()
        self.notices = self.make()

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def make(self, **given: Any) -> Notices:
        """Make the notices of a process."""
        settings = NotifySettings(**{"url": (TARGET,), **given})
        notices = Notices(self.clock, settings, None, [self.audit])
        notices.send_to(self.posted.append)
        return notices

    def close(self, notices: Notices) -> None:
        """Close, which takes one turn of the reactor, in which a channel writes."""
        closed = notices.close()
        self.clock.advance(0.0)
        self.successResultOf(closed)

    def faults(self) -> list[tuple[str, str | None]]:
        """Return the keys and the faults of the notices since the last call."""
        posted, self.posted[:] = list(self.posted), []
        return [(notice.key, notice.data["fault"]) for notice in posted]


class EventTests(NoticesTestCase):
    """What happens is reported, if a receiver wants it."""

    def test_off(self) -> None:
        """Without a target, nothing is done and nothing is counted."""
        off = Notices(self.clock, NotifySettings(), None, [self.audit])
        off.send_to(self.posted.append)
        off.start()
        off.approval("abc", APPROVAL)
        off.breaker("timed out")
        self.assertIsNone(off.sink)
        self.audit.lost = 5
        self.clock.advance(60.0)
        self.close(off)
        self.assertEqual(self.posted, [])

    def test_not_wanted(self) -> None:
        notices = self.make(events=("ca",))
        notices.start()
        notices.approval("abc", APPROVAL)
        notices.breaker("timed out")
        self.assertIsNone(notices.sink)
        self.audit.lost = 5
        self.close(notices)
        self.assertEqual(self.posted, [])

    def test_approvals(self) -> None:
        """The content of a request is not part of a message."""
        self.notices.approval("abc", {**APPROVAL, "preview": "hunter2", "count": 1})
        self.notices.approval("abc", None)
        pending, ended = self.posted
        self.assertEqual((pending.key, pending.data), ("abc", APPROVAL))
        self.assertEqual((ended.key, ended.data), ("abc", {}))

    def test_breaker(self) -> None:
        self.notices.breaker("timed out")
        self.notices.breaker(None)
        self.assertEqual(self.faults(), [("", "timed out"), ("", None)])

    def test_start(self) -> None:
        """A worker that was restarted ends the faults of its predecessor."""
        self.notices.start()
        self.assertEqual(self.faults(), [("", None), ("policy", None), ("files", None)])
        self.close(self.notices)

    def test_audit(self) -> None:
        self.notices.start()
        self.notices.start()
        self.posted.clear()
        self.clock.advance(CHECK_AUDIT_EVERY)
        self.assertEqual(self.posted, [])
        self.audit.lost, self.audit.fault = 5, "No space left on device"
        self.clock.advance(CHECK_AUDIT_EVERY)
        self.clock.advance(CHECK_AUDIT_EVERY)
        self.audit.lost = 7
        self.close(self.notices)
        self.assertEqual(
            [(notice.count, notice.data["reason"]) for notice in self.posted],
            [(5, self.audit.fault), (2, self.audit.fault)],
        )
        self.assertIs(self.posted[0].event, NotifyEvent.AUDIT)

    def test_denials(self) -> None:
        assert self.notices.sink is not None
        self.notices.sink.write(DENIED)
        self.close(self.notices)
        self.assertEqual([notice.event for notice in self.posted], [NotifyEvent.DENIAL])

    def test_other_processes(self) -> None:
        """A process that does not deliver messages ignores notices of others."""
        self.notices.post(Notice(NotifyEvent.CA, "", {}), "1")
        self.assertEqual(self.posted, [])


class ReloadTests(NoticesTestCase):
    """Reloads that fail are reported once, and the next one that is successful."""

    def reload(self, error: Exception | None = None, **given: bool) -> Deferred[Any]:
        """Reload files."""
        result: Deferred[Any] = succeed("done") if error is None else fail(error)
        return self.notices.reported(lambda: result, **given)

    def error(self, option: str = "--policy", text: str = "line 3") -> ConfigError:
        return ConfigError(option, "", text)

    def test_results(self) -> None:
        """The result of the reload is passed on."""
        self.assertEqual(self.successResultOf(self.reload()), "done")
        error = self.error()
        self.assertIs(self.failureResultOf(self.reload(error)).value, error)
        self.failureResultOf(self.reload(ZeroDivisionError()), ZeroDivisionError)
        self.assertEqual(self.faults(), [("policy", "--policy: line 3")])

    def test_once(self) -> None:
        for _ in range(3):
            self.failureResultOf(self.reload(self.error(), only_policy=True))
        self.failureResultOf(self.reload(self.error(text="line 4"), only_policy=True))
        self.assertEqual(self.faults(), [("policy", "--policy: line 3"), ("policy", "--policy: line 4")])
        for _ in range(2):
            self.successResultOf(self.reload(only_policy=True))
        self.assertEqual(self.faults(), [("policy", None)])

    def test_the_policy_repairs_only_the_policy(self) -> None:
        self.failureResultOf(self.reload(self.error()))
        self.failureResultOf(self.reload(self.error("--ssl-extra-ca-certs", "not PEM")))
        self.posted.clear()
        self.successResultOf(self.reload(only_policy=True))
        self.assertEqual(self.faults(), [("policy", None)])
        self.successResultOf(self.reload())
        self.assertEqual(self.faults(), [("files", None)])

    def test_supervisor(self) -> None:
        """The workers report errors of the policy, and the supervisor reports others."""
        self.failureResultOf(self.reload(self.error(), without_policy=True))
        self.assertEqual(self.faults(), [])
        self.failureResultOf(self.reload(self.error("--secrets", "x"), without_policy=True))
        self.assertEqual(self.faults(), [("files", "--secrets: x")])
