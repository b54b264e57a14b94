"""Authorization requests and decisions."""

from __future__ import annotations

import enum
from typing import Any, Final

import attr
import attrs

from egress.model.authority import Authority, IPAddress, Origin
from egress.model.budget import Budget
from egress.model.limit_key import limit_key
from egress.model.message import Message, MessageObligation

Header = tuple[bytes, bytes]
"""A field name and a field value, as the client sent them; the value has no surrounding whitespace."""

Headers = tuple[Header, ...]


class Stage(enum.Enum):
    """The subject of an authorization request (contract: the optional field C{stage}).

    @cvar REQUEST: one HTTP request.
    @cvar TUNNEL: the tunnel of a CONNECT whose content the proxy does not read.
    @cvar MESSAGE: one message inside an allowed request.
    """

    REQUEST = "request"
    TUNNEL = "tunnel"
    MESSAGE = "message"

    # Enum's own __hash__ is written in Python, and each decision looks up several members.
    __hash__ = object.__hash__


class Verdict(enum.Enum):
    """The outcome of a decision.

    Only C{ALLOW} permits the proxy to forward a request.  The last three are not final: the proxy repeats the
    authorization request, or a wrapper of the authorizer turns them into a final verdict.

    @cvar ALLOW: the proxy may forward the request.
    @cvar DENY: the request is denied by policy.
    @cvar NEED_BODY: the authorizer needs the content; repeat the authorization request with it.
    @cvar NEED_ADDRESSES: the authorizer needs the addresses; repeat the authorization request with them.
    @cvar ASK: the request needs an approval.
    """

    ALLOW = "allow"
    DENY = "deny"
    NEED_BODY = "need-body"
    NEED_ADDRESSES = "need-addresses"
    ASK = "ask"

    # See Stage.
    __hash__ = object.__hash__


# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_ALLOW: Final = Verdict.ALLOW

