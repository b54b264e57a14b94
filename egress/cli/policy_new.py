"""C{egress policy new}: writes a policy from templates."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from egress.cli.errors import Misused
from egress.cli.output import STDOUT, write_file, write_json
from egress.cli.parser import epilog
from egress.model.counted import counted
from egress.policy.check.case_runner import run_case
from egress.policy.parse.load import PolicyError, parse_policy
from egress.policy.parse.toml_reader import nearest
from egress.policy.templates.catalog import load_template, template_names
from egress.policy.templates.compose import UnknownVariable, compose, with_includes


def add_parser(actions: Any) -> None:
    """Add C{new} to the actions."""
    parser = actions.add_parser(
        "new",
        help="write a policy from templates",
        description="Writes a policy with the rules and the tests of one or more templates, each of which allows the "
        "requests of one kind of program.",
        epilog=epilog(
            ("List the templates", "egress policy new --list"),
            ("Write a policy", "egress policy new npm pypi -o policy.toml"),
            ("Set a variable of a template", "egress policy new github --set github_owner=example -o policy.toml"),
            statuses={0: "the policy is written", 2: "the policy cannot be written"},
        ),
    )
    parser.add_argument("template", nargs="*", metavar="TEMPLATE", help="the name of a template; see --list")
    parser.add_argument("--list", action="store_true", help="list the templates")
    parser.add_argument("--json", action="store_true", help="with --list, write JSON")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set a variable of a template; can be repeated"
    )
    parser.add_argument(
        "--part",
        action="store_true",
        help="write a file for the include list of another policy, without private_addresses",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the output file; - is standard output, the default")
    parser.add_argument("--force", action="store_true", help="replace an existing output file")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    if given.list:
        _list(given.json, out)
        return
    if not given.template:
        raise Misused(
            "specify a template, as in: egress policy new npm; to list the templates: egress policy new --list"
        )
    text = new_policy(given.template, dict(map(_setting, given.set)), part=given.part)
    if given.output in (None, STDOUT):
        out.write(text)
        return
    path = Path(given.output)
    write_new_policy(path, text, force=given.force)
    number = counted(len(parse_policy(text, str(path), "policy").rules), "rule")
    print(f"{path}: {number}; next: egress run --policy {path} -- COMMAND", file=out)


def new_policy(names: list[str], settings: Mapping[str, str], *, part: bool = False) -> str:
    """Return a policy from templates.

    @param names: the names of the templates.
    @param settings: values of their variables.
    @param part: see L{compose}.
    @raise Misused: if a name or a value is not valid.
    """
    known = template_names()
    for name in names:
        if name not in known:
            raise Misused(
                f"there is no template {name!r}; {nearest(name, known)}; to list them: egress policy new --list"
            )
    try:
        text = compose(with_includes(names), settings, part=part, title=f"A policy from templates: {', '.join(names)}.")
        policy = parse_policy(text, "policy", "policy")
    except UnknownVariable as error:
        raise Misused(f"--set: {error}") from None
    except PolicyError as error:
        raise Misused(f"--set: the policy is not valid with these values: {error.reason}") from None
    failed = [case.name for case in policy.cases if not run_case(policy, case).passed]
    if failed:
        raise Misused(f"a test of the templates fails with these values: {failed[0]}; use other values with --set")
    return text


def write_new_policy(path: Path, text: str, *, force: bool) -> None:
    """Write a policy to a file.

    @param force: whether to replace a file with other content.
    @raise Misused: if the file exists, or cannot be written.
    """
    if path.exists() and not force and (not path.is_file() or path.read_text("utf-8", "replace") != text):
        raise Misused(f"{path}: exists: add --force to replace it, or specify another file")
    write_file(path, text)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise Misused(f"--set {text!r}: write NAME=VALUE, as in --set github_owner=example")
    return name, value


def _list(as_json: bool, out: TextIO) -> None:
    templates = [load_template(name) for name in template_names()]
    if as_json:
        rows = [
            {
                "name": template.name,
                "summary": template.summary,
                "includes": list(template.includes),
                "variables": template.variables,
            }
            for template in templates
        ]
        write_json(out, {"templates": rows})
        return
    width = max(len(template.name) for template in templates)
    for template in templates:
        print(f"{template.name:<{width}}  {template.summary}", file=out)
        for name, value in template.variables.items():
            print(f"{'':<{width}}  --set {name}=... (default: {value})", file=out)
