"""The packages contain the files of the tree."""

from __future__ import annotations

import ast
import configparser
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import egress

ROOT = Path(__file__).parent.parent
PLUGINS = sorted((ROOT / "twisted" / "plugins").glob("*.py"))


def listed(text: str) -> list[str]:
    """Return the entries of a list in C{setup.cfg}, without comments."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


class SetupTests(SynchronousTestCase):
    """C{setup.cfg} agrees with the tree."""

    def setUp(self) -> None:
        self.setup = configparser.ConfigParser()
        self.setup.read(ROOT / "setup.cfg", encoding="utf-8")

    def test_packages(self) -> None:
        """Every package is listed by name, also the one that has no C{__init__.py}."""
        found = [path.parent.relative_to(ROOT) for path in (ROOT / "egress").rglob("__init__.py")]
        names = sorted(".".join(path.parts) for path in found)
        self.assertEqual(listed(self.setup["options"]["packages"]), [*names, "twisted.plugins"])

    def test_directories_are_packages(self) -> None:
        """No module is in a directory that is not a package, which nothing would list."""
        directories = {path.parent for path in (ROOT / "egress").rglob("*.py")}
        self.assertEqual([str(path) for path in directories if not (path / "__init__.py").exists()], [])

    def test_data(self) -> None:
        """Every file that is not code is in C{package_data}."""
        patterns = {
            (package, pattern)
            for package, text in self.setup["options.package_data"].items()
            for pattern in re.split(r"[,\s]+", text.strip())
        }
        packaged = {path for package, pattern in patterns for path in ROOT.joinpath(*package.split(".")).glob(pattern)}
        found = {
            path
            for path in (ROOT / "egress").rglob("*")
            if path.is_file() and path.suffix not in (".py", ".so") and "__pycache__" not in path.parts
        }
        self.assertEqual(packaged, found)
        self.assertIn(ROOT / "egress" / "py.typed", found)
        self.assertTrue(any(path.suffix == ".toml" for path in found))

    def test_version(self) -> None:
        """The version is defined once, in a form that can be read without importing anything."""
        self.assertEqual(self.setup["metadata"]["version"], "attr: egress.__version__")
        self.assertRegex(egress.__version__, r"\A\d+\.\d+\.\d+\Z")

    def test_compiled_wheels(self) -> None:
        """A release has compiled wheels for each supported version of Python."""
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        (section,) = re.findall(r"(?ms)^\[tool\.cibuildwheel\]\n(.*?)^\[", text)
        names = re.findall(r"Python :: 3\.(\d+)", self.setup["metadata"]["classifiers"])
        self.assertEqual(re.findall(r'"cp3(\d+)-\*"', section), names)
        self.assertIn('EGRESS_COMPILE = "1"', section)
        self.assertIn("python -I {package}/tests/smoke.py compiled", section)

    def test_oldest(self) -> None:
        """The versions of the oldest environment are the lower bounds."""
        bounds = {}
        extras = self.setup["options.extras_require"]
        names = ("opentelemetry", "postgresql", "redis", "grpc", "jwt")
        optional = [requirement for name in names for requirement in listed(extras[name])]
        for requirement in listed(self.setup["options"]["install_requires"]) + optional:
            match = re.fullmatch(r"([a-z0-9.-]+)(?:\[\w+\])? >= ([\d.]+)(?:;.*)?", requirement)
            assert match is not None, requirement
            bounds[match[1]] = match[2]
        oldest = listed((ROOT / "tests" / "oldest.txt").read_text(encoding="ascii"))
        self.assertEqual(dict(line.split("==") for line in oldest), bounds)

    def test_dependencies_have_reasons(self) -> None:
        """Every dependency is explained on the page about dependencies."""
        page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
        optional = listed(self.setup["options.extras_require"]["opentelemetry"])
        required = listed(self.setup["options"]["install_requires"]) + optional
        names = [re.split(r"[\[ ]", line)[0] for line in required]
        self.assertGreater(len(names), 9)
        self.assertEqual([name for name in names if f"`{name}`" not in page], [])


class PluginTests(SynchronousTestCase):
    """C{twisted/plugins}."""

    def test_no_package(self) -> None:
        """C{twisted} and C{twisted.plugins} belong to Twisted; a package here would hide them."""
        self.assertEqual([path.name for path in (ROOT / "twisted").rglob("__init__.py")], [])

    def test_one_assignment(self) -> None:
        """Every C{twistd} loads all plugin files: this one only declares where the code is."""
        self.assertEqual([path.stem for path in PLUGINS], ["egressauthz", "egressproxy"])
        for plugin in PLUGINS:
            with self.subTest(plugin.name):
                text = plugin.read_text(encoding="utf-8")
                kinds = {type(node) for node in ast.parse(text).body}
                self.assertLessEqual(kinds, {ast.Expr, ast.ImportFrom, ast.Assign, ast.AnnAssign})
                assigned = [line for line in text.splitlines() if re.match(r"\w+(: \w+)? = ", line)]
                self.assertEqual(len(assigned), 1)
                self.assertIn("ServiceMaker(", assigned[0])
