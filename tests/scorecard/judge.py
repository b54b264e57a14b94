"""Computes the outcome of a case from the observations of client, origins and authorizer."""

from __future__ import annotations

import enum
import re
from urllib.parse import quote

import attrs

from tests.scorecard.cases import FRESH, UNASKED, Case, Must
from tests.scorecard.http2_wire import Reader
from tests.scorecard.messages import Ambiguous, Incomplete, Message, read_request, read_response
from tests.scorecard.socks_wire import Conversation


class Kind(enum.Enum):
    """The kind of an outcome."""

    REFUSED = "rejected"
    CLOSED = "closed"
    NORMALIZED = "well framed"
    CUT = "truncated"
    UNAUTHORIZED = "not authorized"
    HANG = "hang"


@attrs.frozen
class Question:
    """One access decision of a proxy.

    @ivar content: C{None} if the decision did not use the content.
    @ivar client: the address of the client; C{None} if the decision did not use it.
    """

    method: str
    url: str
    content: bytes | None
    allowed: bool
    client: str | None = None


@attrs.frozen
class Arrival:
    """One connection to an origin.

    @ivar tls: whether the origin speaks TLS.
    @ivar data: all bytes, decrypted.
    @ivar switched: whether the origin responded with 101.
    """

    port: int
    tls: bool
    data: bytes
    switched: bool = False


@attrs.frozen
class Seen:
    """All observations of one case.

    @ivar received: the bytes that the client received, without the 200 response to the CONNECT of the driver, and
        without messages of SOCKS.
    @ivar closed: whether the proxy closed the client's connection.
    @ivar refusal: the message of SOCKS that rejected the client; empty if there is none.
    """

    received: bytes
    closed: bool
    arrivals: tuple[Arrival, ...] = ()
    questions: tuple[Question, ...] = ()
    refusal: str = ""


def seen_by(
    case: Case, received: bytes, closed: bool, arrivals: tuple[Arrival, ...], questions: tuple[Question, ...]
) -> Seen:
    """Return the observations of a case, with responses of HTTP/2 in the form of HTTP/1.1."""
    refusal = ""
    if case.socks:
        conversation = Conversation(received)
        received, refusal = conversation.rest, conversation.refusal
    if case.http2:
        reader = Reader(received)
        streams = {frame.stream for part in case.http2 for frame in part}
        received, closed = reader.responses(), closed or reader.over(streams)
    return Seen(received, closed, arrivals, questions, refusal)


@attrs.frozen
class Outcome:
    """The outcome of a case.

    @ivar count: the number of forwarded requests or responses.
    @ivar status: the status, or the message of SOCKS, that rejected the request or the data after it.
    @ivar why: the unauthorized data.
    """

    kind: Kind
    count: int = 0
    status: int | str | None = None
    why: str = ""

    def __str__(self) -> str:
        match self.kind:
            case Kind.REFUSED:
                return f"rejected {self.status}"
            case Kind.NORMALIZED:
                times = f" ×{self.count}" if self.count > 1 else ""
                return f"{self.kind.value}{times}" + (f", then {self.status}" if self.status else "")
            case Kind.UNAUTHORIZED:
                return f"**not authorized**: {self.why}"
        return str(self.kind.value)

    def meets(self, must: Must) -> bool:
        """Whether the case permits this outcome."""
        match self.kind:
            case Kind.REFUSED:
                return self.status in must.statuses
            case Kind.CLOSED:
                return must.closed
            case Kind.CUT:
                return must.cut
            case Kind.NORMALIZED:
                return self.count == must.forwarded and (self.status in must.then if must.then else self.status is None)
        return False


def _unauthorized(why: str) -> Outcome:
    return Outcome(Kind.UNAUTHORIZED, why=why)


# Port numbers differ in each run.
_PORT = re.compile(r"(?<=[a-z0-9.\]]):[0-9]{4,5}")
_ANSWER = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


def refusals(received: bytes) -> list[int]:
    """Return the error statuses in the received bytes, read leniently, because peers send them in many forms."""
    return [int(status) for status in _ANSWER.findall(received) if status >= b"400"]


def requests_of(arrival: Arrival) -> list[Message]:
    """Return the requests that arrived over one connection.

    @raise Ambiguous: when the bytes have more than one reading.
    """
    found: list[Message] = []
    rest = arrival.data
    while rest:
        try:
            message, rest = read_request(rest)
        except Incomplete:
            raise Ambiguous("an incomplete head") from None
        found.append(message)
        if arrival.switched and (message.field(b"upgrade") or b"").lower() == b"websocket":
            break  # the rest is the other protocol
    return found


_SPELLING = re.compile(r"""[^!-~]|[\\#"<>^`{|}]""")
_AUTHORITY = re.compile(r"(https?://[^/?#:\[]*?)\.?((?::[0-9]+)?)(?=[/?#]|$)")


