"""The tree shows the architecture: imports run one way, tests mirror the code, modules stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
MAX_LINES = 400

# Which unit may import which others: a line names only units of the lines above it, so nothing can run back.  A unit
# is a package or a module of egress; where a module is named apart from its package, its own line counts.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "": frozenset(),  # egress itself: the version
    "model": frozenset(),
    "wire": frozenset({"model"}),
    "policy": frozenset({"model"}),
    "authz.members": frozenset(),
    "authz.codec": frozenset({"model"}),
    "authz.question": frozenset({"model", "authz.codec"}),
    "authz.answer": frozenset({"model", "wire", "authz.members"}),
    "authz.contract": frozenset({"model", "authz.codec", "authz.question", "authz.answer"}),
    "authz.authzen": frozenset({"model", "authz.codec", "authz.question", "authz.answer"}),
    "authz.opa": frozenset({"model", "authz.codec", "authz.question", "authz.answer"}),
    "authz.ext_authz": frozenset({"model", "wire", "authz.codec", "authz.answer"}),
    "authz.cache_key": frozenset({"model"}),
    "authz.kept": frozenset({"model", "authz.cache_key"}),
    "authz.served": frozenset({"model", "authz.members", "authz.contract"}),
    "pdp.bearer": frozenset(),
    "authz.breaker": frozenset(),
    "authz.waiting": frozenset(),
    "authz.secret_table": frozenset({"model"}),
    "ca.constraints": frozenset({"model"}),
    "ca.issuer": frozenset({"model", "ca.constraints"}),
    "ca.truststore": frozenset({"ca.issuer"}),
    "ops.redact": frozenset(),
    "clients.secrets": frozenset({"wire"}),
    "clients.certificates": frozenset(),
    "safe_files": frozenset(),
    "contradictions": frozenset({"model"}),
    "config": frozenset({"model", "contradictions"}),
    "interfaces": frozenset({"model"}),
    "threads": frozenset(),
    "net": frozenset({"model", "wire", "config", "interfaces", "threads"}),
    "ca": frozenset({"model", "ca.constraints", "ca.issuer", "safe_files", "config", "interfaces"}),
    "authz": frozenset(
        {
            *("model", "wire", "policy", "authz.codec", "authz.answer", "authz.contract", "authz.authzen"),
            *("authz.opa", "authz.ext_authz", "authz.cache_key", "authz.kept", "authz.breaker"),
            *("authz.waiting", "authz.secret_table", "ca.issuer", "config", "interfaces", "ca"),
        }
    ),
    "clients": frozenset({"model", "wire", "clients.secrets", "clients.certificates", "interfaces"}),
    "ops": frozenset({"", "model", "ops.redact", "safe_files", "config", "interfaces", "net"}),
    "settings": frozenset({"model", "ops.redact", "contradictions", "config"}),
    "process": frozenset({"", "model", "ops.redact", "config", "settings"}),
    "files": frozenset({"policy", "authz.secret_table", "config", "ca", "authz"}),
    "entrances": frozenset({"model", "clients.secrets", "clients.certificates", "config", "net", "ca", "clients"}),
    "reading": frozenset({"threads"}),
    "binding": frozenset({"safe_files"}),
    "deciding": frozenset(
        {
            *("policy", "authz.kept", "authz.breaker", "authz.secret_table", "config", "interfaces", "ca", "authz"),
            *("ops",),
        }
    ),
    "explain_words": frozenset({"model", "policy", "interfaces"}),
    "explain": frozenset(
        {"model", "wire", "policy", "config", "interfaces", "net", "authz", "deciding", "explain_words"}
    ),
    "desk": frozenset({"model", "ops.redact", "authz"}),
    "service": frozenset(
        {
            *("model", "policy", "authz.secret_table", "ca.issuer", "config", "interfaces", "net", "ca", "authz"),
            *("ops", "process", "files", "entrances", "reading", "threads", "binding", "deciding", "explain", "desk"),
            "clients",
            "contradictions",
        }
    ),
    "workers": frozenset(
        {
            *("model", "ca.issuer", "config", "interfaces", "net", "ca", "authz", "ops", "settings", "process"),
            *("files", "reading", "threads", "binding", "service", "safe_files"),
        }
    ),
    "process.start_fault": frozenset({"model", "config", "workers"}),
    "tap": frozenset(
        {
            *("model", "ca.issuer", "config", "ca", "ops", "settings", "process", "service", "workers"),
            *("process.start_fault",),
        }
    ),
    "pdp": frozenset(
        {
            *("", "model", "policy", "authz.served", "pdp.bearer", "config", "interfaces", "net", "authz", "ops"),
            *("settings", "process", "files", "entrances", "reading", "threads", "binding", "process.start_fault"),
            "contradictions",
        }
    ),
    "commands": frozenset(
        {
            *("model", "policy", "ca.constraints", "ca.issuer", "ca.truststore", "clients.secrets", "config"),
            *("interfaces", "ca", "authz", "settings", "service", "safe_files"),
        }
    ),
    "cli": frozenset({"", "config", "commands"}),
    "__main__": frozenset({"cli"}),
}

# Without input and output: bytes and values in, bytes and values out.
PURE = (
    *("model", "wire", "policy", "ops.redact", "pdp.bearer", "authz.breaker", "authz.secret_table"),
    "authz.waiting",
    *("authz.codec", "authz.members", "authz.question", "authz.answer", "authz.contract", "authz.served"),
    *("authz.authzen", "authz.opa", "authz.ext_authz", "authz.cache_key", "authz.kept"),
    *("ca.constraints", "ca.issuer", "ca.truststore"),
    *("clients.secrets", "clients.certificates"),
)

# What else a unit must do without.
FORBIDDEN = {"net": "treq"} | dict.fromkeys(PURE, "twisted.internet")

# Where a process begins: there alone the global reactor is taken, in a function.
PROGRAMS = ("egress.tap", "egress.workers.worker", "egress.pdp.tap", "egress.commands.running")

# Where annotations alone name what stands further up.  Nothing is imported when the program runs.
ANNOTATIONS = frozenset({("interfaces", "net")})  # what IDialer connects

# Tests that are not of one module.
APART = (
    *("tests/benchmarks/", "tests/integration/", "tests/docs/", "tests/field/", "tests/fuzz/", "tests/scorecard/"),
    *("tests/test_layout.py", "tests/test_packaging.py"),
)


@attrs.frozen
class Import:
    """One import of one name.

    @ivar by: the dotted name of the module that imports.
    @ivar name: the dotted name of the module that is imported, or of something in it.
    @ivar for_types: whether it stands under C{if TYPE_CHECKING}.
    @ivar deferred: whether it stands in a function.
    """

    by: str
    line: int
    name: str
    for_types: bool
    deferred: bool

    def __str__(self) -> str:
        return f"{self.by}:{self.line} imports {self.name}"


def modules() -> Iterator[tuple[str, Path]]:
    """The dotted names and the files of all modules of egress."""
    for path in sorted((ROOT / "egress").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), path


def _of(node: ast.AST, by: str, is_package: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = by.split(".")[: len(by.split(".")) - node.level + is_package]
            base = ".".join([*above, base] if base else above)
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_in(source: str, by: str, *, is_package: bool = False) -> Iterator[Import]:
    """Read the imports of one module, wherever in it they stand."""

    def walk(node: ast.AST, for_types: bool, deferred: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for name in _of(child, by, is_package):
                yield Import(by, child.lineno, name, for_types, deferred)  # type: ignore[attr-defined]
            inside = deferred or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
                for statement in child.body:
                    yield from walk(ast.Module([statement], []), True, inside)
                yield from walk(ast.Module(child.orelse, []), for_types, inside)
            else:
                yield from walk(child, for_types, inside)

    yield from walk(ast.parse(source), False, False)


def imports_of(name: str, path: Path) -> Iterator[Import]:
    """Read the imports of a module from its file."""
    return imports_in(path.read_text(encoding="utf-8"), name, is_package=path.name == "__init__.py")


def unit_of(dotted: str) -> str:
    """The unit to which a module of egress, or a name in it, belongs."""
    parts = dotted.split(".")[1:]
    for length in (2, 1):
        unit = ".".join(parts[:length])
        if len(parts) >= length and unit in MAY_IMPORT:
            return unit
    return "" if parts in ([], ["__version__"]) else parts[0]


def is_under(name: str, package: str) -> bool:
    """Whether a dotted name is a package, or in it."""
    return name == package or name.startswith(f"{package}.")


def refusal(found: Import) -> str | None:
    """Say why an import must not be.

    @return: C{None} for a good one.
    """
    unit = unit_of(found.by)
    if unit not in MAY_IMPORT:
        return f"{found.by} has no line in MAY_IMPORT"
    forbidden = FORBIDDEN.get(unit)
    if forbidden is not None and is_under(found.name, forbidden):
        return f"{found}, which {unit} does without"
    if is_under(found.name, "egress"):
        other = unit_of(found.name)
        allowed = other == unit or other in MAY_IMPORT[unit]
        if not allowed and not (found.for_types and (unit, other) in ANNOTATIONS):
            return f"{found}, which is not below it"
    if is_under(found.name, "twisted.internet.reactor") and not (found.by in PROGRAMS and found.deferred):
        return f"{found}; it is passed in"
    return None


class ImportTests(SynchronousTestCase):
    """Imports run one way."""

    def test_table_runs_one_way(self) -> None:
        """A line of the table names only what stands above it."""
        above: set[str] = set()
        for unit, others in MAY_IMPORT.items():
            self.assertLessEqual(others, above, unit)
            above.add(unit)

    def test_imports(self) -> None:
        """Every import of every module is one that it may have."""
        found = [one for name, path in modules() for one in imports_of(name, path)]
        self.assertGreater(len(found), 300)
        self.assertEqual(list(filter(None, map(refusal, found))), [])

    def test_annotations(self) -> None:
        """No exception outlives its need."""
        used = {
            (unit_of(found.by), unit_of(found.name))
            for name, path in modules()
            for found in imports_of(name, path)
            if found.for_types and is_under(found.name, "egress")
        }
        self.assertLessEqual(ANNOTATIONS, used)

    def test_pure_code_loads_no_reactor_code(self) -> None:
        """Pure modules do not bring C{twisted.internet} in by a detour either."""
        pure = [name for name, _ in modules() if unit_of(name) in PURE]
        # authz/__init__.py and its like are loaded with their modules, and are held to the same.
        self.assertEqual(self.loaded_by(pure, "twisted.internet"), "")

    def test_nobody_installs_a_reactor(self) -> None:
        """Importing all of it leaves the choice of the reactor open."""
        self.assertEqual(self.loaded_by([name for name, _ in modules()], "twisted.internet.reactor"), "")

    def loaded_by(self, names: list[str], package: str) -> str:
        """Import modules in a fresh interpreter, and see what of a package came along."""
        code = (
            f"import importlib, sys\n"
            f"for name in {names!r}: importlib.import_module(name)\n"
            f"print(*(name for name in sorted(sys.modules) if f'{{name}}.'.startswith('{package}.')))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()


class ReadingTests(SynchronousTestCase):
    """The reading itself: what these tests would let pass unseen."""

    def refused(self, source: str, by: str) -> str:
        """The one refusal in a source text."""
        (reason,) = filter(None, map(refusal, imports_in(source, by)))
        return reason

    def accepted(self, source: str, by: str) -> None:
        """Nothing in a source text is refused, and something was read."""
        found = list(imports_in(source, by))
        self.assertTrue(found)
        self.assertEqual([refusal(one) for one in found], [None] * len(found))

    def test_backwards(self) -> None:
        """In each spelling."""
        for source in (
            "import egress.net.server",
            "from egress import net",
            "from egress.net import server",
            "from egress.net.server import HttpSession",
            "from ..net import server",
            "from .. import net",
            "def late():\n    import egress.net",
            "if TYPE_CHECKING:\n    from egress.net.server import HttpSession",
            "if typing.TYPE_CHECKING:\n    pass\nelse:\n    import egress.net",
            "try:\n    import egress.net\nexcept ImportError:\n    pass",
        ):
            self.assertIn("egress.net", self.refused(source, "egress.wire.http1"), source)

    def test_side_by_side(self) -> None:
        """Siblings that must not know each other."""
        self.refused("import egress.policy.rules", "egress.wire.http1")
        self.refused("import egress.wire.http1", "egress.policy.rules")
        self.refused("import egress.policy.rules", "egress.net.exchange")
        self.refused("import egress.authz.remote", "egress.net.exchange")
        self.refused("import egress.authz.remote", "egress.authz.contract")

    def test_forwards(self) -> None:
        """What the table allows."""
        self.accepted("from egress.model.errors import Denied\nimport httptools", "egress.wire.http1")
        self.accepted("from egress.wire import http1\nfrom twisted.internet.defer import Deferred", "egress.net.server")
        self.accepted("from egress import __version__", "egress.ops.health")
        self.accepted("from egress.ca.issuer import CaError", "egress.ca.store")
        self.accepted("from .issuer import CaError", "egress.ca.store")

    def test_outside(self) -> None:
        """What is nobody's business there."""
        self.refused("import twisted.internet.defer", "egress.wire.http1")
        self.refused("from twisted.internet import defer", "egress.ca.issuer")
        self.refused("from treq.client import HTTPClient", "egress.net.dial")
        self.accepted("from treq.client import HTTPClient", "egress.authz.remote")

    def test_reactor(self) -> None:
        """Where a process begins the global reactor is taken, and only when a service is made."""
        late = "def makeService():\n    from twisted.internet import reactor"
        for by in ("egress.net.server", "egress.service"):
            self.refused(late, by)
            self.refused("import twisted.internet.reactor", by)
        self.refused("from twisted.internet import reactor", "egress.tap")
        self.accepted(late, "egress.tap")
        self.accepted(late, "egress.workers.worker")

    def test_new_unit(self) -> None:
        """A package that the table does not know has to be put into it."""
        self.assertIn("no line", self.refused("import re", "egress.novel.idea"))


