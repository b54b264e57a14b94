"""Tests for L{benchmarks.builds} and L{benchmarks.peers.ours}: which code an entrant runs."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import builds as builds_module
from benchmarks.__main__ import chosen_peers, entrants
from benchmarks.builds import builds, compiled_copy, digest
from benchmarks.peers import PeerFailed
from benchmarks.peers.ours import TREE, Ours, build_in
from benchmarks.scenarios import BEFORE, COMPILED, PURE, SCENARIOS


class OursTests(SynchronousTestCase):
    """A label is compared with what the program says."""

    def test_build(self) -> None:
        self.assertEqual(build_in("egressproxy 0.2.0 (compiled build)\n"), "compiled")
        self.assertEqual(build_in("egressproxy 0.2.0 (pure build, Twisted 1)\n"), "pure")
        self.assertRaises(PeerFailed, build_in, "egressproxy 0.2.0")

    def test_this_tree(self) -> None:
        build = build_in(f"({Ours().version().partition(', ')[2]})")
        self.assertIsNone(Ours(build=build).missing())
        other = "pure" if build == "compiled" else "compiled"
        self.assertIn(f"is the {build} build, not the {other} one", Ours(build=other).missing() or "")

    def test_another_tree(self) -> None:
        """A directory without the package does not run the one of this tree under its name."""
        empty = Path(self.mktemp()).resolve()
        empty.mkdir()
        self.assertIsNotNone(Ours(tree=empty).missing())
        (empty / "egress").mkdir()
        (empty / "egress/__init__.py").touch()
        self.assertIn("egress", Ours(tree=empty).missing() or "")

    def test_installed(self) -> None:
        """An environment in which this tree is installed is no other version."""
        with mock.patch("benchmarks.peers.ours.TREE", Path("/")):
            self.assertIn("uses this source tree", Ours(tree=None).missing() or "")
        self.assertIsNotNone(Ours(tree=None, python="/nonexistent/python").missing())


class BuildsTests(SynchronousTestCase):
    """The entrants of this project."""

    def names(self, *arguments: object) -> list[str]:
        return [one.name for one in builds(*arguments)]  # type: ignore[arg-type]

    def test_names(self) -> None:
        tree = Path(self.mktemp())
        self.assertEqual(self.names(None, None, None), [PURE])
        self.assertEqual(self.names(tree, tree, None), [COMPILED, PURE, BEFORE])
        self.assertEqual(self.names(None, None, sys.executable), [PURE, BEFORE])

    def test_chosen(self) -> None:
        ours = list(builds(Path(), None, None))
        self.assertEqual([one.name for one in chosen_peers(["egressproxy", "squid"], ours)], [COMPILED, PURE, "Squid"])
        self.assertEqual([one.name for one in chosen_peers([PURE.upper()], ours)], [PURE])
        self.assertEqual(chosen_peers(None, ours)[:2], ours)
        self.assertRaises(ValueError, chosen_peers, ["other"], ours)

    def test_variants(self) -> None:
        """One build of this tree runs them, the compiled one if it takes part."""
        (scenario,) = [one for one in SCENARIOS if one.name == "workers"]
        for chosen, expected in (((BEFORE, PURE), PURE), ((COMPILED, PURE), COMPILED), ((BEFORE,), None)):
            found = list(entrants(scenario, [(Ours(name), "1") for name in chosen]))
            with self.subTest(chosen=chosen):
                self.assertEqual({peer.name for _, peer, _ in found}, {expected} - {None})
                names = ["egressproxy, 1 worker", "egressproxy, 2 workers"] if expected else []
                self.assertEqual([entrant.name for entrant, _, _ in found], names)


class CopyTests(SynchronousTestCase):
    """The compiled copy."""

    def setUp(self) -> None:
        self.tree, self.copy = Path(self.mktemp()), Path(self.mktemp())
        (self.tree / "egress").mkdir(parents=True)
        (self.tree / "egress/one.py").write_text("x = 1\n")
        (self.tree / "twisted").mkdir()
        for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md"):
            shutil.copy(TREE / name, self.tree / name)
        self.ran: list[object] = []
        self.patch(builds_module, "run", self.compile)
        self.patch(sys, "stdout", io.StringIO())

    def compile(self, command: object, environment: object, cwd: Path, deadline: float) -> str:
        self.ran.append(environment)
        self.assertEqual((cwd / "egress/one.py").read_text(), (self.tree / "egress/one.py").read_text())
        return ""

    def test_only_once(self) -> None:
        compiled_copy(self.copy, self.tree)
        self.assertEqual(compiled_copy(self.copy, self.tree), self.copy)
        self.assertEqual(self.ran, [{"EGRESS_COMPILE": "1"}])
        (self.tree / "egress/one.py").write_text("x = 2\n")
        compiled_copy(self.copy, self.tree)
        self.assertEqual(len(self.ran), 2)

    def test_a_failure(self) -> None:
        def fails(*_: object, **__: object) -> str:
            raise PeerFailed("no compiler")

        self.patch(builds_module, "run", fails)
        self.assertIn("no compiler", str(self.assertRaises(PeerFailed, compiled_copy, self.copy, self.tree)))
        # The next run tries again.
        self.assertEqual([path.name for path in self.copy.glob("*.sha256")], [])

    def test_digest(self) -> None:
        before = digest(self.tree)
        (self.tree / "egress/two.py").touch()
        self.assertNotEqual(digest(self.tree), before)
