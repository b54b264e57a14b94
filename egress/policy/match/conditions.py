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
from egress.policy.match.content import UNREAD
from egress.policy.match.form import Form
from egress.policy.match.header_fields import canonical_name, field_matches, has_field
from egress.policy.match.json_body import Expression, Wanted, json_matches
from egress.policy.match.patterns import Pattern
from egress.policy.match.query import has_parameter, parameter_matches
from egress.policy.match.request_view import RequestView
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
    def depends_on(self) -> frozenset[str]:
        """The request attributes on which the condition depends (L{Decision.cache_key})."""

    def match(self, view: RequestView) -> Match:
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
    """A condition on query parameters: patterns for the values of each, or whether the parameter is present.

    @ivar wanted: for each name, the patterns for its values; or whether the parameter is present.
    """

    wanted: tuple[tuple[str, Patterns | bool], ...]
    key = "query"
    is_seen = False
    depends_on = frozenset({"path", "query"})

    def match(self, view: RequestView) -> Match:
        """Return whether all parameters match."""
        return all_of(self._one(view, name, wanted) for name, wanted in self.wanted)

    def _one(self, view: RequestView, name: str, wanted: Patterns | bool) -> Match:
        if isinstance(wanted, bool):
            found = has_parameter(view.query, name)
            return found if wanted else found.opposite()
        return parameter_matches(view.query, name, wanted, view.work)


@attrs.frozen
class HeaderFields(_Lasting):
    """A condition on header fields: patterns for the values of each, or whether it is present; names in lower case.

    @ivar wanted: for each name, in lower case, the patterns for its values; or whether the field is present.
    """

    wanted: tuple[tuple[str, Patterns | bool], ...]
    _needed: frozenset[str] = attrs.field(init=False, eq=False, repr=False)
    key = "headers"
    is_seen = False

    @_needed.default
    def _loose_names(self) -> frozenset[str]:
        return frozenset(canonical_name(name) for name, wanted in self.wanted if wanted is not False)

    @property
    def depends_on(self) -> frozenset[str]:
        """The field in each spelling that is evaluated."""
        return frozenset(attribute for name, _ in self.wanted for attribute in _field_attributes(name))

    def match(self, view: RequestView) -> Match:
        """Return whether all header fields match."""
        if not self._needed <= view.fields.keys():
            return Match.NO
        return all_of(self._one(view, name, wanted) for name, wanted in self.wanted)

    def _one(self, view: RequestView, name: str, wanted: Patterns | bool) -> Match:
        if isinstance(wanted, bool):
            found = has_field(view.fields, name)
            return found if wanted else found.opposite()
        return field_matches(view.fields, name, wanted, view.work)


def _field_attributes(name: str) -> Iterator[str]:
    pieces = canonical_name(name).split("-")
    if len(pieces) > _MAX_HYPHENS + 1:
        yield "headers"
        return
    for hyphens in product("-_", repeat=len(pieces) - 1):
        yield "header:" + "".join(a + b for a, b in zip(pieces, (*hyphens, ""), strict=True))


_ON_CONTENT: Final = frozenset({"body", *_field_attributes("content-encoding"), *_field_attributes("content-type")})


@attrs.frozen
class JsonFields(_Lasting):
    """A condition on the values that expressions select in JSON content.

    @ivar wanted: for each expression, the values that it may select.
    """

    wanted: tuple[tuple[Expression, Wanted], ...]
    key = "json"
    is_seen = False
    depends_on = _ON_CONTENT

    def match(self, view: RequestView) -> Match:
        """Return whether all expressions select matching values."""
        document = view.content.json
        if document is UNREAD:
            return Match.UNREAD
        return all_of(json_matches(document, expression, wanted) for expression, wanted in self.wanted)


