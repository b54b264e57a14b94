"""Tests for L{egress.cli.policy_new}."""

from __future__ import annotations

import json
from pathlib import Path

from egress.policy.parse.load import load_policy
from egress.policy.templates.catalog import template_names
from tests.cli.running import CommandTestCase


class NewCommandTests(CommandTestCase):
    """C{egress policy new}."""

    def test_standard_output(self) -> None:
        status, out, err = self.run_egress("policy", "new", "npm", "pypi")
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("# A policy from templates: npm, pypi.\n"))
        self.assertEqual(self.run_egress("policy", "new", "npm", "pypi", "-o", "-"), (0, out, ""))

    def test_check(self) -> None:
        """The check of each policy passes, without warnings."""
        for name in template_names():
            with self.subTest(name):
                path = str(self.directory / f"{name}.toml")
                status, out, _ = self.run_egress("policy", "new", name, "-o", path)
                self.assertEqual(status, 0)
                self.assertIn(f"next: egress run --policy {path} -- COMMAND\n", out)
                self.assertEqual(self.run_egress("policy", "check", "--quiet", path), (0, "", ""))

    def test_existing_file(self) -> None:
        """It is replaced only with --force, or if its content is the same."""
        path = self.write("policy.toml", b"# mine")
        status, _, err = self.run_egress("policy", "new", "npm", "-o", path)
        self.assertEqual(
            (status, err), (2, f"egress: {path}: exists: add --force to replace it, or specify another file\n")
        )
        self.assertEqual(Path(path).read_bytes(), b"# mine")
        self.assertEqual(self.run_egress("policy", "new", "npm", "-o", path, "--force")[0], 0)
        self.assertEqual(self.run_egress("policy", "new", "npm", "-o", path)[0], 0)
        status, _, err = self.run_egress("policy", "new", "npm", "-o", str(self.directory))
        self.assertEqual(status, 2)
        self.assertIn("exists", err)

    def test_part(self) -> None:
        path = str(self.directory / "npm.toml")
        self.assertEqual(self.run_egress("policy", "new", "npm", "--part", "-o", path)[0], 0)
        main = self.write("policy.toml", b'version = 1\ninclude = ["npm.toml"]')
        self.assertEqual(len(load_policy(Path(main)).rules), 4)

    def test_variables(self) -> None:
        status, out, _ = self.run_egress("policy", "new", "github", "--set", "github_owner=twisted")
        self.assertEqual(status, 0)
        self.assertIn('github_owner = "twisted"\n', out)
        for setting, expected in (
            ("github_owner", "--set 'github_owner': write NAME=VALUE, as in --set github_owner=example"),
            ("=x", "--set '=x': write NAME=VALUE"),
            ("a=x", "--set: no template has a variable 'a'; the variables are github_owner"),
            ("github_owner=${x}", "--set: the policy is not valid with these values: policy:10: variable github_owner"),
        ):
            with self.subTest(setting):
                status, out, err = self.run_egress("policy", "new", "github", "--set", setting)
                self.assertEqual((status, out), (2, ""))
                self.assertIn(f"egress: {expected}", err)

    def test_contradiction(self) -> None:
        """A value with which a template allows more than its tests say is an error."""
        status, out, err = self.run_egress("policy", "new", "postman", "--set", "monitored_api=api.getpostman.com")
        self.assertEqual((status, out), (2, ""))
        self.assertIn(
            "egress: a test of the templates fails with these values: GET https://api.getpostman.com/coll", err
        )

    def test_names(self) -> None:
        status, _, err = self.run_egress("policy", "new", "nmp")
        self.assertEqual(status, 2)
        self.assertIn("there is no template 'nmp'; did you mean 'npm'?", err)
        status, _, err = self.run_egress("policy", "new")
        self.assertEqual(status, 2)
        self.assertIn("specify a template", err)

    def test_list(self) -> None:
        status, out, _ = self.run_egress("policy", "new", "--list")
        self.assertEqual(status, 0)
        names = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
        self.assertEqual(names, list(template_names()))
        self.assertIn("--set github_owner=... (default: *)", out)
        status, out, _ = self.run_egress("policy", "new", "--list", "--json")
        rows = {row["name"]: row for row in json.loads(out)["templates"]}
        self.assertEqual(sorted(rows), list(template_names()))
        self.assertEqual(rows["postman"]["variables"], {"monitored_api": "postman-echo.com"})
        self.assertEqual(rows["gradle"]["includes"], ["maven"])
