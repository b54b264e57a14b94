"""Revocations: an administrator voids earlier decisions, and ends what runs because of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

import attrs

from egress.model.address_classes import embedded
from egress.model.approval import GrantScope
from egress.model.authority import Authority, parse_ip
from egress.model.counted import counted
from egress.model.decision import ClientIdentity
from egress.model.errors import InvalidTarget
from egress.model.no_proxy import HostPattern
from egress.model.quote import quoted

_MAX_VALUE: Final = 1000
_MAX_NAME: Final = 100
_FIELDS: Final = frozenset({"kind", "value", "by"})
# The scheme does not matter here, but an origin without a port has its default port.
_PORTS: Final = {"http": 80, "https": 443}


class RevocationKind(enum.Enum):
    """What the value of a revocation names."""

    CLIENT = "client"
    HOST = "host"
    RULE = "rule"
    DECISION = "decision"
    ALL = "all"


class InvalidRevocation(ValueError):
    """A revocation that cannot be parsed; the message names the error and the fix."""


@attrs.frozen
class Revocation:
    """One revocation: the decisions that it covers are void from its time on.

    @ivar kind: what the value names.
    @ivar value: the name or the address of a client, a host pattern, the id of a rule, or the id of a request; empty
        for all decisions.
    @ivar time: seconds since the epoch.
    @ivar author: the name of the administrator, as the administrator states it; may be empty.
    @ivar revocation_id: identifies the revocation.
    """

    kind: RevocationKind
    value: str
    time: float
    author: str
    revocation_id: str
    _pattern: HostPattern | None = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        pattern = _host_pattern(self.value) if self.kind is RevocationKind.HOST else None
        object.__setattr__(self, "_pattern", pattern)

    @classmethod
    def parse(cls, document: object, *, time: float, revocation_id: str) -> Revocation:
        """Parse the JSON of an administrator: C{{"kind": "client", "value": "agent-7", "by": "alice"}}.

        @raise InvalidRevocation: if the document is not valid.
        """
        if not isinstance(document, dict):
            raise InvalidRevocation('send an object, as in {"kind": "client", "value": "agent-7"}')
        unknown = sorted(map(str, document.keys() - _FIELDS))
        if unknown:
            raise InvalidRevocation(f"{quoted(unknown[0])} is not a known member: use {', '.join(sorted(_FIELDS))}")
        try:
            kind = RevocationKind(document.get("kind"))
        except ValueError:
            kinds = ", ".join(f'"{each.value}"' for each in RevocationKind)
            raise InvalidRevocation(f'"kind" must be one of {kinds}') from None
        value, author = _text(document, "value", _MAX_VALUE), _text(document, "by", _MAX_NAME)
        if kind is RevocationKind.ALL and value:
            raise InvalidRevocation('"all" has no "value"')
        if kind is not RevocationKind.ALL and not value:
            raise InvalidRevocation(f'"{kind.value}" needs a "value"')
        return cls(kind, value, time, author, revocation_id)

    def to_json(self) -> dict[str, Any]:
        """Serialize the revocation for L{from_json} in another process or replica."""
        return {
            "kind": self.kind.value,
            "value": self.value,
            "time": self.time,
            "author": self.author,
            "id": self.revocation_id,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Revocation:
        """Parse a revocation that another process or replica serialized.

        @raise InvalidRevocation: if its host pattern is not valid.
        @raise ValueError: if its kind is not known.
        """
        return cls(
            RevocationKind(document["kind"]),
            document["value"],
            document["time"],
            document["author"],
            document["id"],
        )

    @property
    def subject(self) -> str:
        """The revoked decisions in words."""
        return "all decisions" if self.kind is RevocationKind.ALL else f"{self.kind.value} {self.value}"

    def matches(
        self, client: ClientIdentity, authority: Authority, rule_id: str | None, request_id: str | None
    ) -> bool:
        """Return whether the decision on a request is revoked.

        @param client: the client of the request.
        @param authority: the authority of the request.
        @param rule_id: the rule of the decision; C{None}: it has none.
        @param request_id: the id of the request; C{None} where it does not matter.
        """
        kind, value = self.kind, self.value
        if kind is RevocationKind.CLIENT:
            return value in (client.identity, client.address)
        if kind is RevocationKind.HOST:
            return self.matches_host(authority)
        if kind is RevocationKind.RULE:
            return value == rule_id
        return kind is RevocationKind.ALL or value == request_id

    def matches_host(self, authority: Authority) -> bool:
        """Return whether the host pattern, if there is one, matches an authority."""
        pattern = self._pattern
        if pattern is None:
            return False
        if pattern.matches(authority):
            return True
        # An address also matches its representations in IPv6, as in a policy.
        address = authority.ip
        if address is None or pattern.port not in (None, authority.port):
            return False
        return embedded(address) == parse_ip(pattern.host)

    def matches_grant(self, scope: GrantScope) -> bool:
        """Return whether a grant is revoked.  The decision on one request is not a grant."""
        client = ClientIdentity(scope.client, 0, scope.identity)
        scheme, _, netloc = scope.origin.partition("://")
        authority = Authority.parse(netloc, _PORTS.get(scheme))
        return self.matches(client, authority, scope.rule_id, None)


def _host_pattern(text: str) -> HostPattern:
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    try:
        pattern = HostPattern.parse(text, suffix=False)
    except InvalidTarget as error:
        raise InvalidRevocation(
            f"not a host: {error.reason}; write a host, as in example.com, its subdomains, as in *.example.com, "
            "or an address"
        ) from error
    if not (pattern.exact or pattern.subdomains):
        raise InvalidRevocation("an address has no subdomains: write the address")
    return pattern


def _text(document: Mapping[str, object], name: str, length: int) -> str:
    text = document.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > length or not text.isprintable():
        raise InvalidRevocation(f'"{name}" must be a string of up to {length} printable characters')
    return text.strip()


@attrs.frozen
class RevocationCounts:
    """What a revocation voided and ended.

    @ivar cached: the cached decisions that were dropped.
    @ivar grants: the grants that were revoked.
    @ivar tunnels: the passthrough tunnels that were ended.
    @ivar requests: the requests that were ended, including WebSockets.
    @ivar confirmed: the names of the nodes that confirmed it, if replicas share revocations.
    @ivar unconfirmed: the names of the nodes that did not confirm it.
    """

    cached: int = 0
    grants: int = 0
    tunnels: int = 0
    requests: int = 0
    confirmed: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()

    def __add__(self, other: RevocationCounts) -> RevocationCounts:
        """Add the counts of another process, which has the same grants."""
        return RevocationCounts(
            self.cached + other.cached,
            max(self.grants, other.grants),
            self.tunnels + other.tunnels,
            self.requests + other.requests,
            tuple(sorted({*self.confirmed, *other.confirmed})),
            tuple(sorted({*self.unconfirmed, *other.unconfirmed})),
        )

    def to_json(self) -> dict[str, Any]:
        """Serialize the counts, and the nodes if there are any."""
        counts = {name: getattr(self, name) for name in ("cached", "grants", "tunnels", "requests")}
        nodes = {"confirmed": list(self.confirmed), "unconfirmed": list(self.unconfirmed)}
        return counts if self.confirmed == self.unconfirmed == () else {**counts, **nodes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RevocationCounts:
        """Parse counts."""
        nodes = {name: tuple(document.get(name, ())) for name in ("confirmed", "unconfirmed")}
        return cls(**{**document, **nodes})

    def __str__(self) -> str:
        """Return the counts in words."""
        dropped = f"{counted(self.cached, 'cached decision')} dropped"
        grants = f", {counted(self.grants, 'grant')} revoked" if self.grants else ""
        ended = f"{counted(self.tunnels, 'tunnel')} and {counted(self.requests, 'request')} ended"
        confirmed = f"; confirmed by {', '.join(self.confirmed)}" if self.confirmed else ""
        unconfirmed = f"; not confirmed by {', '.join(self.unconfirmed)}" if self.unconfirmed else ""
        return f"{dropped}{grants}, {ended}{confirmed}{unconfirmed}"
