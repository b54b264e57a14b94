"""Tests for L{egress.policy.learn.path_tree}."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.path_templates import shape_of
from egress.policy.learn.path_tree import PathTree, PathUse


class PathTreeTests(SynchronousTestCase):
    """Many paths are reduced to few patterns."""

    def tree(self, paths: Iterable[str], method: str = "GET") -> PathTree:
        tree = PathTree()
        for path in paths:
            tree.add(shape_of(path), method, 1, path)
        tree.merge()
        return tree

    def patterns(self, tree: PathTree) -> list[str]:
        return [use.pattern for use in tree.uses()]

    def test_uses(self) -> None:
        tree = self.tree(["/items/10", "/items/2", "/items/3"])
        tree.add(("items", "*"), "DELETE", 4, "/items/1")
        self.assertEqual(
            tree.uses(),
            [PathUse("/items/*", "DELETE", 4, "/items/1"), PathUse("/items/*", "GET", 3, "/items/1")],
        )

    def test_many_alike(self) -> None:
        """From eight names on, names with equal subtrees are merged."""
        names = "abcdefgh"
        self.assertEqual(self.patterns(self.tree(f"/simple/{name}/" for name in names)), ["/simple/*/"])
        self.assertEqual(len(self.patterns(self.tree(f"/simple/{name}/" for name in names[:7]))), 7)

    def test_not_alike(self) -> None:
        """Names with different methods or subtrees are not merged."""
        paths = [f"/api/{name}/{name}" for name in "abcdefgh"]
        self.assertEqual(len(self.patterns(self.tree(paths))), 8)
        tree = PathTree()
        for number, name in enumerate("abcdefgh"):
            tree.add(("api", name), "GET" if number % 2 else "POST", 1, name)
        tree.merge()
        self.assertEqual(len(self.patterns(tree)), 8)

    def test_at_the_root(self) -> None:
        self.assertEqual(len(self.patterns(self.tree(f"/{name}" for name in "abcdefghijk"))), 11)
        self.assertEqual(self.patterns(self.tree(f"/{name}" for name in "abcdefghijkl")), ["/*"])

    def test_many_regardless_of_subtrees(self) -> None:
        paths = [f"/api/{name}/{name}" for name in "abcdefghijklmnopqrstu"]
        self.assertEqual(len(self.patterns(self.tree(paths[:20]))), 20)
        self.assertEqual(self.patterns(self.tree(paths)), ["/api/*/*"])

    def test_covered(self) -> None:
        """A path that another pattern covers needs no pattern of its own."""
        self.assertEqual(self.patterns(self.tree(["/items/1", "/items/search", "/items/"])), ["/items/", "/items/*"])
        tree = self.tree(["/items/1/parts", "/items/new/parts", "/items/new/other"])
        self.assertEqual(self.patterns(tree), ["/items/*/parts", "/items/new/other", "/items/new/parts"])
        tree = self.tree(["/items/1"])
        tree.add(("items", "search"), "POST", 1, "x")
        tree.merge()
        self.assertEqual(self.patterns(tree), ["/items/*", "/items/search"])

    def test_limit(self) -> None:
        """The deepest branches are replaced first."""
        tree = self.tree(["/a/b/c/1x", "/a/b/c/2x", "/a/b/d", "/e"])
        self.assertTrue(tree.limit(4))
        self.assertEqual(len(tree.uses()), 4)
        self.assertTrue(tree.limit(3))
        self.assertEqual(self.patterns(tree), ["/a/b/c/**", "/a/b/d", "/e"])
        self.assertEqual(tree.uses()[0].count, 2)
        self.assertTrue(tree.limit(2))
        self.assertEqual(self.patterns(tree), ["/a/b/**", "/e"])
        self.assertFalse(tree.limit(1), "there is nothing to say for all of it")

    def test_limit_of_very_many(self) -> None:
        tree = self.tree(f"/{a}/{b}{a}/{b}x{c}{a}" for a in "abcde" for b in "abcde" for c in "abcde")
        self.assertTrue(tree.limit(10))
        found = self.patterns(tree)
        self.assertLessEqual(len(found), 10)
        self.assertTrue(all(pattern.endswith("/**") for pattern in found), found)