NEEDS: Final = frozenset({Verdict.NEED_BODY, Verdict.NEED_ADDRESSES})
"""The verdicts that request more data about the request."""


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class ClientIdentity:
    """The client that sent a request.

    @ivar address: the peer's IP address.
    @ivar port: the peer's TCP port.
    @ivar identity: the name of the client, if it has one.  It is authenticated if the listener requires authentication
        (L{egress.proxy.client_auth.ClientAuthPolicy}); otherwise it is a label that the client chooses.
    @ivar partition: opaque; origin connections are shared only between clients with equal (address, partition).
    """

    address: Final[str]
    port: Final[int]
    identity: Final[str | None]
    partition: bytes = attr.ib(repr=False)

    def __init__(self, address: str, port: int, identity: str | None = None, partition: bytes = b"") -> None:
        self.address = address
        self.port = port
        self.identity = identity
        self.partition = partition

    @property
    def pool_key(self) -> tuple[str, bytes]:
        """The key that separates the origin connections of one client from the connections of all others."""
        return (self.address, self.partition)

    @property
    def limit_key(self) -> str:
        """The key under which per-client limits count this client; see L{egress.model.limit_key}."""
        return limit_key(self.address)


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class DecisionRequest:
    """An authorization request.

    @ivar request_id: identifies the exchange in the audit log, in responses and to the authorizer.
    @ivar stage: whether the subject is a request, a tunnel, or a message.
    @ivar method: C{"CONNECT"} if the stage is L{Stage.TUNNEL}.
    @ivar origin: the origin that the proxy will contact.
    @ivar path: path and query as sent, with non-UTF-8 bytes percent-encoded; empty for a tunnel.
    @ivar headers: the end-to-end header fields as the proxy will forward them.
    @ivar client: the client that sent the request.
    @ivar body: the content, or C{None} if the request has none or the authorizer does not inspect it.
    @ivar body_truncated: whether C{body} is only the beginning of the content.
    @ivar decoded_body: the decoded content, if C{body} has a content coding and was decoded for the authorizer.
    @ivar undecodable: why there is no decoded content, if there should be.
    @ivar body_withheld: whether there is content that the proxy has not read yet; L{Verdict.NEED_BODY} requests it.
    @ivar content_length: the length of the content in bytes, as announced; 0 without content, C{None} if the length is
        unknown until the content ends.
    @ivar addresses: the addresses of the origin's host (for an address literal, the address itself); C{None} if they
        are unknown, for example because an upstream proxy resolves the host.
    @ivar addresses_withheld: whether the proxy can resolve the host but has not done so yet, so that denying a name
        causes no DNS query; L{Verdict.NEED_ADDRESSES} requests the addresses.
    @ivar trace: the header fields with the context of a distributed trace, for the message that carries the request.
    @ivar cache_keys: the cache keys that were computed so far (L{egress.authz.cache_key.key_of}).  They are hashes of
        this request, which does not change.
    @ivar message: the message, if the stage is L{Stage.MESSAGE}; then C{body} is its content, and all other attributes
        describe the request that it belongs to.
    """

    request_id: Final[str]
    stage: Final[Stage]
    method: Final[str]
    origin: Final[Origin]
    path: Final[str]
    headers: Final[Headers]
    client: Final[ClientIdentity]
    body: bytes | None = attr.ib(repr=False)
    body_truncated: Final[bool]
    body_withheld: Final[bool]
    content_length: Final[int | None]
    addresses: Final[tuple[IPAddress, ...] | None]
    addresses_withheld: Final[bool]
    trace: Final[Headers]
    message: Final[Message | None]
    decoded_body: bytes | None = attr.ib(repr=False)
    undecodable: Final[str | None]
    cache_keys: dict[tuple[str, ...], bytes] | None = attr.ib(eq=False, repr=False, init=False)

    def __init__(
        self,
        request_id: str,
        stage: Stage,
        method: str,
        origin: Origin,
        path: str,
        headers: Headers,
        client: ClientIdentity,
        body: bytes | None = None,
        body_truncated: bool = False,
        body_withheld: bool = False,
        content_length: int | None = 0,
        addresses: tuple[IPAddress, ...] | None = None,
        addresses_withheld: bool = False,
        trace: Headers = (),
        message: Message | None = None,
        decoded_body: bytes | None = None,
        undecodable: str | None = None,
    ) -> None:
        self.request_id = request_id
        self.stage = stage
        self.method = method
        self.origin = origin
        self.path = path
        self.headers = headers
        self.client = client
        self.body = body
        self.body_truncated = body_truncated
        self.body_withheld = body_withheld
        self.content_length = content_length
        self.addresses = addresses
        self.addresses_withheld = addresses_withheld
        self.trace = trace
        self.message = message
        self.decoded_body = decoded_body
        self.undecodable = undecodable
        self.cache_keys = None

    @property
    def url(self) -> str:
        """The absolute URL that the proxy will contact; path and query are as in L{path}."""
        path = "" if self.path == "*" else self.path
        return f"{self.origin}{path}"

    @property
    def record_id(self) -> str:
        """The id in records: for a message, the id of the exchange, the sender and the number of the message."""
        message = self.message
        if message is None:
            return self.request_id
        return f"{self.request_id}.{message.direction.value}.{message.sequence}"

    @property
    def query(self) -> str | None:
        """The raw query without its C{?}, or C{None} if there is no query."""
        _, mark, query = self.path.partition("?")
        return query if mark else None

    @property
    def authority(self) -> Authority:
        """The host and port that the proxy will contact."""
        return self.origin.authority


# mypyc checks the type of the value that a class body assigns, which is not yet the one of the attribute.
_NO_FIELDS: Any = ()


