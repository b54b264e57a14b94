"""The page about security names tests that there are."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).parent.parent.parent / "docs" / "explanation" / "security.md"
NAMED = re.compile(r"`(tests\.[a-z0-9_.]+)(?:\.([A-Z]\w+))?`")


class SecurityPageTests(SynchronousTestCase):
    """C{docs/explanation/security.md} against the tests."""

    def test_promises_are_held(self) -> None:
        named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
        self.assertGreater(len(named), 30)
        for module, name in named:
            with self.subTest(f"{module}.{name}"):
                found = import_module(module)
                cases = [case for case in vars(found).values() if _is_test(case, module)]
                self.assertIn(name or cases[0].__name__, [case.__name__ for case in cases])


def _is_test(case: object, module: str) -> bool:
    return isinstance(case, type) and issubclass(case, SynchronousTestCase) and case.__module__ == module
