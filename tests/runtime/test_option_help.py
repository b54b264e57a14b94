"""Tests for L{egress.runtime.option_help}."""

from __future__ import annotations

import re
import shlex
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress import tap
from egress.authz_service import tap as authz_tap
from egress.config.option import by_name
from egress.runtime.option_help import full_help, group_names, short_help

PLUGINS = (tap.Options, authz_tap.Options)


class HelpTests(SynchronousTestCase):
    """The help of both plugins."""

    def short(self, options: Any) -> str:
        return short_help(options.table, options.common, options.examples, [("--do", "do it")])

    def test_short(self) -> None:
        """The short help fits a screen, and names only options that exist."""
        for options in PLUGINS:
            with self.subTest(options.program):
                text = self.short(options)
                self.assertLessEqual(len(text.splitlines()), 45)
                self.assertLessEqual(max(map(len, text.splitlines())), 80)
                self.assertLessEqual(set(options.common), set(by_name(options.table)))
                for name in options.common:
                    self.assertRegex(text, rf"(?m)^  --{name}\b")
                self.assertIn(f"all {len(options.table)} options", text)
                self.assertIn("--do                      do it", text)

    def test_common_defaults(self) -> None:
        """A default in the short help is that of the table."""
        for options in PLUGINS:
            names = by_name(options.table)
            for name, text in options.common.items():
                found = re.search(r"\[default: (.*)\]", text)
                if found:
                    self.assertEqual(found[1], names[name].default)

    def test_examples(self) -> None:
        """Every example is a valid command line."""
        for options in PLUGINS:
            for _, line in options.examples:
                words = shlex.split(line)
                self.assertEqual(words[:2], ["twistd", "-n"])
                (named,) = [each for each in PLUGINS if each.program == words[2]]
                named().parseOptions(words[3:])

    def test_full(self) -> None:
        """Every option is in the full help, and in the help of its group only."""
        for options in PLUGINS:
            text = full_help(options.table)
            for option in options.table:
                with self.subTest(option.name):
                    # The name of one option can begin with that of another one.
                    named = re.compile(rf"\n  --{option.name}(?![a-z0-9-])")
                    self.assertRegex(text, named)
                    for group in dict.fromkeys(each.group for each in options.table):
                        members = full_help([each for each in options.table if each.group == group])
                        self.assertEqual(named.search(members) is not None, option.group == group)

    def test_group_names(self) -> None:
        self.assertEqual(
            group_names(tap.Options.table),
            [
                "listeners",
                "authorization",
                "tls",
                "destinations",
                "limits",
                "operation",
                "notifications",
                "shared state",
            ],
        )
