"""The conditions of rules; each evaluates to yes, no or uncertain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from itertools import product
from typing import Final, Protocol

import attrs

from egress.model.address_classes import classes, embedded
from egress.model.authority import IPAddress
from egress.policy.match.clients import Network
from egress.policy.match.header_fields import canonical_name, field_matches, has_field
from egress.policy.match.json_body import Expression, Wanted, json_matches
from egress.policy.match.patterns import Pattern
from egress.policy.match.query import has_parameter, parameter_matches
from egress.policy.match.request_view import UNREAD, RequestView
from egress.policy.match.time_windows import Window, is_within, until_boundary
from egress.policy.match.tristate import Match, all_of, certainty

Patterns = tuple[Pattern, ...]

# With more hyphens, a field name has too many spellings to add each to a cache key.
_MAX_HYPHENS: Final = 2


class Condition(Protocol):
    """A condition of a rule on something other than the host, port, scheme, method or path."""

    @property
    def key(self) -> str:
        """The key of the condition in the policy."""

    @property
    def is_seen(self) -> bool:
        """Whether the condition can be evaluated for a tunnel, whose content the proxy does not read."""

    @property
    def parts(self) -> frozenset[str]:
        """The request attributes on which the condition depends (L{Decision.cache_key})."""

    def match(self, facts: RequestView) -> Match:
        """Evaluate the condition for a request."""

    def stable_for(self, now: float) -> float:
        """Return the minimum number of seconds for which the result for the same request cannot change."""


@attrs.frozen
class _Lasting:
    def stable_for(self, now: float) -> float:
        """Return infinity: the result does not depend on the time."""
        return float("inf")


@attrs.frozen
class Parameters(_Lasting):
    """A condition on query parameters: patterns for the values of each, or whether the parameter is present."""

    wanted: tuple[tuple[str, Patterns | bool], ...]
    key = "query"
    is_seen = False
    parts = frozenset({"path", "query"})

    def match(self, facts: RequestView) -> Match:
        """Return whether all parameters match."""
        return all_of(self._one(facts, name, wanted) for name, wanted in self.wanted)

    def _one(self, facts: RequestView, name: str, wanted: Patterns | bool) -> Match:
        if isinstance(wanted, bool):
            found = has_parameter(facts.query, name)
            return found if wanted else found.opposite()
        return parameter_matches(facts.query, name, wanted, facts.work)


@attrs.frozen
class HeaderFields(_Lasting):
    """A condition on header fields: patterns for the values of each, or whether it is present; names in lower case."""

    wanted: tuple[tuple[str, Patterns | bool], ...]
    _needed: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    key = "headers"
    is_seen = False

    @_needed.default
    def _loose_names(self) -> frozenset[str]:
        return frozenset(canonical_name(name) for name, wanted in self.wanted if wanted is not False)

    @property
    def parts(self) -> frozenset[str]:
        """The field in each spelling that is evaluated."""
        return frozenset(part for name, _ in self.wanted for part in _field_parts(name))

    def match(self, facts: RequestView) -> Match:
        """Return whether all header fields match."""
        if not self._needed <= facts.fields.keys():
            return Match.NO
        return all_of(self._one(facts, name, wanted) for name, wanted in self.wanted)

    def _one(self, facts: RequestView, name: str, wanted: Patterns | bool) -> Match:
        if isinstance(wanted, bool):
            found = has_field(facts.fields, name)
            return found if wanted else found.opposite()
        return field_matches(facts.fields, name, wanted, facts.work)


def _field_parts(name: str) -> Iterator[str]:
    pieces = canonical_name(name).split("-")
    if len(pieces) > _MAX_HYPHENS + 1:
        yield "headers"
        return
    for hyphens in product("-_", repeat=len(pieces) - 1):
        yield "header:" + "".join(a + b for a, b in zip(pieces, (*hyphens, ""), strict=True))


@attrs.frozen
class JsonFields(_Lasting):
    """A condition on the values that expressions select in JSON content."""

    wanted: tuple[tuple[Expression, Wanted], ...]
    key = "json"
    is_seen = False
    parts = frozenset({"body", *_field_parts("content-encoding"), *_field_parts("content-type")})

    def match(self, facts: RequestView) -> Match:
        """Return whether all expressions select matching values."""
        if facts.json is UNREAD:
            return Match.UNREAD
        return all_of(json_matches(facts.json, expression, wanted) for expression, wanted in self.wanted)


@attrs.frozen
class BodySize(_Lasting):
    """A condition on the length of the content, in bytes."""

    key: str
    least: int = 0
    most: int | None = None
    is_seen = False
    parts = frozenset({"body"})

    def match(self, facts: RequestView) -> Match:
        """Return whether the length is within the bounds."""
        request = facts.request
        length = request.content_length
        if request.body is not None and not request.body_truncated:
            length = len(request.body)
        if length is not None:
            return Match.YES if self._is_within(length) else Match.NO
        if request.body_withheld:
            return Match.UNREAD
        # The body is only the beginning of the content.
        at_least = len(request.body or b"")
        if self.most is not None:
            return Match.NO if at_least > self.most else Match.MAYBE
        return Match.YES if at_least >= self.least else Match.MAYBE

    def _is_within(self, length: int) -> bool:
        return length >= self.least and (self.most is None or length <= self.most)


@attrs.frozen
class Clients(_Lasting):
    """A condition on the client: its name or its address."""

    names: Patterns
    networks: tuple[Network, ...]
    key = "clients"
    is_seen = True

    @property
    def parts(self) -> frozenset[str]:
        """The name, the address or both."""
        return frozenset(part for part, used in (("identity", self.names), ("client", self.networks)) if used)

    def match(self, facts: RequestView) -> Match:
        """Return whether the client is one of those listed."""
        name = facts.request.client.identity
        if name is not None and any(matches(name) for matches in self.names):
            return Match.YES
        if not self.networks:
            return Match.NO
        if facts.client is None:
            return Match.MAYBE
        return Match.YES if _is_in(facts.client, self.networks) else Match.NO


@attrs.frozen
class Times:
    """A condition on the time of the week."""

    windows: tuple[Window, ...]
    zone: tzinfo
    key = "times"
    is_seen = True
    parts: frozenset[str] = attrs.field(init=False, default=frozenset())

    def match(self, facts: RequestView) -> Match:
        """Return whether the time is in one of the windows."""
        if facts.now is None:
            return Match.MAYBE
        return Match.YES if is_within(self.windows, self.zone, facts.now) else Match.NO

    def stable_for(self, now: float) -> float:
        """Return the time until the next window begins or ends."""
        return until_boundary(self.windows, self.zone, now)


@attrs.frozen
class Addresses(_Lasting):
    """A condition on the addresses of the host: a permission requires all of them to match, a denial any."""

    classes: frozenset[str]
    networks: tuple[Network, ...]
    key = "addresses"
    is_seen = True
    parts = frozenset({"addresses"})

    def match(self, facts: RequestView) -> Match:
        """Return whether the addresses match."""
        if not facts.addresses:
            return Match.UNRESOLVED if facts.request.addresses_withheld else Match.MAYBE
        return certainty(self._has(address) for address in facts.addresses)

    def _has(self, address: IPAddress) -> bool:
        return bool(self.classes & classes(address)) or _is_in(address, self.networks)


def _is_in(address: IPAddress, networks: tuple[Network, ...]) -> bool:
    return any(address in network or embedded(address) in network for network in networks)
