"""The pages at the top of the repository: their links lead somewhere, and their commands are where others look."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent


PAGES = ("README.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")


class ReadmeTests(SynchronousTestCase):
    """The pages at the top of the repository."""

    def test_links(self) -> None:
        """Every link within the repository leads to a file."""
        links = {
            link for name in PAGES for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8"))
        }
        self.assertGreater(len(links), 5)
        self.assertEqual([link for link in links if not (ROOT / link).exists()], [])

    def test_commands(self) -> None:
        """The command to run and the command to test it are one line each."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        commands = dict(re.findall(r"^<!-- (run|test) -->\n```sh\n([^\n]+)\n```$", text, re.MULTILINE))
        self.assertIn("twistd -n egressproxy", commands["run"])
        self.assertIn("tox run", commands["test"])

    def test_makefile(self) -> None:
        """Each target of the C{Makefile} is phony, and has a line in its help."""
        text = (ROOT / "Makefile").read_text(encoding="utf-8")
        phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
        self.assertEqual(re.findall(r"^([a-z]+):  ## \w", text, re.MULTILINE), phony)

    def test_workflows(self) -> None:
        """Each action is pinned to a full version, and one workflow runs C{.ci/run}."""
        text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
        uses = re.findall(r"uses: (.*)", text)
        self.assertGreater(len(uses), 4)
        self.assertEqual([name for name in uses if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", name)], [])
        self.assertIn("- run: .ci/run\n", text)

    def test_ci_runs_the_readme(self) -> None:
        """C{.ci/run} takes its command from the README: run on a copy with another command, it runs that."""
        copy = Path(self.mktemp())
        (copy / ".ci").mkdir(parents=True)
        script = copy / ".ci" / "run"
        script.write_text((ROOT / ".ci" / "run").read_text(encoding="utf-8"), encoding="utf-8")
        into = '>> "$EGRESS_TEST_RESULTS"'
        for command, status, line in (
            (f'test "$EGRESS_NO_SKIP" = 1 && echo 3 0 0 {into}', 0, "3 passed, 0 failed, 0 skipped"),
            (f"echo 3 0 1 {into}; echo 4 0 0 {into}", 1, "7 passed, 0 failed, 1 skipped"),
            (f"echo 3 1 0 {into}", 1, "3 passed, 1 failed, 0 skipped"),
            (f"echo 3 0 0 {into}; false", 1, "3 passed, 0 failed, 0 skipped"),
            ("true", 1, "0 passed, 0 failed, 0 skipped"),
        ):
            (copy / "README.md").write_text(f"<!-- test -->\n```sh\n{command}\n```\n", encoding="utf-8")
            done = subprocess.run(["sh", script], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (status, line), done.stdout + done.stderr)
