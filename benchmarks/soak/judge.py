"""Joins the observations of each request by its id, and judges them.  Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

# The permitted outcomes of a request for its client.  Every other outcome is a failure.
ANSWERED = frozenset({"complete", "problem"})
CUT = "cut"
LEFT = "left"

# The methods whose requests an origin may receive twice (RFC 9110 section 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD"})

# An intercepted tunnel that ends before a request has an audit record without an id.
_WITHOUT_REQUEST = frozenset({"tunnel-without-request", "client-tls-failed"})

# The warm-up share of a run, and the minimum number of samples for a trend.
_WARM_UP = 0.1
_ENOUGH = 120


@dataclass(frozen=True)
class Asked:
    """A request, as its client observed it.

    @ivar id: the id in its URL; for a passthrough tunnel, the identity of its CONNECT.
    @ivar kind: the kind of the client.
    @ivar sent: whether the complete head was sent.
    @ivar outcome: C{complete}, C{problem}, C{cut} after the start of a response, C{left} by the client itself; or
        C{closed} without a response, C{silence}, C{wrong} content.
    @ivar detail: the status and the code of a problem, or other details.
    """

    id: str
    kind: str
    method: str
    sent: bool
    outcome: str
    detail: str = ""

    @property
    def is_tunnel(self) -> bool:
        """Whether the proxy did not read the content."""
        return self.kind == "tunnel"


@dataclass(frozen=True)
class Question:
    """An authorization request and its decision.

    @ivar at: the start of the response on the shared clock.
    @ivar verdict: C{allow} or C{deny}; C{none} for a response without a decision.
    """

    at: float
    request: str
    id: str
    verdict: str


@dataclass(frozen=True)
class Seen:
    """A request that reached an origin."""

    at: float
    id: str
    method: str


@dataclass(frozen=True)
class Record:
    """A line of the audit log."""

    request: str
    id: str
    verdict: str
    outcome: str


@dataclass(frozen=True)
class Sample:
    """The resources of all processes of the proxy at one moment."""

    at: float
    rss: int
    descriptors: int


@dataclass(frozen=True)
class Tolerance:
    """The tolerated increase of the median from the first quarter to the last.

    @ivar rss: bytes, or C{rss_share} of the first median if that is more.
    """

    rss: int = 8 << 20
    rss_share: float = 0.1
    descriptors: int = 40


@dataclass(frozen=True)
class Trend:
    """The trend of a resource after the warm-up.

    @ivar per_minute: the slope of a line through all samples.
    """

    start: float
    end: float
    most: float
    per_minute: float


@dataclass
class Verdict:
    """The result of a run.

    @ivar failures: one sentence for each failure; empty if the proxy has passed.
    @ivar counts: the number of each outcome.
    """

    failures: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    rss: Trend | None = None
    descriptors: Trend | None = None

    @property
    def passed(self) -> bool:
        """Whether there is no failure."""
        return not self.failures

    def as_json(self) -> dict[str, object]:
        """All of it."""
        return {"passed": self.passed, **asdict(self)}


def judge(
    asked: Sequence[Asked],
    questions: Sequence[Question],
    seen: Sequence[Seen],
    records: Sequence[Record],
    samples: Sequence[Sample] = (),
    tolerance: Tolerance = Tolerance(),
) -> Verdict:
    """Join all observations."""
    verdict = Verdict()
    verdict.failures += _forwarded_without_leave(questions, seen, records)
    verdict.failures += _clients(asked, seen, records)
    verdict.failures += _records(questions, records)
    verdict.counts = {
        "requests": dict(Counter(one.kind for one in asked)),
        "outcomes": dict(Counter(one.outcome for one in asked)),
        "problems": dict(Counter(one.detail for one in asked if one.outcome == "problem")),
        "audit": dict(Counter(f"{one.verdict}, {one.outcome}" for one in records)),
        "questions": dict(Counter(one.verdict for one in questions)),
        "origins": {"requests seen": len(seen), "different": len({one.id for one in seen})},
    }
    if len(samples) >= _ENOUGH:
        verdict.rss = trend([(one.at, one.rss) for one in samples])
        verdict.descriptors = trend([(one.at, one.descriptors) for one in samples])
        verdict.failures += _growth(verdict.rss, verdict.descriptors, tolerance)
    return verdict


def _by_id(found: Iterable[Record]) -> Mapping[str, list[Record]]:
    joined: dict[str, list[Record]] = defaultdict(list)
    for one in found:
        joined[one.id].append(one)
    return joined


def _forwarded_without_leave(
    questions: Sequence[Question], seen: Sequence[Seen], records: Sequence[Record]
) -> Iterable[str]:
    """Each request that an origin received has an earlier allow, and one audit record of this decision."""
    allowed: dict[str, Question] = {}
    for question in questions:
        if question.verdict == "allow":
            allowed.setdefault(question.id, question)
    on_record = _by_id(records)
    times = Counter(one.id for one in seen)
    for one in seen:
        leave = allowed.get(one.id)
        if leave is None or leave.at > one.at:
            yield f"{one.id}: an origin received it {'without' if leave is None else 'before'} an allow"
            continue
        its = on_record.get(one.id, [])
        if [(record.verdict, record.request) for record in its] != [("allow", leave.request)]:
            yield f"{one.id}: an origin received it, and its audit records are {its}"
        if times[one.id] > 1 and one.method not in IDEMPOTENT:
            yield f"{one.id}: an origin received a {one.method} {times[one.id]} times"


def _clients(asked: Sequence[Asked], seen: Sequence[Seen], records: Sequence[Record]) -> Iterable[str]:
    """Each client got a response, and each request has one audit record."""
    on_record, reached = _by_id(records), {one.id for one in seen}
    for one in asked:
        # Inside a tunnel, the origin cuts the connection.
        accepted = one.outcome in ANSWERED or one.outcome in (CUT, LEFT) or (one.is_tunnel and one.outcome == "closed")
        if not accepted:
            yield f"{one.id}: {one.kind} {one.method} ended with {one.outcome} ({one.detail})"
        if one.outcome == "complete" and one.id not in reached:
            yield f"{one.id}: the client got a response of an origin that did not receive the request"
        count = len(on_record.get(one.id, ()))
        if count > 1 or (one.sent and not count):
            yield f"{one.id}: {one.kind} {one.method}, {one.outcome} ({one.detail}), has {count} audit records"
    if asked and not any(one.outcome == "complete" for one in asked):
        yield "no client got a response of an origin"
    known = {one.id for one in asked}
    for record in records:
        if not record.id and record.verdict == "rejected" and record.outcome in _WITHOUT_REQUEST:
            continue
        if record.id not in known:
            yield f"{record.id or record.request}: an audit record of a request that no client sent ({record.outcome})"


def _records(questions: Sequence[Question], records: Sequence[Record]) -> Iterable[str]:
    """Each audit record contains the decision of the authorization service."""
    said = {question.request: question.verdict for question in questions}
    for one in records:
        if one.verdict in ("allow", "deny") and said.get(one.request) != one.verdict:
            decided = said.get(one.request)
            yield f"{one.id}: the audit record has {one.verdict}; the authorization service decided {decided}"


# -- growth


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend after the warm-up: the medians of the first and the last quarter, and the slope."""
    rest = points[int(len(points) * _WARM_UP) :]
    quarter = max(1, len(rest) // 4)
    first, last = ([value for _, value in part] for part in (rest[:quarter], rest[-quarter:]))
    mean_at = sum(at for at, _ in rest) / len(rest)
    mean = sum(value for _, value in rest) / len(rest)
    spread = sum((at - mean_at) ** 2 for at, _ in rest)
    slope = sum((at - mean_at) * (value - mean) for at, value in rest) / spread if spread else 0.0
    return Trend(median(first), median(last), max(value for _, value in points), slope * 60)


def _growth(rss: Trend, descriptors: Trend, tolerance: Tolerance) -> Iterable[str]:
    if rss.end - rss.start > max(tolerance.rss, tolerance.rss_share * rss.start):
        yield f"memory grows: from {rss.start / 2**20:.1f} to {rss.end / 2**20:.1f} MiB"
    if descriptors.end - descriptors.start > tolerance.descriptors:
        yield f"descriptors grow: from {descriptors.start:.0f} to {descriptors.end:.0f}"