def _one_spelling(url: str) -> str:
    """Return the canonical spelling: case and root dot of the host, and characters that must be encoded.

    The encoding is normalized because a proxy may encode the URL for its access decision.
    """
    url = _AUTHORITY.sub(lambda match: match[1].lower() + match[2], url, count=1)
    return _SPELLING.sub(lambda match: quote(match[0], errors="surrogateescape"), url)


def _asked_for(message: Message, arrival: Arrival) -> str | None:
    """The URL of a request as the origin reads it; C{None} if Host and target differ, or name another origin."""
    host = (message.field(b"host") or b"").decode("latin-1")
    target = message.start[1].decode("utf-8", "surrogateescape")
    scheme = "https" if arrival.tls else "http"
    origin = _one_spelling(f"{scheme}://{host}")
    if not origin.endswith(f":{arrival.port}"):
        return None
    if target.startswith("/") or target == "*":
        return origin + ("" if target == "*" else _one_spelling(target))
    url = _one_spelling(target)
    return url if url.startswith(f"{origin}/") else None


def _authorized(message: Message, arrival: Arrival, questions: list[Question]) -> bool:
    """Remove the decision about a request, if there is one that allows it."""
    url = _asked_for(message, arrival)
    method = message.start[0].decode("latin-1")
    for question in questions:
        same = question.method == method and _one_spelling(question.url) == url
        if same and question.allowed and (question.content in (None, message.content) or not message.complete):
            questions.remove(question)
            return True
    return False


def _judge_request(seen: Seen) -> Outcome:
    questions = list(seen.questions)
    count = 0
    for arrival in seen.arrivals:
        try:
            messages = requests_of(arrival)
        except Ambiguous as fault:
            return _unauthorized(f"the origin received {fault}")
        for message in messages:
            if not _authorized(message, arrival, questions):
                line = b" ".join(message.start[:2]).decode("latin-1")
                host = (message.field(b"host") or b"").decode("latin-1")
                return _unauthorized(
                    f"the origin received {_PORT.sub('', line)[:60]!r} for {_PORT.sub('', host)!r}, without a decision"
                )
            count += 1
    if UNASKED in seen.received:
        return _unauthorized("the client received the data after a 101")
    refused: list[int | str] = [seen.refusal] if seen.refusal else [*refusals(seen.received)]
    if count:
        return Outcome(Kind.NORMALIZED, count, refused[-1] if refused else None)
    if refused:
        return Outcome(Kind.REFUSED, status=refused[-1])
    return Outcome(Kind.CLOSED if seen.closed else Kind.HANG)


def _answers(case: Case, seen: Seen) -> list[Message]:
    """The final responses that the client received, in order; the last one may be incomplete."""
    methods = [part.split(b" ", 1)[0] for part in case.sent]
    found: list[Message] = []
    rest = seen.received
    while rest:
        if len(found) == len(methods):
            raise Ambiguous("more responses than requests")
        try:
            message, rest = read_response(rest, methods[len(found)], seen.closed)
        except Incomplete:
            if seen.closed:
                raise Ambiguous("an incomplete head") from None
            break
        if message.status >= 200:
            found.append(message)
    return found


def _judge_reply(case: Case, seen: Seen) -> Outcome:
    try:
        answers = _answers(case, seen)
    except Ambiguous as fault:
        return _unauthorized(f"the client received {fault}")
    if not answers:
        return Outcome(Kind.CUT if seen.closed else Kind.HANG)
    first = answers[0]
    if not first.complete:
        return Outcome(Kind.CUT if seen.closed else Kind.HANG)
    for message in answers[1:]:
        if message.content != FRESH.partition(b"\r\n\r\n")[2] and message.status < 400:
            return _unauthorized(f"the response to the second request is {message.content[:40]!r}")
    if first.status >= 400:
        # The origins of these cases send no such status, except a 407 that a proxy must not forward.
        return Outcome(Kind.REFUSED, status=first.status)
    return Outcome(Kind.NORMALIZED, 1)


def judge(case: Case, seen: Seen) -> Outcome:
    """Return the outcome of a case."""
    if case.apart and any(one.data.count(b" HTTP/1.1\r\n") > 1 for one in seen.arrivals):
        return _unauthorized("an authenticated connection carried the request of another client")
    for question in seen.questions:
        if case.client is not None and question.client not in (None, case.client):
            return _unauthorized(f"the decision is about the client {question.client}")
    asked = _judge_request(seen)
    if case.by_content and not case.one_reading and asked.kind is Kind.NORMALIZED and case.must.forwarded is None:
        return _unauthorized("the origin received content that is denied, or has more than one reading")
    if not case.reply or asked.kind in (Kind.UNAUTHORIZED, Kind.REFUSED):
        return asked
    return _judge_reply(case, seen)