def does_something(source: str) -> bool:
    """Whether a module has code to test: a function that is more than a signature and a docstring."""
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)) for part in node.body)
        for node in ast.walk(ast.parse(source))
    )


class MirrorTests(SynchronousTestCase):
    """The tests have the shape of the code."""

    def tests(self) -> list[str]:
        """Every test module of one module."""
        found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py"))]
        # Programs in other languages that tests install are kept in tests/integration, which is apart.
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
        """And nothing else does."""
        tests = [Path(test).relative_to("tests") for test in self.tests()]
        self.assertGreater(len(tests), 30)
        tested = [Path("egress", path.parent, path.name.removeprefix("test_")) for path in tests]
        self.assertEqual([str(path) for path in tested if not (ROOT / path).exists()], [])

    def test_packages(self) -> None:
        """A directory with tests is a package, or trial would pass it by."""
        directories = {path.parent for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts}
        self.assertEqual([str(path) for path in directories if not (path / "__init__.py").exists()], [])

    def test_does_something(self) -> None:
        """An interface and a table do nothing; a property does."""
        self.assertFalse(does_something('class I:\n    def f():\n        """Doc."""\nX = {1: 2}'))
        self.assertTrue(does_something("class C:\n    @property\n    def p(self):\n        return 1"))


class LengthTests(SynchronousTestCase):
    """One idea fits into one module of a size that can be read at a sitting."""

    def test_lengths(self) -> None:
        """No module has more than so many lines."""
        lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules()}
        self.assertEqual({name: lines for name, lines in lengths.items() if lines > MAX_LINES}, {})
