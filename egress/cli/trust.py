"""C{egress trust}: installs the CA of a proxy in the trust stores of the machine."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli.errors import Misused
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_selected_options
from egress.client_settings.variables import PASSWORD
from egress.config.load import load_config
from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import read_plain
from egress.tls.ca_certificates import Certificates
from egress.tls.ca_source import ca_source
from egress.tls.issuer import CaError, fingerprint_of, read_certificates, time_left
from egress.trust.anchors import Wanted
from egress.trust.changes import Action, Changes, Result
from egress.trust.execution import Programs
from egress.trust.steps import shell_of
from egress.trust.stores import KINDS, find_stores

# The proxy options that select the CA; their environment variables and the configuration file apply here, too.
_OPTIONS: Final = ("ca-dir", "ca-cert", "ca-root", "config")
_FIELDS: Final = ("ca_dir", "ca_cert", "ca_key", "ca_root")

_STATUSES: Final[Mapping[Action, Mapping[int | str, str]]] = {
    Action.INSTALL: {
        0: "every store trusts the CA",
        1: "a store could not be changed",
        2: "there is no CA or no store",
    },
    Action.REMOVE: {0: "no store has the CA", 1: "a store could not be changed", 2: "there is no CA or no store"},
    Action.STATUS: {0: "every store trusts the CA", 1: "a store does not trust it", 2: "there is no CA or no store"},
}


def add_parser(commands: Any) -> None:
    """Add C{trust} to the commands."""
    parser = commands.add_parser(
        "trust",
        help="install the CA in trust stores",
        description="Manages the CA of the proxy in the trust stores of this machine: of the operating system, of "
        "Chromium and Firefox (NSS), and of Java.",
        epilog=epilog(
            ("Show which stores trust the CA", "egress trust status"),
            ("Show the commands that would install it", "egress trust install --dry-run"),
            (
                "As root, install it for the system",
                "egress trust install --store system --ca-dir /home/me/.egressproxy/ca",
            ),
        ),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    install = _add(
        actions, Action.INSTALL, "install the CA", ("Install it for browsers", "egress trust install --store nss")
    )
    remove = _add(
        actions,
        Action.REMOVE,
        "remove the CA, and no other certificate",
        ("Show the commands that would remove it", "egress trust remove --dry-run"),
    )
    remove.add_argument(
        "--all",
        action="store_true",
        help="remove also other CAs that an egress proxy generated, for example earlier ones",
    )
    for each in (install, remove):
        each.add_argument("--dry-run", action="store_true", help="print the commands, and change nothing")
    _add(actions, Action.STATUS, "show which stores trust the CA", ("As JSON", "egress trust status --json"))


def _add(actions: Any, action: Action, text: str, example: tuple[str, str]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        action.value,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog(example, statuses=_STATUSES[action]),
    )
    parser.set_defaults(run=_run, action=action, dry_run=False, all=False)
    parser.add_argument(
        "--store", action="append", choices=KINDS, help="the kind of store; can be repeated [default: all that exist]"
    )
    add_selected_options(parser, _OPTIONS)
    parser.add_argument(
        "--java-password",
        metavar="TEXT",
        default=PASSWORD,
        help="the password of the trust stores of Java [default: %(default)s]",
    )
    add_json(parser)
    return parser


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    now = datetime.now(timezone.utc)
    certificates, ca_options = _certificates(given, environ)
    wanted = Wanted.of(certificates, now)
    programs = Programs(environ)
    stores = find_stores(given.store or KINDS, programs, given.java_password)
    if not stores:
        raise Misused(f"no trust store found ({', '.join(given.store or KINDS)}): install ca-certificates, for example")
    changes = Changes(
        action=given.action,
        wanted=wanted,
        others=given.all,
        programs=programs,
        dry_run=given.dry_run,
        now=now,
        ca_options=ca_options,
    )
    results = [changes.apply(store) for store in stores]
    succeeded = all(result.fault is None if given.dry_run else result.succeeded(given.action) for result in results)
    if given.json:
        write_json(out, _document(given, wanted, results))
    else:
        for line in _lines(given, wanted, results, now):
            print(line, file=out)
        for result in results:
            if result.fault is not None:
                print(plain(f"egress: {result.store.kind} {result.store.where}: {result.fault}"), file=sys.stderr)
    return 0 if succeeded else 1


def _certificates(given: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Certificates, str]:
    """Read the certificates of the CA.

    Unlike the proxy, this does not need the key of C{--ca-cert}, and with C{--ca-root} not C{--ca-cert} either.

    @return: the certificates, and the options that select them for another user, for a shell.
    """
    options = {"ca-dir": given.ca_dir, "config": given.config}
    arguments = {name: [value] for name, value in options.items() if value is not None}
    try:
        if given.ca_root is not None:
            path = Path(given.ca_root)
            roots = read_certificates(read_plain(path, MAX_BYTES))
            return Certificates(roots[0], roots=tuple(roots)), shlex.join(("--ca-root", str(path.absolute())))
        if given.ca_cert is None:
            config = load_config(arguments, environ, only=_FIELDS)
            name, path = ("dir", config.ca_dir) if config.ca_cert is None else ("cert", config.ca_cert)
            if config.ca_root is not None:
                name, path = "root", config.ca_root
            return ca_source(config).certificates(), shlex.join((f"--ca-{name}", str(path.absolute())))
        path = Path(given.ca_cert)
        certificate, *chain = read_certificates(read_plain(path, MAX_BYTES))
        return Certificates(certificate, chain=tuple(chain)), shlex.join(("--ca-cert", str(path.absolute())))
    except CaError as error:
        file = given.ca_root or given.ca_cert
        where = "" if file is None else f"{file}: "
        raise Misused(f"{where}{error}") from error
    except OSError as error:
        raise Misused(f"{error.filename}: {error.strerror}; specify a readable file") from error


def _lines(given: argparse.Namespace, wanted: Wanted, results: list[Result], now: datetime) -> Iterator[str]:
    if given.dry_run:
        for result in results:
            yield plain(f"# {result.store.kind} {result.store.where}: {_state(result)}")
            for step in result.steps:
                yield shell_of(step)
        return
    for certificate in wanted.trusted:
        yield f"CA {fingerprint_of(certificate)}, valid until {time_left(certificate.not_valid_after_utc, now)}"
    for result in results:
        changed = {Action.INSTALL: ", installed", Action.REMOVE: ", removed"}.get(given.action, "")
        yield plain(
            f"  {result.store.kind:<6}  {result.store.where}: {_state(result)}{changed if result.steps else ''}"
        )
        for entry in result.old:
            yield plain(f"          other or earlier CA of an egress proxy: {entry.fingerprint}")


def _state(result: Result) -> str:
    return "unknown" if result.state is None else result.state.value


def _document(given: argparse.Namespace, wanted: Wanted, results: list[Result]) -> dict[str, Any]:
    return {
        "action": given.action.value,
        "dryRun": given.dry_run,
        "ca": [
            {"fingerprint": fingerprint_of(each), "notAfter": each.not_valid_after_utc.isoformat()}
            for each in wanted.trusted
        ],
        "stores": [
            {
                "store": result.store.kind,
                "path": result.store.where,
                "state": None if result.state is None else result.state.value,
                "changed": bool(result.steps) and not given.dry_run,
                "others": [entry.fingerprint for entry in result.old],
                "commands": [shell_of(step) for step in result.steps],
                "error": result.fault,
            }
            for result in results
        ],
    }
