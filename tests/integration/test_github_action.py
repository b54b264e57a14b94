"""The GitHub Action: its steps, run as a runner does, with the files that GitHub provides."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.integration.base import DENY_CLOSED, IntegrationTestCase
from tests.integration.processes import ROOT, environment, program

ACTION = ROOT / "deploy" / "github-action"
_INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")


class ActionTests(IntegrationTestCase):
    """A job with the action."""

    def setUp(self) -> None:
        super().setUp()
        self.action: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text("utf-8"))
        self.summary, self.outputs = self.write("summary.md", "before\n"), self.write("outputs", "")
        self.policy = self.write("policy.toml", DENY_CLOSED)
        # The installation of this run, where the install step would make one.
        programs = self.directory / "egressproxy" / "bin"
        programs.mkdir(parents=True)
        run = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m egress "$@"\n'
        (programs / "egress").write_text(run, "utf-8")
        (programs / "egress").chmod(0o755)
        (programs.parent / "installed").write_text(str(ROOT), "utf-8")

    def value(self, text: str, inputs: dict[str, str]) -> str:
        """Replace the expressions in a value of the action, as the runner does."""

        def given(found: re.Match[str]) -> str:
            return inputs.get(found[1], str(self.action["inputs"][found[1]].get("default", "")))

        return _INPUT.sub(given, text)

    def step(self, at: int, inputs: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a step of the action."""
        step = self.action["runs"]["steps"][at]
        self.assertEqual(step["shell"], "bash")
        variables = {name: self.value(text, inputs) for name, text in step["env"].items()}
        env = environment(
            **variables,
            GITHUB_ACTION_PATH=str(ACTION),
            GITHUB_STEP_SUMMARY=str(self.summary),
            GITHUB_OUTPUT=str(self.outputs),
            RUNNER_TEMP=str(self.directory),
            EGRESS_CA_DIR=str(self.directory / "ca"),
            EGRESS_ALLOW_ADDRESS="127.0.0.0/8",
        )
        return subprocess.run(
            [program("bash"), "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=Path(self.directory, self.value(step.get("working-directory", "."), inputs)),
            env=env,
            check=False,
        )

    def run_step(self, run: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        return self.step(1, {"run": run, "policy": str(self.policy), **inputs})

    def test_inputs(self) -> None:
        """Each input reaches a step as a variable, and no step has one in its script."""
        steps = self.action["runs"]["steps"]
        texts = [f"{step.get('env')} {step.get('working-directory')}" for step in steps]
        self.assertEqual(sorted(_INPUT.findall(" ".join(texts))), sorted(self.action["inputs"]))
        for step in steps:
            self.assertNotIn("${{", step["run"])

    def test_an_installed_version(self) -> None:
        done = self.step(0, {})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^egress(proxy)? \d")

    def test_summary(self) -> None:
        """The commands run behind the proxy, and the page of the job has the summary."""
        url = self.origins.http_url("")
        report = self.directory / "report.json"
        done = self.run_step(
            f"curl -sS {url}/files/hello.txt\nfalse | curl -s -o /dev/null {url}/closed/a\necho unreached",
            report=str(report),
        )
        self.assertEqual((done.returncode, done.stdout), (1, "hello\n"), done.stderr)
        page = self.summary.read_text("utf-8")
        self.assertTrue(page.startswith("before\n## Requests of the job\n"), page)
        self.assertIn("this path is closed", page)
        self.assertEqual(self.outputs.read_text("utf-8"), "requests=2\nrefused=1\n")
        self.assertTrue(report.exists())
        # Nothing remains but what was there.
        self.assertEqual([path.name for path in self.directory.glob("tmp*")], [])

    def test_lock_and_options(self) -> None:
        """The second run contacts a new destination."""
        inputs = {"lock": "egress.lock", "options": "--quiet\n\n  --mode=observe\n", "shell": "sh"}
        self.assertEqual(self.run_step(f"curl -sS {self.origins.http_url('/files/hello.txt')}", **inputs).returncode, 0)
        done = self.run_step(f"curl -sS http://localhost:{self.origins.http}/closed/a", **inputs)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("New destination", self.summary.read_text("utf-8"))

    def test_an_invalid_policy(self) -> None:
        self.policy.write_text("garbage", "utf-8")
        done = self.run_step("echo unreached")
        self.assertEqual((done.returncode, done.stdout), (125, ""))
        self.assertIn("--policy", done.stderr)
        self.assertEqual((self.summary.read_text("utf-8"), self.outputs.read_text("utf-8")), ("before\n", ""))

    def test_commands_are_not_options(self) -> None:
        """An input is one argument, whatever it contains."""
        done = self.run_step("echo ok", policy="$(touch owned); `touch owned`")
        self.assertEqual(done.returncode, 125)
        self.assertFalse((self.directory / "owned").exists())
