"""Tests for L{egress.runtime.build}, and for what the compiler accepts but then fails on."""

from __future__ import annotations

import ast
import re
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime import build

ROOT = Path(__file__).parents[2]
# The layers with code that runs for each request.  Other packages run at the start, on reload, or for people.
HOT_LAYERS = frozenset(
    {
        "authz",
        "grpc",
        "http",
        "http2",
        "messages",
        "model",
        "observability",
        "policy",
        "proxy",
        "relay",
        "runtime",
        "transport",
        "upstream",
    }
)


def sources() -> dict[str, str]:
    """Return the source of each compiled module."""
    return {name: (ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8") for name in build.COMPILED}


class NameTests(SynchronousTestCase):
    """The build is found from the files of the compiled modules."""

    def name_with(self, *origins: str | None) -> str:
        specs = [None if origin is None else ModuleSpec("m", None, origin=origin) for origin in origins]
        with mock.patch.object(build, "COMPILED", origins), mock.patch.object(build, "find_spec", side_effect=specs):
            return build.build_name()

    def test_names(self) -> None:
        suffix = EXTENSION_SUFFIXES[0]
        self.assertEqual(self.name_with(f"/a{suffix}", f"/b{suffix}"), "compiled")
        self.assertEqual(self.name_with("/a.py", "/b.py"), "pure")
        self.assertEqual(self.name_with(f"/a{suffix}", "/b.py"), "mixed")
        self.assertEqual(self.name_with(None), "pure")

    def test_this_tree(self) -> None:
        """A tree with compiled modules of another state would be measured and tested as something else."""
        self.assertIn(build.build_name(), ("compiled", "pure"))


class CompiledTests(SynchronousTestCase):
    """The compiled modules."""

    def test_layers(self) -> None:
        """Only modules of the hot path are compiled, and of these only those of the layers that process requests."""
        self.assertEqual(list(build.COMPILED), sorted(set(build.COMPILED)))
        self.assertLessEqual({name.split(".")[1] for name in build.COMPILED}, HOT_LAYERS)
        layers = (ROOT / ".importlinter").read_text(encoding="utf-8")
        for layer in HOT_LAYERS:
            self.assertRegex(layers, rf"(?m)^    (\w+ \| )*{layer}( \| \w+)*$")

    def test_final_tuples_of_numbers(self) -> None:
        """A C{Final} tuple of floats without a type has no value at run time (mypy 2.4)."""
        for name, source in sources().items():
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Final":
                    values = node.value.elts if isinstance(node.value, ast.Tuple) else []
                    kinds = {type(each.value) for each in values if isinstance(each, ast.Constant)}
                    self.assertNotIn(float, kinds, f"{name}: {ast.unparse(node.target)}")

    def test_one_name_for_each_exception(self) -> None:
        """A name of two C{except} clauses has the type of the first one, and the other exception is a C{TypeError}."""
        for name, source in sources().items():
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Try):
                    names = [handler.name for handler in node.handlers if handler.name is not None]
                    self.assertEqual(sorted(names), sorted(set(names)), name)

    def test_identity_of_tuples(self) -> None:
        """A C{Final} tuple is no object, so it is identical to nothing."""
        for name, source in sources().items():
            tree = ast.parse(source)
            tuples = {
                ast.unparse(target)
                for node in tree.body
                if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Tuple)
                for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
                    operands = {ast.unparse(each) for each in (node.left, *node.comparators)}
                    self.assertFalse(operands & tuples, f"{name}: {ast.unparse(node)}")

    def test_decorators(self) -> None:
        """C{@attribute.default} has no effect in a compiled class, and a native class has no cached property."""
        for name, source in sources().items():
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    for decorator in map(ast.unparse, node.decorator_list):
                        self.assertNotRegex(decorator, r"\.default$|cached_property$", f"{name}: {node.name}")

    def test_defaults_of_fields(self) -> None:
        """A class body checks the type of a value, so C{attrs.field} needs a default without a type."""
        for name, source in sources().items():
            for default in re.findall(r"attrs\.field\((?:[^()]|\([^()]*\))*", source):
                self.assertNotRegex(default, r"default=(?!_[A-Z])|factory=", name)
