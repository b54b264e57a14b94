"""The summary of the requests of one command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import attrs
from zope.interface import implementer

from egress.interfaces import IAuditSink
from egress.launch.policy_source import PolicySource
from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.counted import counted
from egress.model.decision import Stage
from egress.model.errors import OUTCOMES, InvalidTarget, ProxyAddressed, TunnelWithoutRequest
from egress.model.record import ExchangeRecord
from egress.model.redact import redact_url
from egress.observability.audit_log import audit_line
from egress.policy.learn.audit_reader import AuditLine, LineFault, read_line
from egress.policy.learn.suggest import Suggestion
from egress.policy.learn.writer import write_rules
from egress.runtime.colors import Color

# The maximum number of different destinations, and of refusals: stored, and shown.
MAX_STORED: Final = 1000
SHOWN: Final = 10
# The maximum number of requests from which a policy is learned, or which a lock file records.
MAX_LEARNED: Final = 100_000
_MAX_RULES: Final = 10
_ALLOW: Final = "allow"
_DENIED: Final = "denied"
_FORWARDED: Final = "forwarded"
_UNUSED: Final = OUTCOMES[TunnelWithoutRequest].code
_PROXY_ADDRESSED: Final = OUTCOMES[ProxyAddressed].code


Style = Callable[[str, Color | None], str]
"""Prepares a line for a terminal, in a color or without one."""


@attrs.frozen
class Refusal:
    """What several requests have in common that were refused, or that were allowed and failed.

    @ivar method: C{CONNECT} for a tunnel.
    @ivar url: the URL without its query; host and port for a tunnel.
    @ivar outcome: the error code.
    @ivar reason: the reason in the response.
    @ivar rule_id: the rule that denied them, if the authorizer names one.
    """

    method: str
    url: str
    outcome: str
    reason: str
    rule_id: str | None = None


@implementer(IAuditSink)
class Summary:
    """Collects the audit records of a proxy.

    @ivar requests: the number of requests and tunnels.
    @ivar allowed: how many of them an authorizer allowed.
    @ivar refused: how many of them were denied, or rejected by the proxy, or could not be authorized.
    @ivar failed: how many of the allowed ones failed later.
    @ivar observed: how many of the allowed ones only observe mode allowed.
    @ivar traffic: the allowed requests whose name was resolved, to learn a policy from them.
    @ivar destinations: the hosts, with ports, of these requests.
    @ivar refusals: the number of requests for each refusal.
    @ivar failures: the number of requests for each failure of an allowed request.
    @ivar not_stored: the number of requests that are counted, but not among the destinations, refusals and failures.
    @ivar warnings: the warnings about the proxy.
    @ivar new_destinations: the destinations that are not in the lock file; C{None} without one.

    @param observe: is called with each request for which there is a decision, up to L{MAX_LEARNED}.
    @param policy: the policy that decides; C{None} if something else decides.
    """

    def __init__(
        self, observe: Callable[[AuditLine], None] = lambda _: None, policy: PolicySource | None = None
    ) -> None:
        self._observe = observe
        self._policy = policy
        self._decided = 0
        self.requests = 0
        self.allowed = 0
        self.failed = 0
        self.observed = 0
        self.traffic = Suggestion()
        self.destinations: Counter[str] = Counter()
        self.refusals: Counter[Refusal] = Counter()
        self.failures: Counter[Refusal] = Counter()
        self.not_stored = 0
        self.warnings: list[str] = []
        self.new_destinations: list[str] | None = None
        self._denied = Suggestion()
        # The hosts, with ports, that received a request inside TLS, and the tunnels in which there was none.
        self._requested: set[str] = set()
        self._unused: list[tuple[str, Refusal]] = []

    @property
    def refused(self) -> int:
        """See the class."""
        return self.requests - self.allowed

    def add_warning(self, warning: str | None) -> None:
        """Add a warning about the proxy, if there is one."""
        if warning is not None:
            self.warnings.append(warning)

    def write(self, record: ExchangeRecord) -> None:
        """See L{IAuditSink.write}."""
        if record.outcome == _PROXY_ADDRESSED:
            # For example, a request of a health check.
            return
        if record.outcome == _UNUSED and len(self._unused) < MAX_STORED:
            self._unused.append((_authority(record.url), _refusal(record, record.url)))
            return
        self.requests += 1
        line = _parsed(record)
        if line is not None and line.stage is Stage.REQUEST and len(self._requested) < MAX_STORED:
            self._requested.add(str(line.origin.authority))
        if line is not None and self._decided < MAX_LEARNED:
            self._decided += 1
            self._observe(line)
        if record.verdict == _ALLOW:
            self.allowed += 1
            if record.outcome != _FORWARDED:
                self.failed += 1
                self._count(self.failures, _refusal(record, record.url if line is None else line.url))
            self.observed += record.observed is not None
            if line is not None and line.left:
                if self.traffic.requests < MAX_LEARNED:
                    self.traffic.add(line)
                self._count(self.destinations, str(line.origin.authority))
            return
        refusal = _refusal(record, record.url if line is None else line.url)
        stored = self._count(self.refusals, refusal)
        if stored and line is not None and record.verdict == "deny" and record.outcome == _DENIED:
            self._denied.add(line)

    def _count(self, counter: Counter[str] | Counter[Refusal], item: object) -> bool:
        if item not in counter and len(counter) >= MAX_STORED:
            self.not_stored += 1
            return False
        counter[item] += 1  # type: ignore[index]
        return True

    def close(self) -> None:
        """Count the tunnels without a request, if no other tunnel to the host had one (L{IAuditSink.close}).

        Browsers open connections in advance.  A client that does not accept the CA sends no request to the host.
        """
        for authority, refusal in self._unused:
            if authority not in self._requested:
                self.requests += 1
                self._count(self.refusals, refusal)
        self._unused.clear()

    def fix(self) -> tuple[str, str] | None:
        """Return how to allow the denied requests, and the TOML to add; C{None} if no policy denied any."""
        if self._policy is None or not self._denied.requests:
            return None
        denied_by = {refusal.rule_id for refusal in self.refusals if refusal.outcome == _DENIED and refusal.rule_id}
        return self._policy.instruction(denied_by), self._policy.complete(write_rules(self._denied, _MAX_RULES))

    def rule_of(self, refusal: Refusal) -> str | None:
        """Return the rule that denied a request, and its place; C{None} if something else refused it."""
        if refusal.outcome != _DENIED:
            return None
        if refusal.rule_id is None or self._policy is None:
            return refusal.rule_id
        return self._policy.name_of(refusal.rule_id)

    def lines(self, style: Style = lambda text, _: text) -> Iterator[str]:
        """Write the summary as text.

        @param style: prepares a line for a terminal, in a color or without one.
        """
        parts = [counted(self.requests, "request"), f"{self.allowed:,} allowed", f"{self.refused:,} refused"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.observed:
            parts.append(f"{self.observed:,} would be denied without observe mode")
        yield style(", ".join(parts), Color.BOLD)
        for refusal, number in self.refusals.most_common(SHOWN):
            times = f" ({number:,} times)" if number > 1 else ""
            yield style(f"  {refusal.outcome}: {refusal.method} {refusal.url}{times}", Color.RED)
            yield style(f"    reason: {refusal.reason}", None)
            rule = self.rule_of(refusal)
            if rule is not None:
                yield style(f"    rule: {rule}", None)
        more = len(self.refusals) - SHOWN
        if more > 0:
            yield style(f"  and {counted(more, 'other refusal')}", None)
        for failure, number in self.failures.most_common(SHOWN):
            times = f" ({number:,} times)" if number > 1 else ""
            yield style(f"  failed, {failure.outcome}: {failure.method} {failure.url}{times}", Color.RED)
            yield style(f"    reason: {failure.reason}", None)
        more = len(self.failures) - SHOWN
        if more > 0:
            yield style(f"  and {counted(more, 'other failure')}", None)
        if fix := self.fix():
            instruction, text = fix
            yield style(f"  {instruction}", Color.CYAN)
            yield ""
            for line in text.splitlines():
                if not line.startswith("#"):
                    yield style(f"    {line}", Color.GREEN) if line else ""
        if self.destinations:
            yield style(
                f"  destinations: {', '.join(sorted(self.destinations)[:SHOWN])}{_rest(len(self.destinations))}", None
            )


def _refusal(record: ExchangeRecord, url: str) -> Refusal:
    return Refusal(record.method, redact_url(url).partition("?")[0], record.outcome, record.reason, record.rule_id)


def _authority(url: str) -> str:
    """Return the host and the port of a tunnel with TLS."""
    try:
        return str(Authority.parse(url.partition("://")[2], DEFAULT_PORTS["https"]))
    except InvalidTarget:
        return url


def _rest(number: int) -> str:
    return f" and {number - SHOWN:,} more" if number > SHOWN else ""


def _parsed(record: ExchangeRecord) -> AuditLine | None:
    """Return the record as the audit log has it; C{None} if it has no decision."""
    try:
        return read_line(audit_line(record))
    except LineFault:
        return None
