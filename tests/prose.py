"""Prose checks of documentation, docstrings, comments and messages: C{python -m tests.prose [PATH ...]}.

It applies the rules of C{.vale/styles/egressproxy}, which vale reads, too.  vale itself is not available as a package,
and it does not read string literals; this module needs only PyYAML, and reads them.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent
STYLE = ROOT / ".vale" / "styles" / "egressproxy"
PATHS = ("README.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "newsfragments", "egress")
DOTS = "\N{HORIZONTAL ELLIPSIS}"  # in place of code

# A string literal with two consecutive words is a message.
MESSAGE = re.compile(r"[A-Za-z][a-z']+,? [a-z']+\b")
DIRECTIVE = re.compile(r"#(?:!| ?noqa| ?type:| ?pragma| ?fmt:)")
MARKUP = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+|:::+(?=\{toctree))[^\n]*\n.*?^[ \t]*(?P=fence)[ \t]*$"  # a code block
    r"|<!-- vale off -->.*?<!-- vale on -->|<!--.*?-->|(?:\{\w+\})?(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)|(?<=\])\([^)\s]*\)|https?://\S+",
    re.DOTALL | re.MULTILINE,
)
EPYTEXT = re.compile(
    r"@(?:[ci]?var|keyword|param) \w+:|\b[A-Z]\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|`[^`\n]*`|https?://\S+"
)
# A sentence can begin with code, and the explanation of an option's value with the value: "deny: reject the request".
TOML_COMMENTS = re.compile(r"(?:^ *#.*\n?)+", re.MULTILINE)
TOML_TEXTS = re.compile(r'^(?:name|reason) = "(.*)"$', re.MULTILINE)
SENTENCE_END = re.compile(
    r"(?<=[.!?:])[\s\"')*_]+(?=[A-Z*\"'(\[])"
    rf"|(?<=[.!?])\s+(?={DOTS}|[a-z-]+: )"
    r"|\n\s*\n|\n\s*(?:[-*|#@]|\d+\.) ?|\|"
)


class Passage(NamedTuple):
    """A piece of text, and the line of the file on which it begins."""

    line: int
    text: str


class Finding(NamedTuple):
    """A match of a rule."""

    path: Path
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message} [{self.rule}]"


class Rule(NamedTuple):
    """A rule of vale.

    @ivar find: returns the position and the message of each match.
    """

    name: str
    find: Callable[[str], Iterator[tuple[int, str]]]


def pattern_of(tokens: list[str], settings: dict[str, Any]) -> re.Pattern[str]:
    """Compile tokens as vale does: in groups of words, where a space also fits a line break."""
    joined = "|".join(f"(?:{token})" for token in tokens).replace(" ", r"\s+")
    return re.compile(rf"\b(?:{joined})\b", re.IGNORECASE if settings.get("ignorecase") else 0)


def rule_from(name: str, settings: dict[str, Any]) -> Rule:
    """Make a rule from the settings in its file.

    @raise ValueError: for a setting that this module does not support but vale does.
    """
    known = {
        "existence": {"tokens"},
        "substitution": {"swap"},
        "occurrence": {"max", "token", "scope"},
    }[settings["extends"]]
    unknown = settings.keys() - known - {"extends", "message", "level", "ignorecase"}
    if unknown or settings["level"] != "error" or settings.get("scope", "sentence") != "sentence":
        raise ValueError(f"{name}: cannot apply {sorted(unknown) or settings}")
    message = settings["message"]

    def existence(text: str) -> Iterator[tuple[int, str]]:
        for match in words.finditer(text):
            yield match.start(), message % " ".join(match[0].split())

    def substitution(text: str) -> Iterator[tuple[int, str]]:
        for pattern, better in swaps:
            for match in pattern.finditer(text):
                yield match.start(), message % (better, " ".join(match[0].split()))

    def occurrence(text: str) -> Iterator[tuple[int, str]]:
        start = 0
        for end in [*(match.end() for match in SENTENCE_END.finditer(text)), len(text)]:
            if len(token.findall(text[start:end])) > settings["max"]:
                yield start, message
            start = end

    if settings["extends"] == "existence":
        words = pattern_of(settings["tokens"], settings)
        return Rule(name, existence)
    if settings["extends"] == "substitution":
        swaps = [(pattern_of([word], settings), better) for word, better in settings["swap"].items()]
        return Rule(name, substitution)
    token = re.compile(settings["token"])
    return Rule(name, occurrence)


def read_rules(directory: Path = STYLE) -> list[Rule]:
    """Read all rules of a style."""
    paths = sorted(directory.glob("*.yml"))
    return [rule_from(path.stem, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths]


def blank(match: re.Match[str]) -> str:
    """Replace markup with text that is not a word and has the same number of lines."""
    return DOTS + "\n" * match[0].count("\n")


def passages_of_markdown(text: str) -> Iterator[Passage]:
    """Yield the text of a page without its code, comments and URLs."""
    yield Passage(1, MARKUP.sub(blank, text))


def _literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the string literals that are not docstrings; an f-string is one literal, with dots for its values."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (
                part.value if isinstance(part, ast.Constant) else "\N{HORIZONTAL ELLIPSIS}" for part in node.values
            )
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield from _literals(node)


def _comments(path: Path) -> Iterator[Passage]:
    """Yield the comments; comments on consecutive lines are one passage."""
    lines: list[str] = []
    last, column = -1, -1
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT and not DIRECTIVE.match(token.string):
                if lines and token.start != (last + 1, column):
                    yield Passage(last - len(lines) + 1, "\n".join(lines))
                    lines = []
                last, column = token.start
                lines.append(token.string.lstrip("#:"))
    if lines:
        yield Passage(last - len(lines) + 1, "\n".join(lines))


def passages_of_python(path: Path) -> Iterator[Passage]:
    """Yield the docstrings, comments and messages of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield Passage(node.body[0].lineno, EPYTEXT.sub(blank, text))
    for line, text in _literals(tree):
        if MESSAGE.search(text):
            yield Passage(line, EPYTEXT.sub(blank, text))
    for passage in _comments(path):
        yield Passage(passage.line, EPYTEXT.sub(blank, passage.text))


