"""Tests for L{egress.cli.parser}."""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import sys

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main
from egress.cli.parser import Commands, CompleteParser, Parser, epilog, listing, parsers_of

# What follows the arguments of an example in the shell.
_SHELL = re.compile(r" (?:\||>>?) .*")


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands of a parser."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse has no other name for them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            found.update(action.choices)
    return found


class HelpTests(SynchronousTestCase):
    """The help of every command."""

    def setUp(self) -> None:
        self.patch(os, "environ", {**os.environ, "COLUMNS": "100"})

    def test_examples(self) -> None:
        """Every command has examples of itself, which its parser accepts."""
        top = main.parser()
        for parser in parsers_of(top):
            with self.subTest(parser.prog):
                _, _, text = parser.format_help().partition("\nexamples:\n")
                lines = [line.strip() for line in text.split("\n\n")[0].splitlines()]
                comments, examples = lines[::2], lines[1::2]
                self.assertTrue(examples, "add examples: egress.cli.parser.epilog")
                for comment in comments:
                    self.assertRegex(comment, "^# [A-Z0-9].*[^.]$")
                for example in examples:
                    if example.startswith("eval "):
                        example = example.removeprefix('eval "$(').removesuffix(')"')
                    self.assertTrue(f"{example} ".startswith(f"{parser.prog} "), example)
                    top.parse_args(shlex.split(_SHELL.sub("", example))[1:])

    def test_json(self) -> None:
        """Every command that prints a result can write JSON."""
        without = []
        for parser in parsers_of(main.parser()):
            if not subparsers(parser) and "[--json]" not in parser.format_usage():
                without.append(parser.prog.removeprefix("egress "))
        # Variables have formats of their own, and a report is a file; the others print no result.
        self.assertEqual(without, ["env", "run", "completion", "logs export"])

    def test_widths(self) -> None:
        """Examples fit a terminal of 100 columns."""
        for parser in parsers_of(main.parser()):
            self.assertLessEqual(max(map(len, parser.format_help().splitlines())), 100, parser.prog)

    def test_hints(self) -> None:
        """An unknown name gets the name that the user may have meant."""
        for arguments, hint in (
            (["run", "--polcy", "x", "--", "true"], "; did you mean --policy?"),
            (["explain", "--egress-proxy-authz-url", "x", "GET", "/"], "; did you mean --authz-url?"),
            (["ca", "show", "--jsn"], "; did you mean --json?"),
            (["polcy"], "; did you mean policy?"),
            (["ca", "shwo"], "; did you mean show?"),
            (["ca", "show", "--zzz"], "unrecognized arguments: --zzz\n"),
            (["zzz"], ")\n"),
        ):
            err = io.StringIO()
            self.patch(sys, "stderr", err)
            with self.subTest(arguments), self.assertRaises(SystemExit) as caught:
                main.parser().parse_args(arguments)
            self.assertEqual(caught.exception.code, 2)
            self.assertIn(hint, err.getvalue())

    def test_paragraphs(self) -> None:
        """Paragraphs are wrapped; examples and tables are not."""
        parser = Parser(prog="egress", description="word " * 40, epilog=epilog(("Do it", "egress " + "x " * 60)))
        lines = parser.format_help().splitlines()
        self.assertIn("  # Do it", lines)
        self.assertIn("  egress " + "x " * 59 + "x", [line.rstrip() for line in lines])
        self.assertLessEqual(max(len(line) for line in lines if line.startswith("word")), 98)

    def test_names(self) -> None:
        """The name of an option is not divided."""
        parser = Parser(prog="egress", description="--one-two " * 40)
        parser.add_argument("--x", help="--one-two " * 40)
        self.assertNotRegex(parser.format_help(), r"-\n")

    def test_epilog(self) -> None:
        self.assertEqual(
            epilog(("Do it", "egress x"), statuses={0: "done", 125: "failed"}, text="Text."),
            "Text.\n\nexamples:\n  # Do it\n  egress x\n\nexit status:\n  0    done\n  125  failed",
        )

    def test_listing(self) -> None:
        """The commands are sorted within their group."""
        top = Parser(prog="egress")
        one = Commands(top.add_subparsers())
        one.add_parser("longer", help="do more")
        one.add_parser("a", help="do this")
        self.assertEqual(listing({"first": one}), "first:\n  a       do this\n  longer  do more")
        self.assertEqual(listing({}), "")

    def test_kind(self) -> None:
        """The parsers of all commands are of one kind."""
        self.assertTrue(
            all(isinstance(parser, CompleteParser) for parser in parsers_of(main.parser(kind=CompleteParser)))
        )