@attrs.frozen
class Obligations:
    """The obligations of a decision: changes to an allowed request, and limits of its lease.

    @ivar set_headers: header fields to send; each replaces all fields of its name.  The values are sent unchanged, and
        are excluded from C{repr}.
    @ivar remove_headers: lower-case names of header fields that the proxy removes.
    @ivar max_bytes: the maximum number of content bytes, both directions added.
    @ivar expires_in: seconds after which the authorization request is repeated if the exchange or tunnel still runs.
    @ivar secret_headers: like C{set_headers}, but each C{${secret:NAME}} in a value is replaced by a secret of the
        proxy (L{egress.authz.secret_injection}).  Only these values are templates: put text that a client can influence
        into C{set_headers}.
    @ivar messages: the authorization of each message of the exchange; C{None}: messages pass.
    @ivar budgets: what the request, and its bytes, are counted against.
    """

    set_headers: Headers = attrs.field(default=_NO_FIELDS, repr=False)
    remove_headers: tuple[bytes, ...] = ()
    max_bytes: int | None = None
    expires_in: float | None = None
    secret_headers: Headers = attrs.field(default=_NO_FIELDS, repr=False)
    messages: MessageObligation | None = None
    budgets: tuple[Budget, ...] = attrs.field(default=_NO_FIELDS)


NO_OBLIGATIONS: Final = Obligations()


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class Decision:
    """The decision of an authorizer.  Every decision has a reason.

    @ivar verdict: the outcome.
    @ivar reason: one sentence for the client and the audit log.
    @ivar decided_by: the name of the authorizer, for the audit log.
    @ivar rule_id: the rule that decided, if the authorizer names one.
    @ivar ttl: time to live of the decision in seconds, if the authorizer sets one.
    @ivar stale_if_error: seconds beyond C{ttl} for which the decision may be reused while the authorizer fails.
    @ivar cache_key: the request attributes on which the decision depends (L{egress.authz.cache_key}); C{None}: all.
    @ivar obligations: the obligations of an allowed request.
    @ivar enforce_in_observe: whether a denial is enforced in observe mode, too, as denials of addresses are.
    @ivar observed: the original verdict, if observe mode replaced it; C{"unavailable"} for an authorization failure.
    @ivar source: the source of the decision, if it is not a response to this authorization request: C{"cache"},
        C{"stale"}, C{"shared"}, C{"replica"} or C{"approval"}.
    @ivar policy_version: the version of the policy that decided, if the authorizer names one.
    """

    verdict: Final[Verdict]
    reason: Final[str]
    decided_by: Final[str]
    rule_id: Final[str | None]
    ttl: Final[float | None]
    stale_if_error: Final[float | None]
    cache_key: Final[tuple[str, ...] | None]
    obligations: Final[Obligations]
    enforce_in_observe: Final[bool]
    observed: Final[str | None]
    source: Final[str | None]
    policy_version: Final[str | None]

    def __init__(
        self,
        verdict: Verdict,
        reason: str,
        decided_by: str,
        rule_id: str | None = None,
        ttl: float | None = None,
        stale_if_error: float | None = None,
        cache_key: tuple[str, ...] | None = None,
        obligations: Obligations = NO_OBLIGATIONS,
        enforce_in_observe: bool = False,
        observed: str | None = None,
        source: str | None = None,
        policy_version: str | None = None,
    ) -> None:
        self.verdict = verdict
        self.reason = reason
        self.decided_by = decided_by
        self.rule_id = rule_id
        self.ttl = ttl
        self.stale_if_error = stale_if_error
        self.cache_key = cache_key
        self.obligations = obligations
        self.enforce_in_observe = enforce_in_observe
        self.observed = observed
        self.source = source
        self.policy_version = policy_version

    @property
    def allowed(self) -> bool:
        """Whether the proxy may forward the request."""
        return self.verdict is _ALLOW

    def reused(self, source: str, ttl: float | None, stale_if_error: float | None) -> Decision:
        """Return the decision for another request.

        @param source: its source.
        @param ttl: its time to live in seconds.
        @param stale_if_error: seconds beyond C{ttl} for which it may be reused while the authorizer fails.
        """
        return Decision(
            self.verdict,
            self.reason,
            self.decided_by,
            self.rule_id,
            ttl,
            stale_if_error,
            self.cache_key,
            self.obligations,
            self.enforce_in_observe,
            self.observed,
            source,
            self.policy_version,
        )
