"""The suggestion of a policy from traffic: a few readable rules that allow all recorded requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from egress.model.authority import Authority
from egress.model.decision import Stage
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.host_groups import group_by_domain
from egress.policy.learn.path_templates import REST, shape_of
from egress.policy.learn.path_tree import PathTree, PathUse
from egress.policy.match.paths import readings
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

MAX_RULES: Final = 12
"""The default limit of the number of rules, so that a reviewer can read them in one session."""

MIN_RULES: Final = 2
"""The minimum number of rules: one for requests, one for tunnels."""

_MAX_PATHS: Final = 12
_MAX_DEPTH: Final = 24
_MAX_SPLITS: Final = 3
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1, without TRACE
# The default ports of the policy (L{egress.policy.parse.load}).
_METHOD: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Z]+")
_CONNECT: Final = "CONNECT"
_CALL_METHOD: Final = "POST"
_ALL_SERVICES: Final = ("*",)

Endpoint = tuple[str, int]
"""Scheme and port; the scheme is empty for tunnels."""


def by_domain(host: str) -> list[str]:
    """Return a sort key that sorts hosts by their domain."""
    return host.split(".")[::-1]


@attrs.frozen
class SuggestedRule:
    """A rule that allows some of the traffic; an empty attribute does not restrict.

    @ivar hosts: host patterns.
    @ivar ports: ports.
    @ivar schemes: C{"http"} and C{"https"}.
    @ivar methods: methods; C{"CONNECT"} for tunnels.
    @ivar paths: path patterns.
    @ivar count: the number of requests that the rule allows.
    @ivar example: the URL of one of them.
    @ivar services: the services of gRPC calls; empty for other requests.
    @ivar calls: the methods of these services.
    """

    hosts: frozenset[str]
    ports: frozenset[int]
    schemes: frozenset[str]
    methods: frozenset[str]
    paths: tuple[str, ...]
    count: int
    example: str
    services: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()

    @property
    def tunnels(self) -> bool:
        """Whether the rule is for tunnels."""
        return self.methods == {_CONNECT}

    @property
    def order(self) -> tuple[object, ...]:
        """The sort key: tunnels last, hosts by their domain."""
        hosts = sorted(map(by_domain, self.hosts))
        writes = not self.methods <= _SAFE
        endpoint = (sorted(self.ports), sorted(self.schemes))
        return (self.tunnels, hosts, *endpoint, writes, sorted(self.methods), self.paths, self.services, self.calls)


class _Calls:
    """The gRPC calls to one host, or to a group of hosts, at one port."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, int]] = {}
        self._example: dict[str, str] = {}

    def add(self, service: str, method: str, url: str, count: int) -> None:
        """Add calls of a method."""
        methods = self.services.setdefault(service, {})
        methods[method] = methods.get(method, 0) + count
        self._example[service] = min(self._example.get(service, url), url)

    def rules(self, key: tuple[Endpoint, str]) -> list[SuggestedRule]:
        """Return one rule for each service."""
        return [self._rule(key, service) for service in self.services]

    def _rule(self, key: tuple[Endpoint, str], service: str) -> SuggestedRule:
        (scheme, port), host = key
        methods = self.services[service]
        return SuggestedRule(
            frozenset({host}),
            frozenset({port}),
            frozenset({scheme}),
            frozenset({_CALL_METHOD}),
            (),
            sum(methods.values()),
            self._example[service],
            (service,),
            tuple(sorted(methods)) if len(methods) <= _MAX_PATHS else (),
        )


class _Site:
    """The requests to one host, or to a group of hosts, at one port."""

    def __init__(self) -> None:
        self.tree = PathTree()
        self.pathless: dict[str, int] = {}
        self.example = ""

    def add(self, method: str, path: str, url: str, count: int) -> None:
        """Add requests, each path in all its interpretations."""
        if not self.example or (len(url), url) < (len(self.example), self.example):
            self.example = url
        try:
            found = readings(path, WorkBudget())
        except TooMuchWork:
            found = ()
        if not found or not all(reading.startswith("/") for reading in found) or not _METHOD.fullmatch(method):
            # No pattern matches the path with certainty.
            self.pathless[method] = self.pathless.get(method, 0) + count
            return
        for number, reading in enumerate(found):
            shape = shape_of(reading)
            if len(shape) > _MAX_DEPTH:
                shape = (*shape[:_MAX_DEPTH], REST)
            self.tree.add(shape, method, 0 if number else count, url)

    def uses(self) -> list[PathUse]:
        """Return all patterns; an empty pattern matches every path."""
        self.tree.merge()
        everything = [PathUse("", method, count, self.example) for method, count in sorted(self.pathless.items())]
        limited = self.tree.limit(_MAX_PATHS)
        uses = self.tree.uses()
        return everything + (uses if limited else [attrs.evolve(use, pattern="") for use in uses])