def passages_of_toml(text: str) -> Iterator[Passage]:
    """Yield the comments of a policy, each block of lines as one passage, and the texts for users."""
    for match in TOML_COMMENTS.finditer(text):
        yield Passage(text.count("\n", 0, match.start()) + 1, re.sub(r"^ *# ?", "", match[0], flags=re.MULTILINE))
    for match in TOML_TEXTS.finditer(text):
        yield Passage(text.count("\n", 0, match.start()) + 1, match[1])


def passages(path: Path) -> Iterator[Passage]:
    """Yield the prose of a file."""
    if path.suffix == ".py":
        yield from passages_of_python(path)
    elif path.suffix == ".toml":
        yield from passages_of_toml(path.read_text(encoding="utf-8"))
    else:
        yield from passages_of_markdown(path.read_text(encoding="utf-8"))


def findings(path: Path, rules: list[Rule]) -> Iterator[Finding]:
    """Apply rules to a file."""
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for passage in passages(path):
        for rule in rules:
            for position, message in rule.find(passage.text):
                line = passage.line + passage.text.count("\n", 0, position)
                yield Finding(shown, line, rule.name, message)


def files(names: list[str]) -> Iterator[Path]:
    """Yield the named files, and all files in the named directories."""
    for name in names:
        path = ROOT / name
        inside = (found for suffix in ("md", "py", "toml") for found in path.rglob(f"*.{suffix}"))
        yield from sorted(found for found in inside if "_build" not in found.parts) if path.is_dir() else [path]


def main(arguments: list[str]) -> int:
    """Print the findings.

    @return: the exit status, 1 for a finding.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description="Check the words of this project.")
    parser.add_argument("--count", action="store_true", help="print only the number of findings per directory")
    parser.add_argument("paths", nargs="*", default=PATHS, metavar="PATH", help="a file or a directory")
    options = parser.parse_args(arguments)
    rules = read_rules()
    found = [one for path in files(options.paths) for one in sorted(findings(path, rules))]
    if options.count:
        for directory, number in sorted(Counter(str(one.path.parent) for one in found).items()):
            print(f"{number:5} {directory}")
    else:
        for one in found:
            print(one)
    print(f"{len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
