"""Lines about requests in the log of the program, for people who watch a terminal.

The audit log has a record of every exchange.  The log has a limited number of lines: a client that sends many requests
that are denied cannot fill it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import classImplements

from egress.interfaces import IAuditSink
from egress.model.errors import OUTCOMES
from egress.model.record import ExchangeRecord
from egress.model.tls_alert import CLOSED_IN_HANDSHAKE, distrust_in
from egress.observability.audit_log import audit_fields
from egress.runtime.log_lines import ABSENT

_log = Logger()

PERIOD: Final = 10.0
"""The seconds of a period, in which the number of lines is limited."""

MOST_LINES: Final = 50
"""The maximum number of lines about denied requests in a period."""

MOST_OF_A_PAIR: Final = 5
"""The maximum number of these lines about one client and one host."""

DISTRUST_PERIOD: Final = 600.0
"""The seconds between two lines about one client that does not trust the CA for one host."""

# The summaries of a period, and the pairs of client and host that are remembered.
_MOST_SUMMARIES: Final = 5
_MOST_PAIRS: Final = 1000

_LINE: Final = (
    "{verdict} {status} {method} {url} from {client}: {reason} "
    "({outcome}, rule {ruleId}, HTTP {clientHttp} to {originHttp}, {durationMs} ms)"
)
_NAMED: Final = (
    "{verdict} {status} {method} {url} from {identity} at {client}: {reason} "
    "({outcome}, rule {ruleId}, HTTP {clientHttp} to {originHttp}, {durationMs} ms)"
)
# The keys of these formats, and further keys for observers.
_KEYS: Final = (
    *("verdict", "status", "method", "url", "client", "identity", "reason", "outcome", "ruleId", "durationMs"),
    *("clientHttp", "originHttp", "requestId", "observed"),
)
_LONGEST: Final = 400

_FAILED: Final = frozenset(outcome.code for outcome in OUTCOMES.values() if outcome.verdict == "failed")
# The client sent no request, or no longer waited for a response: browsers do this all the time.
_UNREMARKABLE: Final = frozenset({"tunnel-without-request", "client-disconnected"})

_Pair = tuple[str, str]


class RequestLog:
    """Writes lines about requests to the log.

    A request that was forwarded has the level C{info}, and any other request C{warn}.

    @param clock: the reactor.
    @param every: whether each request has a line; otherwise a limited number of the requests that were not forwarded,
        or whose origin failed.
    @param most_pairs: the maximum number of pairs of client and host that are remembered.
    """

    def __init__(self, clock: IReactorTime, *, every: bool, most_pairs: int = _MOST_PAIRS) -> None:
        self._clock = clock
        self._every = every
        self._most_pairs = most_pairs
        self._written = 0
        self._counts: dict[_Pair, int] = {}
        self._omitted: dict[_Pair, int] = {}
        self._omitted_others = 0
        self._period: IDelayedCall | None = None
        self._distrusting: OrderedDict[_Pair, float] = OrderedDict()

    def write(self, record: ExchangeRecord) -> None:
        """Write a line about one exchange, if it has one (L{IAuditSink.write})."""
        if record.verdict == "allow" and record.outcome not in _FAILED and record.observed is None:
            if self._every:
                _write(record)
            return
        if record.outcome == "client-tls-failed":
            self._distrust(record)
            if not self._every and _sign_of(record) is not None:
                return
        if self._every or (record.outcome not in _UNREMARKABLE and self._may_write(record)):
            _write(record)

    def _may_write(self, record: ExchangeRecord) -> bool:
        """Count a line, and return whether the limits permit it."""
        if self._period is None:
            self._period = self._clock.callLater(PERIOD, self._end_period)
        pair = _pair_of(record)
        count = self._counts.get(pair, 0)
        if count < MOST_OF_A_PAIR and self._written < MOST_LINES:
            self._counts[pair] = count + 1
            self._written += 1
            return True
        if pair in self._omitted or len(self._omitted) < self._most_pairs:
            self._omitted[pair] = self._omitted.get(pair, 0) + 1
        else:
            self._omitted_others += 1
        return False

    def _end_period(self) -> None:
        """Write how many lines were omitted, first about the pairs with the most lines."""
        self._period = None
        pairs = sorted(self._omitted.items(), key=lambda item: -item[1])
        for (client, host), number in pairs[:_MOST_SUMMARIES]:
            _log.warn(
                "{number} more requests from {client} to {host} were denied or failed in {seconds:g} seconds",
                number=number,
                client=client,
                host=host or ABSENT,
                seconds=PERIOD,
            )
        rest = self._omitted_others + sum(number for _, number in pairs[_MOST_SUMMARIES:])
        if rest:
            _log.warn(
                "{number} more requests of other clients or hosts were denied or failed in {seconds:g} seconds",
                number=rest,
                seconds=PERIOD,
            )
        self._written = self._omitted_others = 0
        self._counts.clear()
        self._omitted.clear()

    def _distrust(self, record: ExchangeRecord) -> None:
        """Report a client that does not trust the CA, once in a while for each host."""
        sign, pair, now = _sign_of(record), _pair_of(record), self._clock.seconds()
        if sign is None or now - self._distrusting.get(pair, -DISTRUST_PERIOD) < DISTRUST_PERIOD:
            return
        self._distrusting[pair] = now
        self._distrusting.move_to_end(pair)
        if len(self._distrusting) > self._most_pairs:
            self._distrusting.popitem(last=False)
        if not sign:
            _log.warn(
                "{client} closed the connection in the TLS handshake for {host}. If it does not trust the CA, run "
                "egress trust there, or set the variables of egress env. See docs/how-to/clients.md",
                client=record.client.address,
                host=pair[1],
            )
            return
        _log.warn(
            "{client} does not trust the CA for {host} ({sign}). Run egress trust there, or set the variables of "
            "egress env. If it pins certificates, use --passthrough {host}. See docs/how-to/clients.md",
            client=record.client.address,
            host=pair[1],
            sign=sign,
        )

    def close(self) -> None:
        """Write the summaries (L{IAuditSink.close})."""
        if self._period is not None:
            self._period.cancel()
            self._end_period()


# A decorator would keep the compiler from making the class a native one.
classImplements(RequestLog, IAuditSink)


def _write(record: ExchangeRecord) -> None:
    found = audit_fields(record)
    fields: dict[str, Any] = {key: ABSENT if found[key] in (None, "") else found[key] for key in _KEYS}
    if record.observed is not None:
        fields["verdict"] = f"observed-{record.observed}"
    for key in ("url", "reason"):
        text = fields[key]
        if text is not ABSENT and len(text) > _LONGEST:
            fields[key] = f"{text[:_LONGEST]}…"
    if record.verdict == "allow" and record.outcome not in _FAILED and record.observed is None:
        if record.client.identity is None:
            _log.info(_LINE, **fields)
        else:
            _log.info(_NAMED, **fields)
    elif record.client.identity is None:
        _log.warn(_LINE, **fields)
    else:
        _log.warn(_NAMED, **fields)


def _sign_of(record: ExchangeRecord) -> str | None:
    """Return the alert of a client that does not trust the CA; an empty text for a client that sent none.

    @return: C{None}: the handshake failed for another reason.
    """
    return "" if record.reason.startswith(CLOSED_IN_HANDSHAKE) else distrust_in(record.reason)


def _pair_of(record: ExchangeRecord) -> _Pair:
    try:
        host = urlsplit(record.url).hostname or ""
    except ValueError:
        # The URL of a request that was rejected can be any text.
        host = ""
    return record.client.limit_key, host[:_LONGEST]
