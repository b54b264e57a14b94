"""C{egress policy history}: the versions of the policy that proxies used, from their audit store."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

import attrs

from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.stored import add_store_options, opened_store
from egress.model.log_numbers import written_time
from egress.model.policy_use import PolicyUse
from egress.policy.loaded_policy import texts_from_json
from egress.policy.source_text import common_start
from egress.store.interfaces import IAuditStore, StoreError
from egress.store.policy_history import MAX_ENTRIES

_LIMIT: Final = 50


def add_parser(commands: Any) -> None:
    """Add C{history} to the commands."""
    parser = commands.add_parser(
        "history",
        help="list, show and compare the versions of the policy that proxies used",
        description="Lists the versions of the policy that proxies used, the newest first, from their audit store. "
        "With a version, writes its text. With two versions, writes their difference.",
        epilog=epilog(
            ("List the versions", "egress policy history"),
            ("Write the text of a version", "egress policy history 3f9a0c1b2d4e"),
            ("Compare two versions", "egress policy history 3f9a0c1b2d4e 77a0c1d2e3f4"),
        ),
    )
    parser.add_argument("-n", "--limit", type=int, default=_LIMIT, metavar="N", help="list at most N entries")
    add_json(parser)
    parser.add_argument("versions", metavar="VERSION", nargs="*", help="a version, or its beginning")
    add_store_options(parser)
    parser.set_defaults(run=_history)


def _history(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    if len(given.versions) > 2:
        raise CommandFailed("write one version to show it, or two to compare them")
    try:
        with opened_store(given, environ) as store:
            if not given.versions:
                _list(store.policy_uses(max(1, given.limit)), given.json, out)
                return
            texts = [_Texts.find(store, version) for version in given.versions]
    except StoreError as error:
        raise CommandFailed(str(error)) from error
    if given.json:
        write_json(out, {"policies": [each.to_json() for each in texts]})
    elif len(texts) == 1:
        out.writelines(texts[0].lines())
    else:
        out.writelines(_difference(*texts))


def _list(uses: Sequence[PolicyUse], as_json: bool, out: TextIO) -> None:
    if as_json:
        entries = [{**attrs.asdict(use), "time": written_time(use.time)} for use in uses]
        write_json(out, {"entries": [{key: each[key] for key in each if key != "texts"} for each in entries]})
        return
    rows = [(written_time(use.time), use.version, use.author or "-", use.node or "-", use.source) for use in uses]
    table = [("time", "version", "author", "node", "source"), *(tuple(map(plain, row)) for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in range(4)]
    for row in table:
        print("  ".join([*map(str.ljust, row[:4], widths), row[4]]), file=out)


@attrs.frozen
class _Texts:
    """The texts of a version.

    @ivar version: the version.
    @ivar digest: its digest.
    @ivar documents: the text of each document by its name.
    """

    version: str
    digest: str
    documents: Mapping[str, str]

    @classmethod
    def find(cls, store: IAuditStore, version: str) -> _Texts:
        """Find a version by its beginning.

        @raise CommandFailed: if there is none, or there are several.
        """
        found = {use.digest: use.version for use in store.policy_uses(MAX_ENTRIES) if use.version.startswith(version)}
        if not found:
            raise CommandFailed(f"no version begins with {version!r}: egress policy history lists the versions")
        if len(found) > 1:
            names = ", ".join(sorted(f"{name} ({digest})" for digest, name in found.items())[:9])
            raise CommandFailed(f"several versions begin with {version!r}: {names}")
        ((digest, name),) = found.items()
        texts = store.policy_texts(digest)
        if texts is None:
            raise CommandFailed(f"the text of {name} is not stored")
        documents = texts_from_json(json.loads(texts))
        # The directory can differ between machines.
        start = 0 if len(documents) == 1 else common_start([text.where for text in documents])
        start = documents[0].where.rfind("/", 0, start) + 1 if start else 0
        return cls(name, digest, {text.where[start:]: text.text for text in documents})

    def to_json(self) -> dict[str, Any]:
        """Return the version as JSON has it."""
        return attrs.asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield the lines of all documents."""
        for name, text in self.documents.items():
            if len(self.documents) > 1:
                yield f"# ==> {name}\n"
            yield text if text.endswith("\n") else f"{text}\n"


def _difference(before: _Texts, after: _Texts) -> Iterator[str]:
    names = {*before.documents, *after.documents}
    if len(before.documents) == len(after.documents) == 1:
        # One document can have another name.
        pairs = [(*before.documents.values(), *after.documents.values(), "")]
    else:
        pairs = [(before.documents.get(name, ""), after.documents.get(name, ""), f" {name}") for name in sorted(names)]
    for old, new, name in pairs:
        first, second = (text.splitlines(keepends=True) for text in (old, new))
        for line in difflib.unified_diff(first, second, f"{before.version}{name}", f"{after.version}{name}"):
            yield line if line.endswith("\n") else f"{line}\n"
