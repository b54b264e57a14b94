"""The sink of shadow comparisons: it counts them, and logs and writes disagreements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from twisted.logger import Logger
from zope.interface import implementer

from egress.interfaces import IShadowSink
from egress.model.comparison import ShadowComparison, ShadowResult
from egress.model.decision import Decision
from egress.model.log_numbers import written_time
from egress.model.redact import redact_url
from egress.observability.audit_log import LineFile, LinesLost

_log = Logger()

_encode = json.JSONEncoder(separators=(",", ":")).encode

# At most this many disagreements are logged in this many seconds; the others are counted, and are in the file.
_LOGGED: Final = 10
_PERIOD: Final = 60.0


@implementer(IShadowSink)
class ShadowLog(Collector):
    """Counts comparisons and reports disagreements.

    @param clock: seconds, to limit how often a disagreement is logged.
    @param wall_clock: seconds since the epoch, for the file.
    @param path: the file to which a line of JSON is written for each disagreement.
    @raise OSError: when the file cannot be opened.
    """

    def __init__(
        self, clock: Callable[[], float], wall_clock: Callable[[], float], path: Path | str | None = None
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._file = None if path is None else LineFile(Path(path), clock=clock)
        self._counts = dict.fromkeys(ShadowResult, 0)
        self._since: float | None = None
        self._logged = 0
        self._lost = 0

    def write(self, comparison: ShadowComparison) -> None:
        """Process one comparison (L{IShadowSink.write})."""
        self._counts[comparison.result] += 1
        second = comparison.second
        if second is None or not comparison.differs:
            return
        url = redact_url(comparison.request.url)
        if self._may_log():
            self._log(comparison, second, url)
        if self._file is not None:
            try:
                self._file.write(_encode(self._line(comparison, second, url)).encode("ascii") + b"\n")
            except LinesLost as error:
                self._lose(error)

    def _may_log(self) -> bool:
        now = self._clock()
        if self._since is None or now - self._since >= _PERIOD:
            if self._logged > _LOGGED:
                _log.warn("{number} more disagreements were not logged", number=self._logged - _LOGGED)
            self._since = now
            self._logged = 0
        self._logged += 1
        return self._logged <= _LOGGED

    def _log(self, comparison: ShadowComparison, second: Decision, url: str) -> None:
        request, first = comparison.request, comparison.first
        _log.warn(
            "the shadow authorizer is {result}: {method} {url}: enforced {first}; shadow {second} ({request_id})",
            result=comparison.result.value,
            method=request.method,
            url=url,
            first=_in_words(first),
            second=_in_words(second),
            request_id=request.request_id,
        )

    def _line(self, comparison: ShadowComparison, second: Decision, url: str) -> dict[str, Any]:
        request, first = comparison.request, comparison.first
        return {
            "time": written_time(self._wall_clock()),
            "requestId": request.request_id,
            "stage": request.stage.value,
            "method": request.method,
            "url": url,
            "result": comparison.result.value,
            "verdict": first.verdict.value,
            "ruleId": first.rule_id,
            "policyVersion": first.policy_version,
            "reason": first.reason,
            "shadowVerdict": second.verdict.value,
            "shadowRuleId": second.rule_id,
            "shadowPolicyVersion": second.policy_version,
            "shadowReason": second.reason,
        }

    def _lose(self, error: LinesLost) -> None:
        if not self._lost:
            _log.error("the shadow log cannot be written: {error}", error=error)
        self._lost += error.lines

    def collect(self) -> Iterator[Metric]:
        """Return the metrics (C{Collector.collect})."""
        counter = CounterMetricFamily(
            "egress_shadow_decisions",
            "Authorization requests to the shadow authorizer, by comparison of its decision with the enforced one.",
            labels=["result"],
        )
        for result, number in self._counts.items():
            counter.add_metric([result.value], number)
        yield counter

    def close(self) -> None:
        """Close the file (L{IShadowSink.close})."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except LinesLost as error:
                self._lose(error)


def _in_words(decision: Decision) -> str:
    rule = "" if decision.rule_id is None else f" by {decision.rule_id}"
    return f"{decision.verdict.value}{rule}: {decision.reason}"
