"""What an authorizer is asked, and what it answers."""

from __future__ import annotations

import enum

import attrs

from egress.model.authority import Authority, Origin

Header = tuple[bytes, bytes]
"""A field name and a field value, as they were sent; the value without surrounding white space."""

Headers = tuple[Header, ...]


class Stage(enum.Enum):
    """What a question is about (contract: the optional field C{stage})."""

    REQUEST = "request"
    TUNNEL = "tunnel"


class Verdict(enum.Enum):
    """The outcome of a decision."""

    ALLOW = "allow"
    DENY = "deny"


@attrs.frozen
class ClientIdentity:
    """Who sent a request.

    @ivar address: the peer's IP address.
    @ivar port: the peer's TCP port.
    @ivar identity: the name of the client, where it has one.  It is proven where the listening port asks for a proof
        (L{egress.net.admission.Door}), otherwise a label that the client gives itself.
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


@attrs.frozen
class DecisionRequest:
    """One question to an authorizer.

    @ivar request_id: names the exchange in the audit log, in answers and towards the authorizer.
    @ivar method: C{"CONNECT"} when the stage is L{Stage.TUNNEL}.
    @ivar origin: what will really be contacted.
    @ivar path: path and query as sent; empty for a tunnel.
    @ivar headers: the end-to-end fields as they will be forwarded.
    @ivar body: the content, or C{None} when the request has none or the authorizer does not look at it.
    @ivar body_truncated: whether C{body} is only the beginning of the content.
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

    @property
    def url(self) -> str:
        """The absolute URL that will be contacted, path and query byte for byte as sent."""
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
class Decision:
    """An authorizer's answer.  Every one has a reason.

    @ivar reason: for the client and the audit log, one sentence.
    @ivar decided_by: which authorizer it was, for the audit log.
    @ivar rule_id: the rule that decided, where the authorizer names one.
    @ivar ttl: seconds for which the same decision may be reused, where the authorizer says so.
    """

    verdict: Verdict
    reason: str
    decided_by: str
    rule_id: str | None = None
    ttl: float | None = None

    @property
    def allowed(self) -> bool:
        """Whether the request may leave."""
        return self.verdict is Verdict.ALLOW
