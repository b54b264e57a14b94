"""C{egress policy bundle} and C{egress policy keygen}: policies in one signed file, and the keys that sign them."""

from __future__ import annotations

import argparse
import os.path
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from egress.cli.errors import Misused
from egress.cli.output import add_json, write_file, write_json
from egress.cli.parser import epilog
from egress.policy.bundle import MAX_VERSION, Bundle, InvalidBundle, encode_bundle, is_bundle, key_id
from egress.policy.parse.load import PolicyError, load_content, load_policy
from egress.policy.rules import RuleSet
from egress.runtime.private_file import ExposedFile, read_secret
from egress.runtime.signing_keys import create_key, public_file


def add_parser(commands: Any) -> None:
    """Add C{bundle} to the commands."""
    parser = commands.add_parser(
        "bundle",
        help="write a policy and the files that it includes to one signed file",
        description="Writes a policy and the files that it includes to one file, with a version and signatures, for "
        "--policy.",
        epilog=epilog(
            ("Sign a policy", "egress policy bundle policy.toml --key policy.key -o policy.bundle"),
            ("Set its version", "egress policy bundle policy.toml -k policy.key --version 7 -o policy.bundle"),
        ),
    )
    parser.add_argument(
        "-k",
        "--key",
        metavar="FILE",
        action="append",
        default=[],
        help="sign with this private key of egress policy keygen; can be repeated",
    )
    parser.add_argument(
        "--version",
        metavar="N",
        type=_version,
        help="the version, which must be greater than that of the policy in use; default: the seconds since 1970",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write")
    add_json(parser)
    parser.add_argument("file", metavar="POLICY", help="the policy file")
    parser.set_defaults(run=_bundle)


def add_keygen_parser(commands: Any) -> None:
    """Add C{keygen} to the commands."""
    parser = commands.add_parser(
        "keygen",
        help="make a key that signs policies",
        description="Makes an Ed25519 key that signs policies: the private key in FILE, the public key in FILE.pub.",
        epilog=epilog(("Make a key", "egress policy keygen policy.key")),
    )
    add_json(parser)
    parser.add_argument("file", metavar="FILE", help="the file of the private key, which must not exist")
    parser.set_defaults(run=_keygen)


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 17 and 0 < int(text) <= MAX_VERSION):
        raise argparse.ArgumentTypeError(f"write a whole number from 1 to {MAX_VERSION}")
    return int(text)


def _keygen(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    path = Path(given.file)
    if path.exists():
        raise Misused(f"{path}: exists: specify a file that does not exist yet")
    try:
        create_key(path)
    except OSError as error:
        raise Misused(f"{path}: cannot be written: {error.strerror}") from error
    if given.json:
        write_json(out, {"privateKey": str(path), "publicKey": str(public_file(path))})
        return
    print(f"{path}: the private key: keep it where policies are signed", file=out)
    print(f"{public_file(path)}: the public key: specify it with --policy-key", file=out)


def _bundle(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    path, output = Path(given.file), Path(given.output)
    version = int(time.time()) if given.version is None else given.version
    keys = [_read_key(Path(name)) for name in given.key]
    try:
        if is_bundle(path.read_bytes()):
            raise Misused(f"{path}: is a bundle already: specify the policy file")
        rules = load_policy(path)
        content = encode_bundle(_bundle_of(rules, version), keys)
        # What an include of a bundle cannot name is found here, and not in the proxy.
        found = load_content(content, str(output), output, [key.public_key() for key in keys] or None)
    except OSError as error:
        raise Misused(f"{path}: cannot be read: {error.strerror}") from error
    except (PolicyError, InvalidBundle) as error:
        raise Misused(error.reason) from error
    write_file(output, content.decode("ascii"))
    if given.json:
        names = [key_id(key.public_key()) for key in keys]
        write_json(out, {"file": str(output), "version": version, "documents": len(rules.texts), "keys": names})
        return
    signed = f"{len(keys)} signature{'' if len(keys) == 1 else 's'}"
    print(f"{output}: version {found.version}, {len(rules.files)} of the policy's files, {signed}", file=out)


def _bundle_of(rules: RuleSet, version: int) -> Bundle:
    """Put the texts of a policy into a bundle, with names relative to the directory that contains all of them."""
    paths = [os.path.abspath(text.where) for text in rules.texts]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = [os.path.relpath(path, root).replace(os.path.sep, "/") for path in paths]
    texts: Sequence[str] = [text.text for text in rules.texts]
    return Bundle(version, names[0], dict(zip(names, texts, strict=True)))


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        content = read_secret(path)
        if content is None:
            raise Misused(f"{path}: does not exist: make it with egress policy keygen")
        key = load_pem_private_key(content, None)
    except ExposedFile as error:
        raise Misused(error.reason) from error
    except OSError as error:
        raise Misused(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misused(f"{path}: must be an Ed25519 key in PEM, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misused(f"{path}: must be an Ed25519 key: make it with egress policy keygen")
    return key
