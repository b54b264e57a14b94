"""The layout of the project: tests mirror the code, and modules stay short.  For imports, see C{.importlinter}."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.purity import is_pure, pure_units

ROOT = Path(__file__).parent.parent
MAX_LINES = 400
MAX_POSITIONAL = 5

# Tests that do not belong to one module.
APART = (
    *("tests/benchmarks/", "tests/integration/", "tests/docs/", "tests/field/", "tests/fuzz/", "tests/scorecard/"),
    *("tests/fleet/", "tests/http2_conformance/"),
    *("tests/test_layout.py", "tests/test_packaging.py"),
)


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted names and files of all modules of egress."""
    for path in sorted((ROOT / "egress").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), path


class ImportTests(SynchronousTestCase):
    """Effects of an import that the contracts of C{.importlinter} cannot see."""

    def test_pure_code_loads_no_reactor_code(self) -> None:
        """Pure modules do not load C{twisted.internet}, not even indirectly through a library."""
        pure = [name for name, _ in modules() if is_pure(name)]
        self.assertGreater(len(pure), 80)
        # The __init__ modules of their packages are loaded with them, and must meet the same rule.
        self.assertEqual(self.loaded_by(pure, "twisted.internet"), "")

    def test_pure_units_exist(self) -> None:
        """Every name in the contract exists."""
        known = {name for name, _ in modules()}
        self.assertEqual([unit for unit in pure_units() if unit not in known], [])

    def test_no_reactor_is_installed(self) -> None:
        """Importing every module leaves the choice of the reactor open."""
        self.assertEqual(self.loaded_by([name for name, _ in modules()], "twisted.internet.reactor"), "")

    def loaded_by(self, names: list[str], package: str) -> str:
        """Import modules in a fresh interpreter, and return the loaded modules of a package."""
        code = (
            f"import importlib, sys\n"
            f"for name in {names!r}: importlib.import_module(name)\n"
            f"print(*(name for name in sorted(sys.modules) if f'{{name}}.'.startswith('{package}.')))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()


def does_something(source: str) -> bool:
    """Return whether a module has code to test: a function that is more than a signature and a docstring."""
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)) for part in node.body)
        for node in ast.walk(ast.parse(source))
    )


class MirrorTests(SynchronousTestCase):
    """The tests mirror the tree of the code."""

    def tests(self) -> list[str]:
        """Return every test module that belongs to one module."""
        found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py"))]
        # Programs in other languages that tests install are in tests/integration, which is excluded.
        return [path for path in found if not path.startswith(APART)]

    def test_every_module_has_tests(self) -> None:
        """C{egress/a/b.py} has C{tests/a/test_b.py}."""
        inner = [
            path.relative_to(ROOT / "egress")
            for _, path in modules()
            if does_something(path.read_text(encoding="utf-8"))
        ]
        self.assertGreater(len(inner), 30)
        expected = [Path("tests", path.parent, f"test_{path.name}") for path in inner]
        self.assertEqual([str(path) for path in expected if not (ROOT / path).exists()], [])

    def test_every_test_has_a_module(self) -> None:
        """Every test module belongs to a module."""
        tests = [Path(test).relative_to("tests") for test in self.tests()]
        self.assertGreater(len(tests), 30)
        tested = [Path("egress", path.parent, path.name.removeprefix("test_")) for path in tests]
        self.assertEqual([str(path) for path in tested if not (ROOT / path).exists()], [])

    def test_packages(self) -> None:
        """A directory with tests is a package; otherwise trial would skip it."""
        directories = {path.parent for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts}
        self.assertEqual([str(path) for path in directories if not (path / "__init__.py").exists()], [])

    def test_does_something(self) -> None:
        """Interfaces and tables have no code to test; properties do."""
        self.assertFalse(does_something('class I:\n    def f():\n        """Doc."""\nX = {1: 2}'))
        self.assertTrue(does_something("class C:\n    @property\n    def p(self):\n        return 1"))


def positional_arguments(node: ast.AST) -> int:
    """Return how many arguments a function, or the constructor of an C{attrs} class, takes by position."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        return len(names) - (names[:1] in (["self"], ["cls"]))
    if not isinstance(node, ast.ClassDef):
        return 0
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    if not any(text.startswith(("attrs.frozen", "attrs.define")) and "kw_only=True" not in text for text in decorators):
        return 0
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    return sum(
        "ClassVar" not in ast.unparse(field.annotation)
        and not re.search(r"\b(init=False|kw_only=True)", ast.unparse(field.value) if field.value else "")
        for field in fields
    )


def is_value(node: ast.AST) -> bool:
    """Return whether a node is the class of a value whose constructor is written out, so that it is compiled."""
    return isinstance(node, ast.ClassDef) and any("attr.s" in ast.unparse(each) for each in node.decorator_list)


def functions_and_classes(source: str, pure: bool) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Return the functions and classes of a module, without the classes and constructors of values in a pure one."""
    tree = ast.parse(source)
    values = {id(part) for node in ast.walk(tree) if is_value(node) for part in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not (
            pure and (isinstance(node, ast.ClassDef) or (node.name == "__init__" and id(node) in values))
        ):
            yield node


class ArgumentTests(SynchronousTestCase):
    """More than five collaborators are named where they are passed."""

    def test_arguments(self) -> None:
        """A value has no collaborators: the fields of values in pure modules may be more."""
        found = {
            (name, node.name): number
            for name, path in modules()
            for node in functions_and_classes(path.read_text(encoding="utf-8"), is_pure(name))
            if (number := positional_arguments(node)) > MAX_POSITIONAL
        }
        self.assertEqual(found, {})

    def test_constructors(self) -> None:
        """Only the constructors of values may have more arguments, and only in pure modules."""
        source = "@attr.s(init=False)\nclass C:\n    def __init__(self, a): pass\n    def f(self, a): pass\n"
        source += "class D:\n    def __init__(self, a): pass"
        names = [node.name for node in functions_and_classes(source, pure=True)]
        self.assertEqual(names, ["f", "__init__"])
        names = [node.name for node in functions_and_classes(source, pure=False)]
        self.assertEqual(sorted(names), ["C", "D", "__init__", "__init__", "f"])

    def test_positional_arguments(self) -> None:
        """Arguments that are not positional do not count."""
        body = "\n    a: int\n    b: int = 1\n    c: int = attrs.field(init=False)\n    d: ClassVar[int] = 2"
        for source, expected in (
            (f"@attrs.frozen\nclass C:{body}", 2),
            (f"@attrs.define(kw_only=True)\nclass C:{body}", 0),
            (f"class C:{body}", 0),
            ("def f(self, a, /, b, *c, d, **e): pass", 2),
            ("async def f(a, b, *, c): pass", 2),
        ):
            with self.subTest(source):
                self.assertEqual(positional_arguments(ast.parse(source).body[0]), expected)


class LengthTests(SynchronousTestCase):
    """A module has one purpose and a readable length."""

    def test_lengths(self) -> None:
        """No module exceeds the limit of lines."""
        lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules()}
        self.assertEqual({name: lines for name, lines in lengths.items() if lines > MAX_LINES}, {})
