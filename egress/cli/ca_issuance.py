"""C{egress ca root}, C{request} and C{sign}: an intermediate CA for each replica, signed by one root."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, TextIO

from cryptography import x509

from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, write_json
from egress.cli.parser import epilog
from egress.config.load import load_config
from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import Folder, read_plain, replace_file
from egress.tls.ca_store import new_label
from egress.tls.intermediate import INTERMEDIATE_LIFETIME, IntermediateIssuer, new_key_pem, request_pem
from egress.tls.issuer import (
    CA_LIFETIME,
    CaError,
    CertificateAuthority,
    fingerprint_of,
    is_self_signed,
    pem_of,
    read_certificates,
)
from egress.tls.key_file import read_key_file
from egress.tls.name_constraints import constraints_of, describe, name_constraints

_CONSTRAINTS: Final = "ca-name-constraints"
_EXAMPLE: Final = 365


def add_issuance(actions: Any) -> None:
    """Add the actions to C{egress ca}."""
    root = _add(
        actions,
        "root",
        _root,
        "generate a root, which signs the CA of each replica",
        ("Generate a root on a machine without a proxy", "egress ca root root.pem root-key.pem"),
    )
    root.add_argument("certificate", metavar="FILE", help="the file for the certificate, which clients must trust")
    root.add_argument("key", metavar="KEY-FILE", help="the file for the key; it must not exist")
    _add_days(root, CA_LIFETIME)
    _add_constraints(root, "the root and the CAs that it signs", "all hosts")

    request = _add(
        actions,
        "request",
        _request,
        "write a certificate signing request for the CA of a replica",
        ("On each replica", "egress ca request ca-key.pem replica-1.csr"),
    )
    request.add_argument(
        "key", metavar="KEY-FILE", help="the file with the key, which is generated if it does not exist"
    )
    request.add_argument("request", metavar="FILE", help="the file for the request")

    sign = _add(
        actions,
        "sign",
        _sign,
        "sign the CA of a replica with the root",
        ("Where the root is", "egress ca sign --root root.pem --root-key root-key.pem replica-1.csr replica-1.pem"),
    )
    sign.add_argument("--root", metavar="FILE", required=True, help="the certificate of the root")
    sign.add_argument("--root-key", metavar="FILE", required=True, help="its key")
    sign.add_argument("request", metavar="REQUEST", help="the request of the replica")
    sign.add_argument(
        "certificate", metavar="FILE", help="the file for the certificate of the CA, followed by the root"
    )
    _add_days(sign, INTERMEDIATE_LIFETIME)
    _add_constraints(sign, "the CA", "the hosts of the root")


def _add(actions: Any, name: str, run: Any, text: str, *examples: tuple[str, str]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog(*examples)
    )
    parser.set_defaults(run=run)
    add_json(parser)
    return parser


def _add_days(parser: argparse.ArgumentParser, default: timedelta) -> None:
    parser.add_argument(
        "--days", type=days, default=default.days, metavar="N", help="the validity [default: %(default)s]"
    )


def _add_constraints(parser: argparse.ArgumentParser, whose: str, default: str) -> None:
    text = f"the hosts for which {whose} may sign [default: {default}]"
    parser.add_argument(f"--{_CONSTRAINTS}", metavar="HOSTS", help=text)


def days(text: str) -> int:
    """Parse a number of days.

    @raise argparse.ArgumentTypeError: for anything else.
    """
    with suppress(ValueError):
        number = int(text)
        # Longer lifetimes exceed what dates can represent and what clients accept.
        if 1 <= number <= 36500:
            return number
    raise argparse.ArgumentTypeError(f"write a number of days, as in {_EXAMPLE}")


def name_of(certificate: x509.Certificate) -> str:
    """Return the subject of a certificate, to display it."""
    return certificate.subject.rfc4514_string()


def _limits(given: argparse.Namespace) -> x509.NameConstraints | None:
    text = given.ca_name_constraints
    if text is None:
        return None
    permitted = load_config({_CONSTRAINTS: [text]}, {}, only=("ca_name_constraints",)).ca_name_constraints
    return name_constraints(permitted) if permitted else None


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _root(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    certificate, key = Path(given.certificate), Path(given.key)
    lifetime = timedelta(days=given.days)
    authority = CertificateAuthority.create(f"root {new_label()}", _now(), lifetime, _limits(given), path_length=1)
    # The key first: a certificate without its key is of no use.
    _write_key(key, authority.secret_pem())
    _write(certificate, authority.certificate_pem)
    if given.json:
        write_json(out, _facts(authority.certificate, certificate, key))
        return
    print(f"{certificate}: {name_of(authority.certificate)}: clients must trust it", file=out)
    print(f"{key}: its key: keep it where no proxy is, for example offline", file=out)


def _request(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    path, request = Path(given.key), Path(given.request)
    key = _key_in(path)
    if key is None:
        key = new_key_pem()
        _write_key(path, key)
    try:
        content = request_pem(key, new_label())
    except CaError as error:
        raise CommandFailed(f"{path}: {error.reason}") from error
    _write(request, content)
    if given.json:
        write_json(out, {"key": str(path), "request": str(request)})
        return
    print(f"{path}: the key of the CA: it does not leave this machine", file=out)
    print(f"{request}: sign it where the root is, with: egress ca sign", file=out)


def _sign(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    root, key_path, request, path = map(Path, (given.root, given.root_key, given.request, given.certificate))
    key = _key_in(key_path)
    if key is None:
        raise CommandFailed(f"{key_path}: is missing; specify the key of {root}")
    try:
        chain = read_certificates(_read(root))
    except CaError as error:
        raise CommandFailed(f"{root}: {error.reason}; specify a certificate in PEM") from error
    content = _read(request)
    try:
        issuer = IntermediateIssuer(chain, key)
    except CaError as error:
        raise CommandFailed(f"{root} with {key_path}: {error.reason}") from error
    try:
        certificate = issuer.sign(content, _now(), timedelta(days=given.days), _limits(given))
    except CaError as error:
        raise CommandFailed(f"{request}: {error.reason}") from error
    _write(path, pem_of(certificate, *chain))
    if given.json:
        write_json(out, _facts(certificate, path, None))
        return
    limits = constraints_of(certificate)
    hosts = "every host" if limits is None else describe(limits)
    end = certificate.not_valid_after_utc
    print(f"{path}: {name_of(certificate)}, until {end:%Y-%m-%d}, signs for {hosts}", file=out)
    print(f"Start the replica with: --ca-cert {path.name} --ca-key and the key of the request", file=out)
    if not is_self_signed(chain[-1]):
        print(f"{root} does not end with a root: set --ca-root to the certificate that clients trust", file=out)


def _facts(certificate: x509.Certificate, path: Path, key: Path | None) -> dict[str, Any]:
    """Describe a new certificate as one JSON object."""
    limits = constraints_of(certificate)
    return {
        "file": str(path),
        "key": None if key is None else str(key),
        "subject": name_of(certificate),
        "sha256": fingerprint_of(certificate),
        "notAfter": certificate.not_valid_after_utc.isoformat(),
        "nameConstraints": None if limits is None else describe(limits),
    }


# -- files


def _key_in(path: Path) -> bytes | None:
    try:
        return read_key_file(path)
    except CaError as error:
        raise CommandFailed(error.reason) from error
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}; specify a readable key") from error


def _read(path: Path) -> bytes:
    try:
        return read_plain(path, MAX_BYTES)
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}; specify a readable file") from error


def _write_key(path: Path, content: bytes) -> None:
    """Write a new file with a key.  An existing file is never replaced: its key would be lost."""
    try:
        with Folder(path.parent) as folder:
            temporary = folder.create(path.name, content, 0o600)
            try:
                folder.link(temporary, path.name)
            finally:
                folder.remove(temporary)
            folder.sync()
    except FileExistsError as error:
        raise CommandFailed(f"{path}: exists already; specify a new file for the key") from error
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}; specify a file in a writable directory") from error


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content, 0o644)
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}; specify a file in a writable directory") from error
