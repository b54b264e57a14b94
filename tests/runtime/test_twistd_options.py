"""Tests for L{egress.runtime.twistd_options}."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import twisted
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.config.options import OPTIONS
from egress.runtime.build import build_name
from egress.runtime.twistd_options import exit_with
from egress.tap import Options


class OptionsTests(SynchronousTestCase):
    """Options are collected as they are spelled; an error is one line."""

    def test_collected(self) -> None:
        options = Options()
        options.parseOptions(
            ["--proxy", "a", "--listen", "tcp:1", "--authz-via-upstream", "--upstream-proxy=c", "--listen=tcp:2"]
        )
        self.assertEqual(
            options.arguments,
            {"proxy": ["a"], "authz-via-upstream": ["true"], "upstream-proxy": ["c"], "listen": ["tcp:1", "tcp:2"]},
        )

    def test_last_spelling_comes_last(self) -> None:
        options = Options()
        options.parseOptions(["--proxy", "a", "--upstream-proxy", "b", "--proxy", "c"])
        self.assertEqual(list(options.arguments.items()), [("upstream-proxy", ["b"]), ("proxy", ["a", "c"])])

    def test_instances_are_independent(self) -> None:
        Options().parseOptions(["--listen", "tcp:1"])
        options = Options()
        options.parseOptions([])
        self.assertEqual(options.arguments, {})

    def test_every_option(self) -> None:
        for option in OPTIONS:
            for name in (option.name, *option.aliases):
                with self.subTest(name):
                    options = Options()
                    options.parseOptions([f"--{name}"] if option.flag else [f"--{name}", "x"])
                    self.assertEqual(options.arguments, {name: ["true" if option.flag else "x"]})

    def refuse(self, arguments: Sequence[str], expected: str) -> None:
        with self.assertRaises(SystemExit) as caught:
            Options().parseOptions(arguments)
        self.assertEqual(caught.exception.code, expected)

    def test_rejected(self) -> None:
        for arguments, expected in (
            (["--autz-url", "x"], "egressproxy: option --autz-url not recognized; did you mean --authz-url?"),
            (
                ["--authz-max", "1"],
                "egressproxy: option --authz-max not a unique prefix; "
                "write one of --authz-max-concurrency, --authz-max-stale, --authz-max-ttl",
            ),
            (["--zzz"], "egressproxy: option --zzz not recognized; --help-all lists the options"),
            (
                ["--egress-proxy-authz-url", "x"],
                "egressproxy: option --egress-proxy-authz-url not recognized; did you mean --authz-url?",
            ),
            (["--EGRESS_POLICY", "x"], "egressproxy: option --EGRESS_POLICY not recognized; did you mean --policy?"),
            (["--help-"], "egressproxy: option --help- not a unique prefix; write one of --help-all, --help-for"),
            (
                ["--help-for", "disks"],
                "egressproxy: --help-for 'disks': write one of listeners, authorization, tls, destinations, limits, "
                "operation, notifications, shared state",
            ),
            (["--listen"], "egressproxy: option --listen requires argument; --help lists the options"),
            (["x"], "egressproxy: 'x' is not an option; --help lists the options"),
            (
                ["http://alice:s3cret@proxy.example"],
                "egressproxy: 'http://REDACTED@proxy.example' is not an option; --help lists the options",
            ),
        ):
            with self.subTest(arguments):
                self.refuse(arguments, expected)

    def test_options_of_twistd(self) -> None:
        for name, expected in (
            ("-n", "option -n not recognized; it is an option of twistd, which comes first: twistd -n egressproxy"),
            ("--pidfile", "it is an option of twistd, which comes first: twistd --pidfile egressproxy"),
            ("--zzz", "--help-all lists the options"),
        ):
            with self.subTest(name), self.assertRaises(SystemExit) as caught:
                ServerOptions().parseOptions(["egressproxy", name])
            self.assertIn(expected, str(caught.exception.code))

    def run_and_exit(self, *arguments: str) -> str:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        with self.assertRaises(SystemExit) as caught:
            Options().parseOptions(arguments)
        self.assertEqual(caught.exception.code, 0)
        return out.getvalue()

    def test_version(self) -> None:
        expected = f"egressproxy {__version__} ({build_name()} build, Twisted {twisted.__version__})\n"
        self.assertEqual(self.run_and_exit("--version"), expected)

    def test_help_all(self) -> None:
        text = self.run_and_exit("--help-all")
        for option in OPTIONS:
            with self.subTest(option.name):
                self.assertIn(f"\n  --{option.name}", text)
                self.assertIn(f"[default: {option.default}; environment: {option.variable.name}", text)
        flat = " ".join(text.split())
        self.assertIn("--upstream-proxy URL, --proxy URL", flat)
        self.assertIn("POSTMAN_RUNNER_AUTHZ_URL]", flat)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_help_for(self) -> None:
        text = self.run_and_exit("--help-for", "TLS")
        self.assertIn("\n  --ca-dir DIR\n", text)
        self.assertNotIn("--listen", text)

    def test_help(self) -> None:
        """The short help fits a screen."""
        text = self.run_and_exit("--help")
        self.assertIn("\n  --policy FILE|URL ", text)
        self.assertIn("--help-all", text)
        self.assertLessEqual(len(text.splitlines()), 50)

    def test_closed_output(self) -> None:
        """A reader such as head closes the pipe early."""
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            self.patch(sys, "stdout", pipe)
            self.assertRaises(SystemExit, Options().parseOptions, ["--help"])
            sys.stdout = io.StringIO()
            os.dup2(os.open(os.devnull, os.O_WRONLY), pipe.fileno())

    def test_usage(self) -> None:
        """twistd prints the usage of an invalid command line."""
        self.assertEqual(Options().getUsage().strip(), self.run_and_exit("--help-all").partition("\n")[2].strip())

    def test_short_help(self) -> None:
        self.assertEqual(self.run_and_exit("-h"), self.run_and_exit("--help"))

    def test_pid_file(self) -> None:
        """In the foreground there is none, unless the user names one."""
        for arguments, expected in (
            (["-n"], ""),
            (["-n", "--pidfile=/run/a.pid"], "/run/a.pid"),
            (["-n", "--pidfile="], ""),
            ([], os.path.abspath("twistd.pid")),
        ):
            options = ServerOptions()
            options.parseOptions([*arguments, "egressproxy"])
            self.assertEqual(options["pidfile"], expected, arguments)

    def test_check(self) -> None:
        options = Options()
        options.parseOptions(["--check", "--listen", "tcp:1"])
        self.assertTrue(options.checks)
        self.assertEqual(options.arguments, {"listen": ["tcp:1"]})
        self.assertFalse(Options().checks)

    def test_without_twistd(self) -> None:
        """twist has no pid file."""
        options = Options()
        options.parent = usage.Options()
        options.parseOptions([])
        self.assertEqual(dict(options.parent), {})

    def test_exit_with(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            exit_with("program", "two\n  lines")
        self.assertEqual(caught.exception.code, "program: two lines")
