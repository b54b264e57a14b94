"""An index of rules by host, which finds the candidate rules without a scan of all rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Final, TypeVar

import attrs

from egress.model.address_classes import embedded
from egress.model.authority import Authority, IPAddress
from egress.policy.match.hosts import AddressRange, AnyHost, HostName, HostTest, PrivateLiteral, SingleLabel

_Network = tuple[int, int, int]  # the version, the length of the prefix, and its bits

NONE: Final[tuple[int, ...]] = ()


@attrs.define
class _Found:
    """Patterns by kind, as numbers of host lists; each list contains a number at most once.

    @ivar names: exact hosts.
    @ivar subdomains: subdomain patterns, by parent domain.
    @ivar networks: address ranges, by version, length and bits of the prefix.
    @ivar literals: patterns for address literals of internal networks.
    @ivar others: patterns that must be evaluated for every host.
    """

    names: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    subdomains: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    networks: dict[_Network, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    literals: list[int] = attrs.field(factory=list)
    labels: list[int] = attrs.field(factory=list)
    others: list[int] = attrs.field(factory=list)

    def add(self, number: int, test: HostTest) -> None:
        """Add one pattern."""
        if isinstance(test, HostName):
            found = (self.subdomains if test.subdomains else self.names)[test.host]
        elif isinstance(test, AddressRange):
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


_Key = TypeVar("_Key")


def _fixed(table: dict[_Key, list[int]]) -> dict[_Key, tuple[int, ...]]:
    return {key: tuple(numbers) for key, numbers in table.items()}


class HostIndex:
    """Finds the rules that may match an authority, in their order.

    Rules that share a list of hosts, such as the rules of a group, are stored together.

    @param hosts: the host patterns of each rule; an empty tuple matches every host.
    @ivar wildcard: the positions of the rules for every host.
    """

    def __init__(self, hosts: Sequence[tuple[HostTest, ...]]) -> None:
        self.wildcard = tuple(position for position, tests in enumerate(hosts) if not tests or AnyHost() in tests)
        wildcard_rules = frozenset(self.wildcard)
        numbers: dict[int, int] = {}
        rules: list[list[int]] = []
        found = _Found()
        for position, tests in enumerate(hosts):
            if position in wildcard_rules:
                continue
            number = numbers.get(id(tests))
            if number is None:
                number = numbers[id(tests)] = len(rules)
                rules.append([])
                for test in tests:
                    found.add(number, test)
            rules[number].append(position)
        # The garbage collector does not track tuples of numbers, unlike lists.
        self._rules = [tuple(positions) for positions in rules]
        self._names, self._subdomains = _fixed(found.names), _fixed(found.subdomains)
        self._networks = _fixed(found.networks)
        self._literals, self._labels, self._others = found.literals, found.labels, found.others
        self._prefixes = sorted({network[:2] for network in found.networks})

    def candidates(self, authority: Authority, wildcard_rules: Sequence[int]) -> Iterator[int]:
        """Yield the positions of the rules that may match an authority, in order; a few of them do not match.

        @param authority: the host and port of a request.
        @param wildcard_rules: the relevant members of C{self.wildcard}.
        """
        numbers = set(self._numbers(authority))
        if not numbers:
            return iter(wildcard_rules)
        lists = [self._rules[number] for number in numbers]
        if wildcard_rules:
            lists.append(tuple(wildcard_rules))
        # Each rule has one list of hosts, so no position occurs twice.
        return iter(lists[0]) if len(lists) == 1 else merge(*lists)

    def _numbers(self, authority: Authority) -> Iterator[int]:
        host = authority.host
        yield from self._others
        yield from self._names.get(host, NONE)
        if self._subdomains:
            dot = host.find(".")
            while dot >= 0:
                yield from self._subdomains.get(host[dot + 1 :], NONE)
                dot = host.find(".", dot + 1)
        if self._networks or self._literals or self._labels:
            address = authority.ip
            if address is None:
                if "." not in host:
                    yield from self._labels
            else:
                yield from self._literals
                yield from self._network_numbers(address)

    def _network_numbers(self, address: IPAddress) -> Iterator[int]:
        for one in {address, embedded(address)}:
            for version, length in self._prefixes:
                if version == one.version:
                    bits = int(one) >> (one.max_prefixlen - length)
                    yield from self._networks.get((version, length, bits), NONE)
