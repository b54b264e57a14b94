"""Policies and commands on the pages are ones that work."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.main import parser
from egress.policy.check.case_runner import run_case
from egress.policy.parse.load import parse_policy

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md")))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:^|&& )(?:\$ )?(egress [a-z].*?)(?= && | >|$|\|)", re.MULTILINE)


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """The blocks of the pages in some languages, each with the name of its page."""
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text("utf-8")):
            if language in languages:
                yield page.name, text


class SampleTests(SynchronousTestCase):
    """Each block of each page."""

    def test_policies(self) -> None:
        """They can be read, and their tests pass."""
        found = 0
        for page, text in blocks("toml"):
            if "[[rules]]" not in text:
                continue
            with self.subTest(page=page, text=text):
                found += 1
                policy = parse_policy(text if "version = 1" in text else f"version = 1\n{text}", page, page)
                self.assertTrue(all(run_case(policy, case).passed for case in policy.cases))
        self.assertGreater(found, 10)

    def test_commands(self) -> None:
        """They can be read; what they name need not be there."""
        found = 0
        for page, text in blocks("sh", "console", "text"):
            for command in COMMAND.findall(text):
                with self.subTest(page=page, command=command), contextlib.redirect_stderr(io.StringIO()) as err:
                    found += 1
                    words = shlex.split(command, comments=True)[1:]
                    try:
                        parser().parse_args(words)
                    except SystemExit:
                        self.fail(err.getvalue())
        self.assertGreater(found, 15)
