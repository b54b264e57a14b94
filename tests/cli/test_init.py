"""Tests for L{egress.cli.init}."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from egress.config.load import load_config
from egress.config.model import Mode, ProxyConfig
from tests.cli.running import CommandTestCase, Terminal

ALL = (
    "--authz-url",
    "policy",
    "--templates",
    "none",
    "--mode",
    "enforce",
    "--upstream-proxy",
    "none",
    "--ca-dir",
    "ca",
)


class InitTestCase(CommandTestCase):
    """Runs C{egress init} for an empty directory."""

    def setUp(self) -> None:
        super().setUp()
        self.project = self.directory.absolute() / "project"
        self.project.mkdir()

    def init(self, *arguments: str, typed: str | None = None, **environ: str) -> tuple[int, str, str]:
        """Run C{egress init}.

        @param typed: the input on a terminal; C{None}: standard input is not a terminal.
        """
        with open(os.devnull) as nothing:
            stdin: Any = nothing if typed is None else Terminal(typed)
            self.patch(sys, "stdin", stdin)
            return self.run_egress("init", "--directory", str(self.project), *arguments, environ=environ)

    def names(self) -> list[str]:
        """Return the names of the files."""
        return sorted(path.name for path in self.project.iterdir())

    def config(self) -> ProxyConfig:
        """Load the configuration."""
        return load_config({"config": [str(self.project / "egress.toml")]}, {})


class OptionsTests(InitTestCase):
    """Without prompts."""

    def test_defaults(self) -> None:
        (self.project / "package.json").touch()
        status, out, err = self.init("--yes")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.names(), ["egress.toml", "package.json", "policy.toml"])
        config, policy = self.config(), self.project / "policy.toml"
        self.assertEqual((config.policy, config.mode, config.upstream_https), (policy, Mode.ENFORCE, None))
        self.assertEqual(config.ca_dir, Path("~/.egressproxy/ca").expanduser())
        self.assertTrue(policy.read_text("utf-8").startswith("# A policy from templates: metadata, npm.\n"))
        self.assertEqual(self.run_egress("policy", "check", "--quiet", str(policy)), (0, "", ""))
        self.assertIn(f"wrote {self.project / 'egress.toml'} and {policy}\n", out)
        self.assertIn("-- npm ci\n", out)

    def test_json(self) -> None:
        """Standard output has only the result; prompts go to standard error."""
        status, out, err = self.init("--json", typed="\n" * 5)
        self.assertEqual(status, 0)
        self.assertIn("Five settings.", err)
        found = json.loads(out)
        self.assertEqual(found["files"], [str(self.project / name) for name in ("egress.toml", "policy.toml")])
        self.assertIn("egress run", "\n".join(found["next"]))

    def test_options(self) -> None:
        upstream = "http://proxy.example.com:3128"
        status, _, err = self.init("--yes", "--templates", "npm, pypi,metadata", "--upstream-proxy", upstream)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("metadata, npm, pypi.", (self.project / "policy.toml").read_text("utf-8"))
        self.assertIn(f'upstream-proxy = "{upstream}"\n', (self.project / "egress.toml").read_text("utf-8"))
        self.assertIsNotNone(self.config().upstream_https)

    def test_all_options(self) -> None:
        """They need no terminal, and no --yes."""
        status, out, err = self.init(*ALL)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.config().ca_dir, self.project / "ca")
        self.assertIn("The policy denies every request.", out)

    def test_service(self) -> None:
        """An authorization service decides instead of a policy."""
        status, out, err = self.init("--yes", "--authz-url", "http://127.0.0.1:9000", "--mode", "observe")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.names(), ["egress.toml"])
        config = self.config()
        self.assertEqual((config.policy, config.mode), (None, Mode.OBSERVE))
        self.assertIn("policy suggest", out)

    def test_upstream_proxy_of_the_environment(self) -> None:
        """It is the default, unless it has a password or is not valid."""
        for url, expected in (
            ("http://proxy.example.com:3128", True),
            ("http://name:password@proxy.example.com:3128", False),
            ("socks4://proxy.example.com", False),
            # The shell is behind a proxy with the default listener.
            ("http://127.0.0.1:8080", False),
        ):
            with self.subTest(url):
                self.assertEqual(self.init("--yes", HTTPS_PROXY=url)[0], 0)
                self.assertEqual(self.config().upstream_https is not None, expected)
                for path in self.project.iterdir():
                    path.unlink()


class RefusedTests(InitTestCase):
    """Nothing is written, and the error names the fix."""

    def refuses(self, expected: str, *arguments: str, typed: str | None = None) -> None:
        """Assert the error."""
        before = self.names()
        status, _, err = self.init(*arguments, typed=typed)
        self.assertEqual((status, self.names()), (2, before))
        self.assertIn(expected, err)

    def test_no_terminal(self) -> None:
        self.refuses("standard input is not a terminal: add --yes to accept the defaults, or the options --authz-url, ")
        self.refuses("or the options --ca-dir\n", *ALL[:-2])

    def test_existing_files(self) -> None:
        for name in ("egress.toml", "policy.toml"):
            path = self.project / name
            path.write_text("# mine")
            self.refuses(f"{path}: exists: remove it, or specify another directory with --directory", "--yes")
            self.assertEqual(path.read_text(), "# mine")
            path.unlink()

    def test_invalid_options(self) -> None:
        for arguments, expected in (
            (("--templates", "nmp"), "there is no template 'nmp'; did you mean 'npm'?"),
            (("--mode", "off"), "--mode 'off': choose enforce or observe"),
            (("--authz-url", "authz"), "--authz-url 'authz': write an http:// or https:// URL"),
            (("--upstream-proxy", "ftp://a"), "--upstream-proxy"),
            (("--upstream-proxy", "http://a:b@c:1"), "--upstream-proxy: has a password: leave it out, and set"),
            (("--ca-dir", sys.executable), "must be a directory"),
            (("--directory", "/absent"), "--directory '/absent': No such file or directory; specify"),
        ):
            with self.subTest(arguments):
                self.refuses(expected, "--yes", *arguments)

    def test_end_of_input(self) -> None:
        self.refuses("standard input ended before the last prompt; nothing is written", typed="\n\n")


class PromptTests(InitTestCase):
    """With prompts on a terminal."""

    def test_defaults(self) -> None:
        (self.project / "go.mod").touch()
        status, out, err = self.init(typed="\n" * 5)
        self.assertEqual((status, err), (0, ""))
        for number in range(1, 6):
            self.assertEqual(len(re.findall(rf"(?:^| ){number}\. ", out, re.MULTILINE)), 1)
        self.assertIn("[go]: ", out)
        self.assertIn("metadata, go.", (self.project / "policy.toml").read_text("utf-8"))

    def test_invalid_entries(self) -> None:
        """The prompt is repeated, with the reason."""
        _, out, _ = self.init(typed="\nnmp\nnpm\noff\nobserve\nftp://a\nnone\nca\n")
        self.assertIn("there is no template 'nmp'; did you mean 'npm'?", out)
        self.assertEqual(out.count("2. What"), 2)
        self.assertIn("--mode 'off': choose enforce or observe. Try again, or press Ctrl-C.\n", out)
        config = self.config()
        self.assertEqual((config.mode, config.ca_dir), (Mode.OBSERVE, self.project / "ca"))

    def test_options_replace_prompts(self) -> None:
        _, out, _ = self.init("--mode", "observe", "--ca-dir", "ca", typed="\n\n\n")
        self.assertEqual(([f"{number}. " in out for number in range(1, 6)]), [True, True, False, True, False])

    def test_service(self) -> None:
        """A service has no templates."""
        _, out, _ = self.init(typed="http://127.0.0.1:9000\n\n\n\n")
        self.assertNotIn("2. ", out)
        self.assertEqual(self.names(), ["egress.toml"])
