"""The rules for words, on small texts."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import prose

PAGE = """# A heading with whoever

It decides anew, and
all the
same it does. `whoever` is code, and so is the [link](whoever.md).

```sh
whoever
```

<!-- whoever
-->
<!-- vale off -->whoever<!-- vale on -->
Whoever.
"""

MODULE = '''"""It stands here; C{nobody} is a name."""

# A comment, on two lines, that nobody
# reads anew.
TABLE = {"whoever": 1}


def refuse(name: str) -> None:
    """Raise.

    @raise ValueError: for a value that is none.
    """
    raise ValueError(f"{name}: so many"
                     " at once")  # noqa: whoever
'''


class ProseTests(SynchronousTestCase):
    """What is found, and where."""

    def found(self, name: str, text: str) -> list[tuple[int, str]]:
        """The lines and the rules of what is found in a file."""
        path = Path(self.mktemp()).with_suffix(name)
        path.write_text(text, encoding="utf-8")
        return [(one.line, one.rule) for one in sorted(prose.findings(path, prose.read_rules()))]

    def test_markdown(self) -> None:
        """A page is read without code, addresses and comments; a phrase may go over a line break."""
        self.assertEqual(self.found(".md", PAGE), [(1, "Words"), (3, "Words"), (4, "Words"), (14, "Words")])

    def test_python(self) -> None:
        """Docstrings, comments and messages are read; names, single words and directives are not."""
        expected = [(1, "Words"), (3, "Words"), (4, "Words"), (11, "Predicates"), (13, "Words"), (13, "Words")]
        self.assertEqual(self.found(".py", MODULE), expected)

    def test_policies(self) -> None:
        """Comments and reasons are read; hosts and paths are not."""
        text = "# One anew.\n#\n# Two, whoever\n# it is.\nhosts = ['anew']\n    # anew\nreason = \"so many\"\n"
        self.assertEqual(self.found(".toml", text), [(1, "Words"), (3, "Words"), (6, "Words"), (7, "Words")])

    def test_exceptions(self) -> None:
        """Words that have a right use are found only in the wrong one."""
        right = (
            "An approver answers. The answer of\nan approver. Seconds since the epoch. The connection is kept open.\n"
        )
        self.assertEqual(self.found(".md", right), [])
        wrong = "The program answers. It gives an answer. Since the server closes. The response is kept.\n"
        self.assertEqual(self.found(".md", wrong), [(1, "Ambiguous")] * 4)

    def test_field_names(self) -> None:
        """The name in a field of epytext is code."""
        self.assertEqual(self.found(".py", '"""Buffer.\n\n@ivar held: bytes that are buffered.\n"""\n'), [])
        self.assertEqual(self.found(".py", '"""Buffer.\n\n@ivar size: bytes held.\n"""\n'), [(3, "Ambiguous")])

    def test_sentence_length(self) -> None:
        """A sentence of 30 words passes; one of 31 does not."""
        self.assertEqual(self.found(".md", f"One{' more' * 29}. One{' more' * 29}.\n"), [])
        self.assertEqual(self.found(".md", f"Short.\n\nOne{' more' * 30}.\n"), [(3, "SentenceLength")])

    def test_sentence_starts(self) -> None:
        """A sentence can begin with code, a link, or the value of an option."""
        for start in ("`code`", "[Link](link.md)", "deny: reject", "on-demand: ask"):
            text = f"One{' more' * 20}. {start}{' more' * 20}.\n"
            self.assertEqual(self.found(".md", text), [])
            self.assertEqual(self.found(".md", text.replace(".", "", 1)), [(1, "SentenceLength")])

    def test_status(self) -> None:
        """The exit status is 1 for any finding."""
        path = Path(self.mktemp()).with_suffix(".md")
        for text, status, output in (("Short.\n", 0, "0 findings\n"), ("It is held.\n", 1, f"{path}:1: ")):
            path.write_text(text, encoding="utf-8")
            stream = StringIO()
            with redirect_stdout(stream):
                self.assertEqual(prose.main([str(path.absolute())]), status)
            self.assertIn(output, stream.getvalue())

    def test_unknown_setting(self) -> None:
        """A setting that vale would apply and this cannot is an error, not ignored."""
        rule = {"extends": "existence", "message": "%s", "level": "error", "tokens": ["a"], "nonword": True}
        self.assertRaises(ValueError, prose.rule_from, "Rule", rule)
