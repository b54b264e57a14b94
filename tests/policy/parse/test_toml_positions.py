"""Tests for L{egress.policy.parse.toml_positions}."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.parse.toml_positions import Lines, Path, heads
from egress.policy.parse.toml_reader import Document

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class LinesTests(SynchronousTestCase):
    """The line numbers of keys and tables."""

    DOCUMENT = """# [no.table]
a = 1 # b = 2
"quo.ted\\u0041" = "x # no comment [y] \\" z"
'lit"eral' = 'x # \\'
many = \"\"\"
[no.table] \\\"\"\"
key = 1\"\"\"\"\"
raw = '''
\\'''''
empty = ""
list = [ # a comment ]
  1,
  "two]", # ,
  [
    3, { x = 1, y.z = [
      4] },
  ],
]
dotted . "key" = { }

[table]
a = 2025-01-01T00:00:00Z
[ table . "sub.table" ]
b = -1.5e3
  [[ rules ]]
  name = "x"
  [rules.query]
  q = true
  [[rules.more]]
  [[rules.more]]
  r = 1
[[rules]]
name = "y"\r
  [rules.more.deep]
  s = nan
"""

    LINES: dict[Path, int] = {
        (): 1,
        ("a",): 2,
        ("quo.tedA",): 3,
        ('lit"eral',): 4,
        ("many",): 5,
        ("raw",): 8,
        ("empty",): 10,
        ("list",): 11,
        ("list", 0): 12,
        ("list", 1): 13,
        ("list", 2): 14,
        ("list", 2, 0): 15,
        ("list", 2, 1, "x"): 15,
        ("list", 2, 1, "y", "z", 0): 16,
        ("dotted", "key"): 19,
        ("table",): 21,
        ("table", "a"): 22,
        ("table", "sub.table"): 23,
        ("table", "sub.table", "b"): 24,
        ("rules",): 25,
        ("rules", 0): 25,
        ("rules", 0, "name"): 26,
        ("rules", 0, "query"): 27,
        ("rules", 0, "query", "q"): 28,
        ("rules", 0, "more"): 29,
        ("rules", 0, "more", 0): 29,
        ("rules", 0, "more", 1): 30,
        ("rules", 0, "more", 1, "r"): 31,
        ("rules", 1): 32,
        ("rules", 1, "name"): 33,
        ("rules", 1, "more"): 34,
        ("rules", 1, "more", "deep", "s"): 35,
        # A missing key has the line of its parent.
        ("rules", 1, "nothing"): 32,
        ("nothing",): 1,
    }

    def test_document(self) -> None:
        tomllib.loads(self.DOCUMENT)
        lines = Lines(self.DOCUMENT)
        for path, expected in self.LINES.items():
            with self.subTest(path):
                self.assertEqual(lines.of(path), expected)

    def test_invalid_toml(self) -> None:
        """The search ends for any text."""
        for text in (
            "[",
            "[[",
            "a",
            "a.",
            "a =",
            "a = [",
            "a = {",
            "=",
            '"',
            "a = [[[",
            "[a",
            "a = '",
            "[" * 100_000,
            "a = " + "[" * 100_000,
        ):
            with self.subTest(text[:20]):
                self.assertGreaterEqual(Lines(text).of(("a",)), 1)

    @given(st.text("ab\n[]{}=.,#\"' 1", max_size=40))
    def test_arbitrary_text(self, text: str) -> None:
        lines = Lines(text)
        try:
            document = tomllib.loads(text)
        except ValueError:
            return
        for key in document:
            # Keys of these letters are written bare, or in quotes.
            self.assertIn(key, text.split("\n")[lines.of((key,)) - 1])


def _basic(text: str) -> str:
    return '"' + "".join(f"\\u{ord(char):04x}" if char in '"\\' or ord(char) < 32 else char for char in text) + '"'


_WORDS = st.text("ab#[]{}=.,'\" \t\\", max_size=6)
_KEYS = st.sampled_from(["a", "b-c", '"d.e"', "'f\"g'", '"\\u0068"'])
_STRINGS = st.one_of(
    _WORDS.map(_basic),
    _WORDS.filter(lambda text: "'" not in text).map(lambda text: f"'{text}'"),
    _WORDS.map(lambda text: '"""\n' + text.replace("\\", "").replace('"', "") + '\n""""'),
    _WORDS.map(lambda text: "'''\n" + text.replace("'", "") + "\n'''''"),
)
_SCALARS = st.one_of(_STRINGS, st.sampled_from(["1", "-2.5", "true", "1979-05-27", "07:32:00", "inf"]))
_GAPS = st.sampled_from(["", " ", "\n", "# ],}\n", "\n\n\t"])


@st.composite
def _lists(draw: Any, values: Any) -> str:
    members = draw(st.lists(values, max_size=3))
    return "[" + "".join(f"{draw(_GAPS)}{member}{draw(_GAPS)}," for member in members) + f"{draw(_GAPS)}]"


@st.composite
def _inline(draw: Any, values: Any) -> str:
    keys = draw(st.lists(_KEYS, max_size=3, unique=True))
    return "{" + ", ".join(f"{key} = {draw(values)}" for key in keys) + "}"


_VALUES = st.recursive(_SCALARS, lambda values: _lists(values) | _inline(values), max_leaves=6)


@st.composite
def _documents(draw: Any) -> tuple[str, dict[Path, int]]:
    """Draw a document, and the known lines of its keys and tables."""
    text, known = "", {}

    def write(more: str) -> int:
        nonlocal text
        line = text.count("\n") + 1
        text += more
        return line

    def pairs(path: Path) -> None:
        for key in draw(st.lists(_KEYS, max_size=3, unique=True)):
            write(draw(st.sampled_from(["", "\n", "# x = [\n", "  "])))
            known[(*path, tomllib.loads(f"{key} = 1").popitem()[0])] = write(f"{key} = {draw(_VALUES)}\n")

    pairs(())
    for number in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            known[(f"t{number}",)] = write(f"[ t{number} ] # x\n")
            pairs((f"t{number}",))
        else:
            index = sum(path[0] == "many" and len(path) == 2 for path in known)
            known[("many", index)] = write("[[many]]\n")
            pairs(("many", index))
            if draw(st.booleans()):
                known[("many", index, "sub")] = write("[many.sub]\n")
                pairs(("many", index, "sub"))
    return text, known


class GeneratedTests(SynchronousTestCase):
    """Generated documents of any shape."""

    @given(_documents())
    def test_lines(self, generated: tuple[str, dict[Path, int]]) -> None:
        text, known = generated
        tomllib.loads(text)
        lines = Lines(text)
        for path, expected in known.items():
            self.assertEqual(lines.of(path), expected, (text, path))
        if "many" in tomllib.loads(text):
            listed = sorted(path[1] for path in known if path[0] == "many" and len(path) == 2)
            found = heads(text).get("many")
            self.assertIn(found, (None, [known["many", index] for index in listed]))
            self.assertEqual(found is None, '"""' in text or "'''" in text)


class HeadsTests(SynchronousTestCase):
    """A line that is found without parsing the rest is correct, or the result is empty."""

    def test_places(self) -> None:
        """The line is that of the table, regardless of the style of its head and of text that looks like a head."""
        for text, line in (
            ("[[rules]]\n\n\t[[ rules ]] # last", 3),
            ("[[rules]]\r\n[[rules]]\r\n", 2),
            ('[[rules]]\n[["rules"]]', 2),
            ("[['rules']]\n# [[rules]]\n[[rules]]", 3),
            ('x = """\n[[rules]]\n"""\n[[rules]]\n[["rules"]]', 5),
            ("x = '''\n[[rules]]'''\n[[rules]]\n[[ 'rules' ]]", 4),
            ("rules = [\n{},\n{} ]", 3),
            ("[[rules]]\n[[rules.more]]\n[[rules]]", 3),
            ("1 = 2\nx = [\n[[1]]\n]\n[[rules]]\n[[rules]]", 6),
        ):
            document = Document("p", text, tomllib.loads(text))
            self.assertEqual(document.place(("rules", 1)), f"p:{line}", text)
            self.assertEqual(document.place(("rules", 1)), f"p:{Lines(text).of(('rules', 1))}", text)
