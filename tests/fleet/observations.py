"""What the programs of a fleet observe.  All times are of one monotonic clock of the machine.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

REDIS = "redis"
POSTGRESQL = "postgresql"
AUTHORIZER = "authorizer"
HAPROXY = "haproxy"

# The outcomes of a request for its client.
COMPLETE = "complete"
PROBLEM = "problem"
CUT = "cut"
CLOSED = "closed"

# The paths of requests: their decisions are cached, are not cached, or are denials, or an approver decides.
KEPT = "/kept/"
ONCE = "/once/"
DENIED = "/denied/"
ASKED = "/asked/"

# The paths of requests that are charged to a number of requests, or to a number of bytes.
REQUESTS = "/requests/"
BYTES = "/bytes/"

_ID = re.compile(r"[?&]id=([a-z0-9-]+)")


def id_in(url: str) -> str:
    """Return the id in the query of a URL, or an empty string."""
    found = _ID.search(url)
    return found[1] if found else ""


def path_of(url: str) -> str:
    """Return the path of a URL, without its query."""
    return "/" + url.partition("://")[2].partition("?")[0].partition("/")[2]


@dataclass(frozen=True)
class Sent:
    """A request, as its client observed it.

    @ivar address: the source address of its connection.
    @ivar sent: the time before its head was sent.
    @ivar ended: the time at which its outcome was known.
    @ivar outcome: C{complete}, C{problem} for an error response of the proxy, C{cut} within a response, C{closed}
        without one; any other one is a failure.
    @ivar detail: the status and the code of a problem, or other details.
    """

    id: str
    address: str
    method: str
    path: str
    sent: float
    ended: float
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Held:
    """A tunnel that a client holds open.

    @ivar identity: the name of its client, which several tunnels have one after the other.
    @ivar asked: the time before its C{CONNECT} was sent.
    @ivar opened: the time at which it was open; C{None}: it was never open.
    @ivar ended: the time of its end.
    @ivar is_cut: whether its client did not end it.
    """

    id: str
    identity: str
    address: str
    asked: float
    opened: float | None
    ended: float
    is_cut: bool
    detail: str = ""


@dataclass(frozen=True)
class Seen:
    """A request, or the request in a tunnel, that reached the origin."""

    at: float
    id: str
    method: str
    path: str


@dataclass(frozen=True)
class Question:
    """An authorization request, and the decision of the service.

    @ivar at: the time before the response was sent.
    @ivar request: the id that the proxy gave to the request.
    @ivar id: the id in the URL; for a tunnel, the source address of its connection.
    """

    at: float
    request: str
    id: str
    method: str
    path: str
    is_allow: bool


@dataclass(frozen=True)
class Record:
    """A record of the audit log of a replica, or of the audit store.

    @ivar replica: the name of the replica; empty in the store.
    @ivar request: the id that the proxy gave to the request.
    @ivar id: the id in the URL.
    @ivar client: the address of the client.
    """

    replica: str
    request: str
    id: str
    client: str
    stage: str
    verdict: str
    outcome: str


@dataclass(frozen=True)
class Fault:
    """A fault that was injected.

    @ivar target: the name of a replica, or one of the constants above.
    @ivar began: the time before it.
    @ivar away: the time at which the target did not work any more: a process does not end at once.
    @ivar repaired: the time at which the target worked again.
    """

    target: str
    began: float
    away: float
    repaired: float


@dataclass(frozen=True)
class Revocation:
    """A revocation of C{egress revoke}.

    @ivar replica: the replica that received it.
    @ivar kind: C{all}, C{client} or C{host}.
    @ivar value: the name of the client, or the host.
    @ivar at: the time before the command.
    @ivar done: the time at which the command ended: it waits for confirmations of other replicas.
    """

    replica: str
    kind: str
    value: str
    at: float
    done: float


@dataclass(frozen=True)
class Approval:
    """An approver's allow of one request.

    @ivar id: the id in the URL of the request.
    @ivar replica: the replica that received it.
    @ivar at: the time before the command.
    @ivar is_confirmed: whether the command succeeded; otherwise, it can have an effect, too.
    """

    id: str
    replica: str
    at: float
    is_confirmed: bool = True


@dataclass(frozen=True)
class Limit:
    """A budget of a rule for all requests with a path.

    @ivar amount: the number of requests or bytes in the time.
    @ivar per: the time, in seconds.
    @ivar capacity: the number that a full budget permits immediately.
    @ivar in_flight: the number that clients have at most in flight.
    """

    path: str
    amount: int
    per: int
    capacity: int
    in_flight: int

    @property
    def rate(self) -> float:
        """The number for each second."""
        return self.amount / self.per


@dataclass(frozen=True)
class Charged(Sent):
    """A request to a path with a budget, as its client observed it.

    @ivar content: the length of its content.
    @ivar received: the length of the content that its client received from the origin.
    """

    content: int = 0
    received: int = 0


@dataclass(frozen=True)
class Run:
    """All observations of a run.

    @ivar ttl: the time to live of decisions on C{KEPT} paths, in seconds.
    @ivar tunnel_host: the host of all tunnels.
    @ivar sessions: the replica that HAProxy chose for each source address.
    @ivar revoked_within: the seconds after which a revocation must have its effects, from the start of its command.
    @ivar charged_seen: the requests to paths with a budget that reached the origin.
    @ivar charged_records: the records of requests to paths with a budget.
    """

    ttl: float
    tunnel_host: str
    replicas: Sequence[str]
    revoked_within: float = 1.0
    sent: Sequence[Sent] = ()
    held: Sequence[Held] = ()
    seen: Sequence[Seen] = ()
    questions: Sequence[Question] = ()
    records: Sequence[Record] = ()
    stored: Sequence[Record] = ()
    sessions: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    revocations: Sequence[Revocation] = ()
    approvals: Sequence[Approval] = ()
    limits: Sequence[Limit] = ()
    charged: Sequence[Charged] = ()
    charged_seen: Sequence[Seen] = ()
    charged_records: Sequence[Record] = ()
