"""The notices of one process: what happens in it is reported to the process that delivers messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.config.model import ConfigError
from egress.config.notify import NotifyEvent, NotifySettings
from egress.interfaces import IAuditSink
from egress.model.record import ExchangeRecord
from egress.notify.notice import APPROVAL_FACTS, Notice, PostNotice, denial_data, denial_key
from egress.notify.notifier import Notifier, Target

T = TypeVar("T")

# Denials are counted for this time before they are reported, so that a flood of denials costs little.
BATCH_SECONDS: Final = 0.2
MAX_KEYS: Final = 256
CHECK_AUDIT_EVERY: Final = 2.0
_SEVERAL: Final = "(several)"
_POLICY: Final = "policy"
_FILES: Final = "files"
_POLICY_OPTION: Final = "--policy"

_log = Logger()


class AuditTarget(Protocol):
    """An audit log or audit store."""

    @property
    def lost(self) -> int:
        """The number of lost records."""

    @property
    def fault(self) -> str | None:
        """The reason why the last record could not be written."""


@implementer(IAuditSink)
class DenialSink:
    """An audit sink that counts denials, and reports the counts.

    @param clock: times the reports.
    @param post: takes the notices.
    """

    def __init__(self, clock: IReactorTime, post: PostNotice) -> None:
        self._clock = clock
        self._post = post
        self._counts: dict[object, tuple[int, ExchangeRecord]] = {}
        self._timer: IDelayedCall | None = None

    def write(self, record: ExchangeRecord) -> None:
        """Count a denial (L{IAuditSink.write})."""
        if record.verdict != "deny":
            return
        key: object = denial_key(record)
        if key not in self._counts and len(self._counts) >= MAX_KEYS:
            key = _SEVERAL
        count, _ = self._counts.get(key, (0, record))
        self._counts[key] = count + 1, record
        if self._timer is None:
            self._timer = self._clock.callLater(BATCH_SECONDS, self._report)

    def _report(self) -> None:
        self._timer = None
        counts, self._counts = self._counts, {}
        for key, (count, record) in counts.items():
            data = denial_data(record)
            if key == _SEVERAL:
                data.update(host=_SEVERAL, client=_SEVERAL, identity=None, ruleId=None)
            self._post(Notice(NotifyEvent.DENIAL, repr(key), data, count))

    def close(self) -> None:
        """Report the last denials (L{IAuditSink.close})."""
        if self._timer is not None:
            self._timer.cancel()
            self._report()


class Notices:
    """Reports what happens in one process.

    @param clock: times the reports.
    @param settings: the settings; without a target, nothing is reported.
    @param notifier: delivers messages, unless another process does.
    @param audits: the audit log and the audit store, if there are any.
    @param targets: returns the targets of other settings.
    @ivar sink: an audit sink that reports denials; C{None} if they are not reported.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: NotifySettings,
        notifier: Notifier | None,
        audits: Sequence[AuditTarget] = (),
        targets: Callable[[NotifySettings], Sequence[Target]] = lambda _: (),
    ) -> None:
        self._targets = targets
        self._clock = clock
        self._settings = settings
        self._notifier = notifier
        self._post: PostNotice | None = None if notifier is None else notifier.post
        wants_denials = settings.wants(NotifyEvent.DENIAL)
        self.sink: DenialSink | None = DenialSink(clock, self._report) if wants_denials else None
        self._audits = audits
        self._lost = 0
        self._faults: dict[str, str | None] = {}
        self._auditing = LoopingCall(self._check_audit)
        self._auditing.clock = clock

    def use(self, settings: NotifySettings) -> None:
        """Use settings whose files were read again."""
        if self._notifier is not None and settings != self._settings:
            self._notifier.use(settings, self._targets(settings))
        self._settings = settings

    def send_to(self, post: PostNotice) -> None:
        """Report to another process."""
        self._post = post

    def post(self, notice: Notice, source: str) -> None:
        """Take a notice of another process, if this process delivers messages."""
        if self._notifier is not None:
            self._notifier.post(notice, source)

    def start(self) -> None:
        """Begin to report."""
        if not self._settings.targets:
            return
        if self._notifier is not None:
            self._notifier.start()
        # A worker that was restarted has none of the faults that its predecessor reported.
        for event, key in ((NotifyEvent.BREAKER, ""), (NotifyEvent.POLICY, _POLICY), (NotifyEvent.POLICY, _FILES)):
            self._report(Notice(event, key, {"fault": None}))
        if self._audits and self._settings.wants(NotifyEvent.AUDIT) and not self._auditing.running:
            auditing = self._auditing.start(CHECK_AUDIT_EVERY, now=False)
            auditing.addErrback(lambda failure: _log.failure("lost audit records are no longer reported", failure))

    def _report(self, notice: Notice) -> None:
        if self._post is not None and self._settings.wants(notice.event):
            self._post(notice)

    # -- events

    def approval(self, approval_id: str, pending: Mapping[str, Any] | None) -> None:
        """Report a pending approval.

        @param approval_id: its id.
        @param pending: the facts about it; C{None} when it is no longer pending.
        """
        data = {} if pending is None else {name: pending[name] for name in APPROVAL_FACTS}
        self._report(Notice(NotifyEvent.APPROVAL, approval_id, data))

    def breaker(self, cause: str | None) -> None:
        """Report that the circuit breaker opened or closed.

        @param cause: why it opened; C{None}: it closed.
        """
        self._report(Notice(NotifyEvent.BREAKER, "", {"fault": cause}))

    def reported(
        self, reload: Callable[[], Deferred[T]], *, only_policy: bool = False, without_policy: bool = False
    ) -> Deferred[T]:
        """Reload files, and report whether they can be loaded.

        @param reload: reloads the files; its Deferred fails with L{ConfigError} if they cannot be loaded.
        @param only_policy: whether only the policy is reloaded.
        @param without_policy: whether other processes report errors of the policy.
        @return: the result of C{reload}.
        """

        def loaded(result: T) -> T:
            for part in (_POLICY,) if only_policy else (_POLICY, _FILES):
                self._fault(part, None)
            return result

        def failed(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, ConfigError):
                # A later reload of only the policy can repair an error in the policy.
                part = _POLICY if only_policy or error.option == _POLICY_OPTION else _FILES
                if not (without_policy and part == _POLICY):
                    self._fault(part, str(error))
            return failure

        return reload().addCallbacks(loaded, failed)

    def _fault(self, part: str, fault: str | None) -> None:
        if self._faults.get(part) != fault:
            self._faults[part] = fault
            self._report(Notice(NotifyEvent.POLICY, part, {"fault": fault}))

    def _check_audit(self) -> None:
        lost = sum(each.lost for each in self._audits)
        if lost > self._lost:
            reason = next((each.fault for each in self._audits if each.fault is not None), None)
            self._report(Notice(NotifyEvent.AUDIT, "", {"reason": reason}, lost - self._lost))
            self._lost = lost

    # -- the end

    def close(self) -> Deferred[None]:
        """Report the last events, and wait for a short time until the messages are delivered.

        @return: fires when no message waits.
        """
        if self.sink is not None:
            self.sink.close()
        if self._auditing.running:
            self._auditing.stop()
            self._check_audit()
        if self._notifier is not None:
            return self._notifier.close()
        # The channel to the process that delivers messages writes in the next turn of the reactor.
        sends = self._post is not None and self._settings.targets
        return deferLater(self._clock, 0.0) if sends else succeed(None)