@attrs.frozen
class FormFields(_Lasting):
    """A condition on the fields or the files of a form: patterns for the values of each, or whether it is present.

    @ivar key: the key of the condition in the policy: C{"form"} for fields, C{"files"} for the names of files, and
        C{"file_types"} for their media types.
    @ivar wanted: for each field, the patterns for its values; or whether it is present.
    """

    key: str
    wanted: tuple[tuple[str, Patterns | bool], ...]
    is_seen = False
    depends_on = _ON_CONTENT

    def match(self, view: RequestView) -> Match:
        """Return whether all fields match."""
        if view.content.form is UNREAD:
            return Match.UNREAD
        return all_of(self._one(view, name, wanted) for name, wanted in self.wanted)

    def doubtful(self, view: RequestView) -> str | None:
        """Return the name of the first field that may match, but not certainly; C{None} if there is none."""
        return next((name for name, wanted in self.wanted if self._one(view, name, wanted) is Match.MAYBE), None)

    def _one(self, view: RequestView, name: str, wanted: Patterns | bool) -> Match:
        form = view.content.form
        if not isinstance(form, Form):
            return Match.MAYBE
        group = {"form": form.fields, "files": form.files, "file_types": form.types}[self.key]
        if isinstance(wanted, bool):
            found = form.has(group, name)
            return found if wanted else found.opposite()
        return form.matches(group, name, wanted, view.work)


@attrs.frozen
class BodySize(_Lasting):
    """A condition on the length of the content, in bytes.

    @ivar key: the key of the condition in the policy.
    @ivar least: the minimum length, in bytes.
    @ivar most: the maximum length, in bytes; C{None}: no maximum.
    """

    key: str
    least: int = 0
    most: int | None = None
    is_seen = False
    depends_on = frozenset({"body"})

    def match(self, view: RequestView) -> Match:
        """Return whether the length is within the bounds."""
        request = view.request
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
    """A condition on the client: its name or its address.

    @ivar names: the patterns for names.
    @ivar networks: the ranges of addresses.
    """

    names: Patterns
    networks: tuple[Network, ...]
    key = "clients"
    is_seen = True

    @property
    def depends_on(self) -> frozenset[str]:
        """The name, the address or both."""
        return frozenset(attribute for attribute, used in (("identity", self.names), ("client", self.networks)) if used)

    def match(self, view: RequestView) -> Match:
        """Return whether the client is one of those listed."""
        name = view.request.client.identity
        if name is not None and any(matches(name) for matches in self.names):
            return Match.YES
        if not self.networks:
            return Match.NO
        if view.client is None:
            return Match.MAYBE
        return Match.YES if _is_in(view.client, self.networks) else Match.NO


@attrs.frozen
class Times:
    """A condition on the time of the week.

    @ivar windows: the time windows.
    @ivar zone: the time zone of the windows.
    @ivar depends_on: empty: L{stable_for} limits the time to live of a cached decision instead.
    """

    windows: tuple[Window, ...]
    zone: tzinfo
    key = "times"
    is_seen = True
    depends_on: frozenset[str] = attrs.field(init=False, default=frozenset())

    def match(self, view: RequestView) -> Match:
        """Return whether the time is in one of the windows."""
        if view.now is None:
            return Match.MAYBE
        return Match.YES if is_within(self.windows, self.zone, view.now) else Match.NO

    def stable_for(self, now: float) -> float:
        """Return the time until the next window begins or ends."""
        return until_boundary(self.windows, self.zone, now)


@attrs.frozen
class Addresses(_Lasting):
    """A condition on the addresses of the host: a permission requires all of them to match, a denial any.

    @ivar classes: the classes of addresses (L{egress.model.address_classes.classes}).
    @ivar networks: the ranges of addresses.
    """

    classes: frozenset[str]
    networks: tuple[Network, ...]
    key = "addresses"
    is_seen = True
    depends_on = frozenset({"addresses"})

    def match(self, view: RequestView) -> Match:
        """Return whether the addresses match."""
        if not view.addresses:
            return Match.UNRESOLVED if view.request.addresses_withheld else Match.MAYBE
        return certainty(self._has(address) for address in view.addresses)

    def _has(self, address: IPAddress) -> bool:
        return bool(self.classes & classes(address)) or _is_in(address, self.networks)


def _is_in(address: IPAddress, networks: tuple[Network, ...]) -> bool:
    return any(address in network or embedded(address) in network for network in networks)
