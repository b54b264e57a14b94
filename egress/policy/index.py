"""Which of many rules may be about a host, without looking at each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Final

import attrs

from egress.model.authority import Authority, IPAddress
from egress.policy.addresses import embedded
from egress.policy.hosts import Anything, HostTest, Named, PrivateLiteral, SingleLabel, Within

_Network = tuple[int, int, int]  # the version, the length of the prefix, and its bits

NONE: Final[tuple[int, ...]] = ()


@attrs.define
class _Found:
    """Where patterns of each kind stand, as the numbers of lists of hosts; one number more than once at most in a row.

    @ivar names: by the host.
    @ivar below: by the host above.
    @ivar networks: by version, length and bits of the prefix.
    @ivar literals: patterns for literal addresses, whichever.
    @ivar others: what has to be tried.
    """

    names: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    below: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    networks: dict[_Network, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    literals: list[int] = attrs.field(factory=list)
    labels: list[int] = attrs.field(factory=list)
    others: list[int] = attrs.field(factory=list)

    def add(self, number: int, test: HostTest) -> None:
        """Note one pattern."""
        if isinstance(test, Named):
            found = (self.below if test.below else self.names)[test.host]
        elif isinstance(test, Within):
            network = test.network
            shift = network.max_prefixlen - network.prefixlen
            found = self.networks[network.version, network.prefixlen, int(network.network_address) >> shift]
        elif isinstance(test, PrivateLiteral):
            found = self.literals
        elif isinstance(test, SingleLabel):
            found = self.labels
        else:
            found = self.others
        if not found or found[-1] != number:
            found.append(number)


class HostIndex:
    """Finds the rules that may be about an authority, in their order.

    Rules that have one list of hosts in common, as a group is, are kept together.

    @param hosts: the host patterns of each rule; none: it is about every host.
    """

    def __init__(self, hosts: Sequence[tuple[HostTest, ...]]) -> None:
        self._always = [place for place, tests in enumerate(hosts) if not tests or Anything() in tests]
        always = frozenset(self._always)
        numbers: dict[int, int] = {}
        self._rules: list[list[int]] = []
        found = _Found()
        for place, tests in enumerate(hosts):
            if place in always:
                continue
            number = numbers.get(id(tests))
            if number is None:
                number = numbers[id(tests)] = len(self._rules)
                self._rules.append([])
                for test in tests:
                    found.add(number, test)
            self._rules[number].append(place)
        self._found = found
        self._prefixes = sorted({network[:2] for network in found.networks})

    def places(self, authority: Authority) -> Iterator[int]:
        """The places of the rules that may be about an authority, and a few that are not, in order."""
        numbers = set(self._numbers(authority))
        if not numbers:
            return iter(self._always)
        lists = [self._rules[number] for number in numbers]
        if self._always:
            lists.append(self._always)
        # Each rule has one list of hosts, so none comes twice.
        return iter(lists[0]) if len(lists) == 1 else merge(*lists)

    def _numbers(self, authority: Authority) -> Iterator[int]:
        found = self._found
        host = authority.host
        yield from found.others
        yield from found.names.get(host, NONE)
        if found.below:
            dot = host.find(".")
            while dot >= 0:
                yield from found.below.get(host[dot + 1 :], NONE)
                dot = host.find(".", dot + 1)
        if found.networks or found.literals or found.labels:
            address = authority.ip
            if address is None:
                if "." not in host:
                    yield from found.labels
            else:
                yield from found.literals
                yield from self._within(address)

    def _within(self, address: IPAddress) -> Iterator[int]:
        for one in {address, embedded(address)}:
            for version, length in self._prefixes:
                if version == one.version:
                    bits = int(one) >> (one.max_prefixlen - length)
                    yield from self._found.networks.get((version, length, bits), NONE)
