"""Tests for L{egress.config.sources}; C{test_options} tests it with all options of the proxy."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config import parsers as values
from egress.config.model import ConfigError
from egress.config.option import Option
from egress.config.parsers import ParseContext
from egress.config.sources import gather, table_of
from tests.files import make_directory

TABLE = (
    Option(
        name="max-things",
        group="Limits",
        metavar="N",
        help="How many.",
        default="1",
        fields=("things",),
        parse=values.number,
        clear=("none",),
        prefix="OTHER_",
    ),
    Option(
        name="config",
        group="Limits",
        metavar="FILE",
        help="More of them.",
        default="none",
        fields=("config",),
        parse=values.readable_file,
        prefix="OTHER_",
    ),
)


class GatherTests(SynchronousTestCase):
    """The options of an arbitrary program, with its own prefix for variables."""

    def gather(self, environ: dict[str, str], *arguments: str, file: str | None = None) -> dict[str, object]:
        directory = make_directory(self)
        given = {"max-things": list(arguments)} if arguments else {}
        if file is not None:
            (directory / "f.toml").write_text(file, "utf-8")
            given["config"] = ["f.toml"]
        found = gather(TABLE, given, environ, ParseContext(directory))
        return {field: value.read() for field, value in found.items()}

    def test_layers(self) -> None:
        for expected, found in (
            ({}, self.gather({})),
            ({}, self.gather({"EGRESS_MAX_THINGS": "2"})),
            ({"things": 2}, self.gather({"OTHER_MAX_THINGS": "2"})),
            ({"things": 3}, self.gather({"OTHER_MAX_THINGS": "2"}, "3")),
            ({"things": 4}, self.gather({}, file="max-things = 4")),
            ({"things": 2}, self.gather({"OTHER_MAX_THINGS": "2"}, file="max-things = 4")),
            ({}, self.gather({"OTHER_MAX_THINGS": "2"}, "none")),
        ):
            self.assertEqual(found, expected)

    def test_misspelled_variables(self) -> None:
        """A program must not start without the settings that its user meant."""
        for name, meant in (("OTHER_MAX_THING", "OTHER_MAX_THINGS"), ("OTHER_CONFG", "OTHER_CONFIG")):
            with self.assertRaises(ConfigError) as caught:
                self.gather({name: "hunter2"})
            self.assertEqual(str(caught.exception), f"{name}: is not a variable of this program: did you mean {meant}?")
        # Variables of other programs, and those that a cluster sets for a service.
        others = ("OTHER_PORT", "OTHER_SERVICE_HOST", "MAX_THING", "ANOTHER_MAX_THING", "other_max_thing")
        self.assertEqual(self.gather(dict.fromkeys(others, "x")), {})

    def test_only(self) -> None:
        self.assertEqual(gather(TABLE, {"max-things": ["2"]}, {}, ParseContext(Path()), only=()), {})

    def test_unknown(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.gather({}, file="listen = 'tcp:1'")
        self.assertIn("unknown option", caught.exception.remedy)

    def test_table(self) -> None:
        self.assertIn("| `--max-things N` | `OTHER_MAX_THINGS` | 1 | How many. |", table_of(TABLE))