class Suggestion:
    """Collects traffic and generates rules from it.

    @ivar requests: the number of requests.
    @ivar hosts: the hosts of the requests.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.hosts: set[str] = set()
        self._seen: dict[tuple[str, Authority, str, str], int] = {}
        # Scheme, authority, service and method.
        self._calls: dict[tuple[str, Authority, str, str], int] = {}

    def add(self, line: AuditLine) -> None:
        """Add one request."""
        self.requests += 1
        authority = line.origin.authority
        self.hosts.add(authority.host)
        call = line.call
        if call is not None:
            called = (line.origin.scheme, authority, call.service, call.method)
            self._calls[called] = self._calls.get(called, 0) + 1
            return
        if line.stage is Stage.TUNNEL:
            key = ("", authority, _CONNECT, "")
        else:
            key = (line.origin.scheme, authority, line.method, line.path.partition("?")[0])
        self._seen[key] = self._seen.get(key, 0) + 1

    def rules(self, most: int = MAX_RULES) -> list[SuggestedRule]:
        """Generate at most C{most} rules, as exact as that limit permits."""
        requests, tunnels, calls = self._sites()
        connects = _gathered(_connect(endpoint, host, count, url) for (endpoint, host), (count, url) in tunnels.items())
        uses = {key: site.uses() for key, site in requests.items()}
        found: list[SuggestedRule] = []
        for split in (_by_methods, _by_safety, _as_one):
            found = _gathered(rule for key, use in uses.items() for rule in split(key, use))
            called = [rules for key, each in calls.items() if (rules := each.rules(key))]
            if split is _as_one:
                called = [[_folded(rules)] for rules in called]
            found += _gathered(rule for rules in called for rule in rules)
            if len(found) + len(connects) <= most:
                return _ordered(found + connects)
        # The rules with the most requests stay separate.
        found.sort(key=lambda rule: (-rule.count, rule.order))
        if len(connects) > 1:
            connects = [_folded(connects)]
        for separate in range(min(len(found), most), 0, -1):
            rest = _gathered(_wide(rule) for rule in found[separate:])
            rules = found[:separate] + _by_endpoint(rest) + connects
            if len(rules) <= most:
                return _ordered(rules)
        return _ordered(([_folded(found)] if found else []) + connects)

    def _sites(
        self,
    ) -> tuple[
        dict[tuple[Endpoint, str], _Site],
        dict[tuple[Endpoint, str], tuple[int, str]],
        dict[tuple[Endpoint, str], _Calls],
    ]:
        hosts: dict[Endpoint, set[str]] = {}
        for scheme, authority, _, _ in (*self._seen, *self._calls):
            hosts.setdefault((scheme, authority.port), set()).add(authority.host)
        patterns = {endpoint: group_by_domain(names) for endpoint, names in hosts.items()}
        requests: dict[tuple[Endpoint, str], _Site] = {}
        tunnels: dict[tuple[Endpoint, str], tuple[int, str]] = {}
        for (scheme, authority, method, path), count in sorted(self._seen.items(), key=lambda item: str(item[0])):
            endpoint = (scheme, authority.port)
            key = (endpoint, patterns[endpoint][authority.host])
            if scheme:
                url = f"{scheme}://{authority.url_host}{_port(scheme, authority.port)}{'' if path == '*' else path}"
                requests.setdefault(key, _Site()).add(method, path, url, count)
            else:
                before, example = tunnels.get(key, (0, str(authority)))
                tunnels[key] = (before + count, example)
        calls: dict[tuple[Endpoint, str], _Calls] = {}
        for (scheme, authority, service, method), count in sorted(self._calls.items(), key=lambda item: str(item[0])):
            endpoint = (scheme, authority.port)
            key = (endpoint, patterns[endpoint][authority.host])
            url = f"{scheme}://{authority.url_host}{_port(scheme, authority.port)}/{service}/{method}"
            calls.setdefault(key, _Calls()).add(service, method, url, count)
        return requests, tunnels, calls


def _port(scheme: str, port: int) -> str:
    return "" if (scheme, port) in (("http", 80), ("https", 443)) else f":{port}"


def _connect(endpoint: Endpoint, host: str, count: int, example: str) -> SuggestedRule:
    ports = frozenset({endpoint[1]})
    return SuggestedRule(frozenset({host}), ports, frozenset(), frozenset({_CONNECT}), (), count, example)


def _rule(key: tuple[Endpoint, str], uses: list[PathUse]) -> SuggestedRule:
    (scheme, port), host = key
    methods = frozenset(use.method for use in uses)
    return SuggestedRule(
        frozenset({host}),
        frozenset({port}),
        frozenset({scheme}),
        methods if all(_METHOD.fullmatch(method) for method in methods) else frozenset(),
        () if any(not use.pattern for use in uses) else tuple(sorted({use.pattern for use in uses})),
        sum(use.count for use in uses),
        min((use.example for use in uses), key=lambda url: (len(url), url)),
    )


def _by_methods(key: tuple[Endpoint, str], uses: list[PathUse]) -> list[SuggestedRule]:
    """Return one rule for safe methods and one per unsafe method, or fewer if these are many or have equal paths."""
    found: dict[str, list[PathUse]] = {}
    for use in uses:
        found.setdefault("" if use.method in _SAFE else use.method, []).append(use)
    if len(found) > _MAX_SPLITS:
        return _by_safety(key, uses)
    same_paths: dict[tuple[str, ...], list[PathUse]] = {}
    for group in found.values():
        same_paths.setdefault(_rule(key, group).paths, []).extend(group)
    return [_rule(key, group) for group in same_paths.values()]


def _by_safety(key: tuple[Endpoint, str], uses: list[PathUse]) -> list[SuggestedRule]:
    """Return one rule for safe methods, and one for unsafe methods."""
    found: dict[bool, list[PathUse]] = {}
    for use in uses:
        found.setdefault(use.method in _SAFE, []).append(use)
    return [_rule(key, group) for group in found.values()]


def _as_one(key: tuple[Endpoint, str], uses: list[PathUse]) -> list[SuggestedRule]:
    return [_rule(key, uses)]


def _wide(rule: SuggestedRule) -> SuggestedRule:
    return attrs.evolve(rule, paths=(), calls=())


def _by_endpoint(rules: list[SuggestedRule]) -> list[SuggestedRule]:
    """Return one rule for each scheme and port."""
    found: dict[tuple[object, object], list[SuggestedRule]] = {}
    for rule in rules:
        found.setdefault((rule.schemes, rule.ports), []).append(rule)
    return [_folded(group) for group in found.values()]


def _folded(rules: list[SuggestedRule]) -> SuggestedRule:
    """Return one rule that allows all requests that any of the rules allows."""
    return SuggestedRule(
        frozenset().union(*(rule.hosts for rule in rules)),
        frozenset().union(*(rule.ports for rule in rules)),
        frozenset().union(*(rule.schemes for rule in rules)),
        frozenset().union(*(rule.methods for rule in rules)) if all(rule.methods for rule in rules) else frozenset(),
        tuple(sorted({path for rule in rules for path in rule.paths})) if _have_few_paths(rules) else (),
        sum(rule.count for rule in rules),
        min((rule.example for rule in rules), key=lambda url: (len(url), url)),
        _folded_services(rules),
        tuple(sorted({call for rule in rules for call in rule.calls})) if _have_few_calls(rules) else (),
    )


def _folded_services(rules: list[SuggestedRule]) -> tuple[str, ...]:
    if not all(rule.services for rule in rules):
        return ()
    services = {service for rule in rules for service in rule.services}
    return tuple(sorted(services)) if len(services) <= _MAX_PATHS else _ALL_SERVICES


def _have_few_calls(rules: list[SuggestedRule]) -> bool:
    calls = {call for rule in rules for call in rule.calls}
    return all(rule.calls for rule in rules) and len(calls) <= _MAX_PATHS


def _have_few_paths(rules: list[SuggestedRule]) -> bool:
    paths = {path for rule in rules for path in rule.paths}
    return all(rule.paths for rule in rules) and len(paths) <= _MAX_PATHS


def _gathered(rules: Iterable[SuggestedRule]) -> list[SuggestedRule]:
    """Merge rules that differ only in their hosts, or only in scheme and port."""
    found = list(rules)
    for same in (
        lambda rule: (rule.ports, rule.schemes, rule.methods, rule.paths, rule.services, rule.calls),
        lambda rule: (rule.hosts, rule.methods, rule.paths, rule.services, rule.calls),
    ):
        groups: dict[object, list[SuggestedRule]] = {}
        for rule in found:
            groups.setdefault(same(rule), []).append(rule)
        found = [_folded(group) if len(group) > 1 else group[0] for group in groups.values()]
    return found


def _ordered(rules: list[SuggestedRule]) -> list[SuggestedRule]:
    return sorted(rules, key=lambda rule: rule.order)


def names_of(rules: list[SuggestedRule]) -> Iterator[str]:
    """Yield a unique, descriptive name for each rule."""
    taken: set[str] = {"default"}
    of_host: dict[frozenset[str], int] = {}
    for rule in rules:
        of_host[rule.hosts] = of_host.get(rule.hosts, 0) + 1
    for rule in rules:
        stem = _stem(rule)
        if of_host[rule.hosts] > 1 and not rule.tunnels and rule.methods:
            stem += f"-{_use_of_calls(rule.services) if rule.services else _use(rule.methods)}"
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:56] or "rule"
        name = stem
        number = 2
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        yield name


def _use(methods: frozenset[str]) -> str:
    if methods <= _SAFE:
        return "read"
    return "write" if len(methods) > 1 else min(methods).lower()


def _use_of_calls(services: tuple[str, ...]) -> str:
    return services[0].rpartition(".")[2] if len(services) == 1 and services != _ALL_SERVICES else "grpc"


def _stem(rule: SuggestedRule) -> str:
    first = min(rule.hosts, key=by_domain).removeprefix("*.")
    more = len(rule.hosts) - 1
    hosts = first if not more else f"{first}-and-{more}-more"
    return f"tunnels-{hosts}" if rule.tunnels else hosts
