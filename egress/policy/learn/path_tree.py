"""The reduction of many paths to few patterns: many siblings become C{*}, too many branches become C{**}."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from egress.policy.learn.path_templates import ANY, REST, pattern_of

MANY_ALIKE: Final = 8
"""The number of names with equal methods and equal subtrees from which they are merged into C{*}."""

MANY_AT_ROOT: Final = 12
"""The same number for the first segment, whose names more often denote kinds of resources than identifiers."""

MANY: Final = 20
"""Above this number of names, names are merged regardless of their subtrees."""

# Above this multiple of the wanted number of patterns, all branches of the deepest level are cut together.
_CUT_LEVEL_FACTOR: Final = 8

Structure = tuple[frozenset[str], tuple[tuple[str, "Structure"], ...]]


@attrs.frozen
class PathUse:
    """The requests that match a pattern with one method.

    @ivar pattern: the path pattern.
    @ivar method: the method.
    @ivar count: the number of requests.
    @ivar example: the URL of one request, with any method.
    """

    pattern: str
    method: str
    count: int
    example: str


class PathTree:
    """A tree of path segments."""

    def __init__(self) -> None:
        self._children: dict[str, PathTree] = {}
        self._methods: dict[str, int] = {}
        self._example = ""

    def add(self, shape: tuple[str, ...], method: str, count: int, example: str) -> None:
        """Add requests for one path."""
        node = self
        for segment in shape:
            node = node._children.setdefault(segment, PathTree())
        node._record(method, count, example)

    def _record(self, method: str, count: int, example: str) -> None:
        self._methods[method] = self._methods.get(method, 0) + count
        # The shortest URL, so that the order of the requests does not matter.
        if not self._example or (len(example), example) < (len(self._example), self._example):
            self._example = example

    def _absorb(self, other: PathTree) -> None:
        for method, count in other._methods.items():
            self._record(method, count, other._example)
        for segment, node in other._children.items():
            self._children.setdefault(segment, PathTree())._absorb(node)

    def merge(self, alike_from: int = MANY_AT_ROOT) -> None:
        """Merge siblings that are many, or that another sibling covers.

        @param alike_from: the number of siblings with equal methods and subtrees from which they are merged.
        """
        for node in self._children.values():
            node.merge(MANY_ALIKE)
        names = sorted(segment for segment in self._children if segment and "*" not in segment)
        alike: dict[Structure, list[str]] = {}
        for name in names:
            alike.setdefault(self._children[name]._structure(), []).append(name)
        groups = [names] if len(names) > MANY else [group for group in alike.values() if len(group) >= alike_from]
        merged = [name for group in groups for name in group]
        if merged:
            found = self._children.setdefault(ANY, PathTree())
            for name in merged:
                found._absorb(self._children.pop(name))
            found.merge(MANY_ALIKE)
        anything = self._children.get(ANY)
        for name in sorted(self._children):
            if anything is not None and name not in ("", ANY, REST) and self._children[name]._is_within(anything):
                anything._absorb(self._children.pop(name))

    def _structure(self) -> Structure:
        children = sorted(self._children.items(), key=lambda item: item[0])
        return frozenset(self._methods), tuple((segment, node._structure()) for segment, node in children)

    def _is_within(self, other: PathTree) -> bool:
        """Whether the other subtree allows all requests that this one allows."""
        if not self._methods.keys() <= other._methods.keys():
            return False
        return all(
            segment in other._children and node._is_within(other._children[segment])
            for segment, node in self._children.items()
        )

    def limit(self, most: int) -> bool:
        """Replace the deepest branches with C{**} until the number of patterns is at most C{most}.

        @return: whether this was possible: a single pattern for everything below the root would have no meaning.
        """
        while (number := sum(1 for _ in self._ends(()))) > most:
            branches = sorted(self._branches(0), key=lambda found: found[:2], reverse=True)
            if not branches:
                return False
            for depth, _, branch in branches if number > _CUT_LEVEL_FACTOR * most else branches[:1]:
                if depth == branches[0][0]:
                    branch._collapse()
        return True

    def _branches(self, depth: int, name: str = "") -> Iterator[tuple[int, str, PathTree]]:
        """Yield the branches below the root that have several ends, with their depth."""
        if depth and sum(1 for _ in self._ends(())) > 1:
            yield depth, name, self
        for segment in sorted(self._children):
            yield from self._children[segment]._branches(depth + 1, f"{name}/{segment}")

    def _collapse(self) -> None:
        rest = PathTree()
        for _, node in list(self._ends(())):
            for method, count in node._methods.items():
                rest._record(method, count, node._example)
        self._methods = {}
        self._children = {REST: rest}

    def _ends(self, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], PathTree]]:
        if self._methods:
            yield prefix, self
        for segment in sorted(self._children):
            yield from self._children[segment]._ends((*prefix, segment))

    def uses(self) -> list[PathUse]:
        """Return all patterns, in order."""
        return [
            PathUse(pattern_of(shape), method, count, node._example)
            for shape, node in self._ends(())
            for method, count in sorted(node._methods.items())
        ]
