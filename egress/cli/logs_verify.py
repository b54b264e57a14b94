"""C{egress logs verify}: compares the records of the audit store with their signatures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_selected_options
from egress.config.load import load_config
from egress.model.counted import counted
from egress.runtime.signing_keys import public_file
from egress.store.chain import Checkpoint, Verification
from egress.store.interfaces import StoreError
from egress.store.location import store_to_read
from egress.store.signing_key import read_public_keys

_OPTIONS: Final = ("audit-store", "audit-store-password-file", "audit-signing-key", "ca-dir", "config")
_FIELDS: Final = ("audit_store", "audit_store_password", "audit_signing_key", "ca_dir")

TAMPERED: Final = 1
"""The exit status for findings."""


def add_parser(actions: Any) -> None:
    """Add C{verify} to the actions of C{egress logs}."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "verify",
        help="find changed, removed and inserted records",
        description="Compares the records of an audit store with the signatures that a proxy with --audit-signing-key "
        "wrote. The last checkpoint in the output shows in a later verification whether the newest records were "
        "removed.",
        epilog=epilog(
            ("Verify the records with the public key", "egress logs verify --key audit.key.pub"),
            statuses={0: "all signed records are unchanged", TAMPERED: "there are findings"},
        ),
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        action="append",
        default=[],
        help="a file with public keys; can be repeated [default: the file of --audit-signing-key with the suffix .pub]",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="NUMBER:DIGEST",
        action="append",
        default=[],
        type=_checkpoint,
        help="a checkpoint that the log or an earlier verification had; can be repeated",
    )
    add_json(parser)
    add_selected_options(parser, _OPTIONS)
    parser.set_defaults(run=_run)


def _checkpoint(text: str) -> Checkpoint:
    try:
        return Checkpoint.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    arguments = {
        name: [text] for name in _OPTIONS if (text := getattr(given, name.replace("-", "_"), None)) is not None
    }
    config = load_config(arguments, environ, only=_FIELDS, default_store=True)
    if config.audit_store is None:
        raise CommandFailed("the audit store is set to none: use --audit-store")
    names = [Path(name) for name in given.key]
    if not names and config.audit_signing_key is not None:
        names = [public_file(config.audit_signing_key)]
    if not names:
        raise CommandFailed("the public key is not set: use --key FILE")
    try:
        keys = [key for name in names for key in read_public_keys(name)]
        store = store_to_read(config.audit_store, config.audit_store_password)
        try:
            found = store.verify(keys, given.checkpoint)
        finally:
            store.close()
    except StoreError as error:
        raise CommandFailed(str(error)) from error
    if given.json:
        write_json(out, _document(found))
    else:
        for line in _lines(found):
            print(plain(line), file=out)
    return TAMPERED if found.faults else 0


def _document(found: Verification) -> dict[str, Any]:
    return {
        "findings": found.findings,
        "faults": found.faults,
        "verified": found.verified,
        "pruned": found.pruned,
        "unsigned": found.unsigned,
        "writers": found.writers,
        "checkpoint": None if found.last is None else str(found.last),
    }


def _lines(found: Verification) -> list[str]:
    lines = list(found.findings)
    if found.faults > len(found.findings):
        lines.append(f"and {found.faults - len(found.findings)} more findings")
    lines.append(f"{counted(found.verified, 'record')} verified, {counted(found.faults, 'finding')}")
    if found.writers:
        lines += [f"  {counted(number, 'record')} of {writer}" for writer, number in sorted(found.writers.items())]
    if found.unsigned:
        lines.append(f"{counted(found.unsigned, 'record')} from before the first signature, not verified")
    if found.last is not None:
        lines.append(f"last checkpoint {found.last}")
    return lines
