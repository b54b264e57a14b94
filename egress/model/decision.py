"""What an authorizer is asked, and what it answers."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from egress.model.authority import Authority, IPAddress, Origin
from egress.model.limit_key import limit_key

Header = tuple[bytes, bytes]
"""A field name and a field value, as they were sent; the value without surrounding white space."""

Headers = tuple[Header, ...]


class Stage(enum.Enum):
    """What a question is about (contract: the optional field C{stage})."""

    REQUEST = "request"
    TUNNEL = "tunnel"

    # Enum's own is written in Python, and each decision looks up several of these.
    __hash__ = object.__hash__


class Verdict(enum.Enum):
    """The outcome of a decision.

    Only C{ALLOW} lets a request leave.  The last three are no outcome yet: the proxy asks again, or what stands before
    an authorizer makes an outcome of them.

    @cvar NEED_BODY: the content is wanted first; put the question again, with it.
    @cvar NEED_ADDRESSES: the addresses are wanted first; put the question again, with them.
    @cvar ASK: a person decides.
    """

    ALLOW = "allow"
    DENY = "deny"
    NEED_BODY = "need-body"
    NEED_ADDRESSES = "need-addresses"
    ASK = "ask"

    # As for stages.
    __hash__ = object.__hash__


NEEDS: Final = frozenset({Verdict.NEED_BODY, Verdict.NEED_ADDRESSES})
"""Verdicts that ask for more of the request."""


@attrs.frozen
class ClientIdentity:
    """Who sent a request.

    @ivar address: the peer's IP address.
    @ivar port: the peer's TCP port.
    @ivar identity: the name of the client, where it has one.  It is proven where the listening port asks for a proof
        (L{egress.proxy.client_auth.ClientAuthPolicy}), otherwise a label that the client gives itself.
    @ivar partition: opaque; connections to origins are shared only between equal (address, partition).
    """

    address: str
    port: int
    identity: str | None = None
    partition: bytes = attrs.field(default=b"", repr=False)

    @property
    def pool_key(self) -> tuple[str, bytes]:
        """What separates the origin connections of one client from those of every other."""
        return (self.address, self.partition)

    @property
    def limit_key(self) -> str:
        """The client as per-client limits count it; see L{egress.model.limit_key}."""
        return limit_key(self.address)


# Made for each request; a frozen class with slots takes twice as long to make.
@attrs.frozen(slots=False)
class DecisionRequest:
    """One question to an authorizer.

    @ivar request_id: names the exchange in the audit log, in answers and towards the authorizer.
    @ivar method: C{"CONNECT"} when the stage is L{Stage.TUNNEL}.
    @ivar origin: what will really be contacted.
    @ivar path: path and query as sent, bytes that are not UTF-8 percent-encoded; empty for a tunnel.
    @ivar headers: the end-to-end fields as they will be forwarded.
    @ivar body: the content, or C{None} when the request has none or the authorizer does not look at it.
    @ivar body_truncated: whether C{body} is only the beginning of the content.
    @ivar body_withheld: whether there is content that was not read yet; L{Verdict.NEED_BODY} has it read.
    @ivar content_length: the length of the content in bytes, as announced; 0 without content, C{None} while only its
        end will tell.
    @ivar addresses: what the origin's host leads to, a literal address to itself; C{None} when that is not known, as
        where an upstream proxy resolves it.
    @ivar addresses_withheld: whether the proxy can find out the addresses, and has not done so yet, so that a name that
        is denied causes no DNS query; L{Verdict.NEED_ADDRESSES} has it do so.
    """

    request_id: str
    stage: Stage
    method: str
    origin: Origin
    path: str
    headers: Headers
    client: ClientIdentity
    body: bytes | None = attrs.field(default=None, repr=False)
    body_truncated: bool = False
    body_withheld: bool = False
    content_length: int | None = 0
    addresses: tuple[IPAddress, ...] | None = None
    addresses_withheld: bool = False

    @property
    def url(self) -> str:
        """The absolute URL that will be contacted, path and query as in L{path}."""
        path = "" if self.path == "*" else self.path
        return f"{self.origin}{path}"

    @property
    def query(self) -> str | None:
        """The raw query without its C{?}, or C{None} when there is none."""
        _, mark, query = self.path.partition("?")
        return query if mark else None

    @property
    def authority(self) -> Authority:
        """The host and port that will be contacted."""
        return self.origin.authority


@attrs.frozen
class Obligations:
    """What is done to an allowed request, and how far the permission goes.

    @ivar set_headers: fields to send, each in place of all of its name.  Values are sent as they are; kept out of
        C{repr}.
    @ivar remove_headers: names of fields not to send, in lower case.
    @ivar max_bytes: content bytes that may flow, both directions added up.
    @ivar expires_in: seconds after which the question is put again, if the exchange or the tunnel lasts that long.
    @ivar secret_headers: like C{set_headers}, but each C{${secret:NAME}} in a value is replaced by a secret of the
        proxy (L{egress.authz.secret_injection}).  Only these values are templates: text that a client can influence
        belongs to C{set_headers}.
    """

    set_headers: Headers = attrs.field(default=(), repr=False)
    remove_headers: tuple[bytes, ...] = ()
    max_bytes: int | None = None
    expires_in: float | None = None
    secret_headers: Headers = attrs.field(default=(), repr=False)


NO_OBLIGATIONS: Final = Obligations()


# Made for each request; a frozen class with slots takes twice as long to make.
@attrs.frozen(slots=False)
class Decision:
    """An authorizer's answer.  Every one has a reason.

    @ivar reason: for the client and the audit log, one sentence.
    @ivar decided_by: which authorizer it was, for the audit log.
    @ivar rule_id: the rule that decided, where the authorizer names one.
    @ivar ttl: seconds for which the same decision may be reused, where the authorizer says so.
    @ivar stale_if_error: seconds beyond C{ttl} for which it may be reused while there are no answers.
    @ivar cache_key: the parts of a question on which it depends (L{egress.authz.cache_key}); C{None}: all.
    @ivar terms: what else it says of an allowed request.
    @ivar firm: whether a denial holds in observe mode, too, as those about addresses do.
    @ivar observed: what the verdict would have been, where observe mode made another of it; an outage is
        C{"unavailable"}.
    @ivar source: where it comes from, if not from an answer to this very question: C{"cache"}, C{"stale"},
        C{"shared"} or C{"approval"}.
    """

    verdict: Verdict
    reason: str
    decided_by: str
    rule_id: str | None = None
    ttl: float | None = None
    stale_if_error: float | None = None
    cache_key: tuple[str, ...] | None = None
    obligations: Obligations = NO_OBLIGATIONS
    enforce_in_observe: bool = False
    observed: str | None = None
    source: str | None = None

    @property
    def allowed(self) -> bool:
        """Whether the request may leave."""
        return self.verdict is Verdict.ALLOW
