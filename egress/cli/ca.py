"""C{egress ca}: shows, exports and rotates the CA; L{egress.cli.ca_issuance} has the actions for intermediate CAs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, TextIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from egress.cli.ca_issuance import add_issuance, days, name_of
from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, write_json
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_selected_options
from egress.config.load import load_config
from egress.config.options import BY_NAME
from egress.runtime.safe_files import replace_file
from egress.tls.ca_certificates import Certificates
from egress.tls.ca_rotation import Rotation
from egress.tls.ca_source import CaSource, ca_source
from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import CA_LIFETIME, CaError, fingerprint_of, is_self_signed, pin_of
from egress.tls.name_constraints import constraints_of
from egress.tls.name_constraints import describe as describe_constraints
from egress.tls.truststore import Form, write_certificates

# The proxy options that select the CA; their environment variables and the configuration file apply here, too.
_OPTIONS: Final = ("ca-dir", "config")
_OF_DIRECTORY: Final = ("ca_dir", "ca_name_constraints")
_CONSTRAINTS: Final = "ca-name-constraints"

_DAYS: Final = CA_LIFETIME.days


def add_parser(commands: Any) -> None:
    """Add C{ca} to the commands."""
    parser = commands.add_parser(
        "ca",
        help="manage the CA",
        description="Manages the CA of the proxy.",
        epilog=epilog(
            ("Show the CA and its validity", "egress ca show"),
            ("Write what clients must trust", "egress ca export egress-ca.pem"),
            ("Begin to replace the CA", "egress ca rotate"),
        ),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    _add(
        actions,
        "show",
        _show,
        "show the CA and its validity",
        ("Show the CA of the default directory", "egress ca show"),
        (
            "Print the days that are left",
            "egress ca show --json | jq .current.daysLeft",
        ),
    )

    export = _add(
        actions,
        "export",
        _export,
        "write the certificates that clients must trust",
        ("As PEM, for most programs", "egress ca export egress-ca.pem"),
        ("As a trust store for Java", "egress ca export --format pkcs12 egress-ca.p12"),
    )
    export.add_argument(
        "--format", choices=[form.value for form in Form], default=Form.PEM.value, help="[default: %(default)s]"
    )
    export.add_argument(
        "--password",
        default="changeit",
        help="the password of a trust store; it protects nothing [default: %(default)s]",
    )
    export.add_argument("file", metavar="FILE|-", help="the output file; - is standard output")

    rotate = _add(
        actions,
        "rotate",
        _rotate,
        "generate the next CA, and publish it in addition to the current CA, which still signs",
        ("1. Generate the next CA, and distribute both", "egress ca rotate --days 365"),
        ("2. Sign with the next CA when every client trusts it", "egress ca rotate --activate"),
        ("3. Publish the earlier CA no longer", "egress ca rotate --retire"),
    )
    step = rotate.add_mutually_exclusive_group()
    step.add_argument(
        "--activate", action="store_true", help="sign with the next CA; do this when every client trusts both CAs"
    )
    step.add_argument("--cancel", action="store_true", help="discard the next CA")
    step.add_argument(
        "--retire",
        action="store_true",
        help="publish earlier CAs no longer; do this when every proxy signs with the current CA",
    )
    rotate.add_argument(
        "--days", type=days, default=_DAYS, help="the validity of the next CA [default: %(default)s]", metavar="N"
    )
    rotate.add_argument(
        f"--{_CONSTRAINTS}",
        metavar="HOSTS",
        help="the hosts for which the next CA may sign; none: all hosts [default: the hosts of the current CA]",
    )

    add_issuance(actions)


def _add(actions: Any, name: str, run: Any, text: str, *examples: tuple[str, str]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog(*examples)
    )
    parser.set_defaults(run=run)
    add_json(parser)
    add_selected_options(parser, _OPTIONS)
    return parser


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _source(given: argparse.Namespace, environ: Mapping[str, str]) -> CaSource:
    """Find the CA in the same way as the proxy."""
    arguments = {
        name: [text]
        for name in (*_OPTIONS, _CONSTRAINTS)
        if (text := getattr(given, name.replace("-", "_"), None)) is not None
    }
    # A directory on the command line overrides all other settings.
    fields = _OF_DIRECTORY if "ca-dir" in arguments else (*_OF_DIRECTORY, "ca_cert", "ca_key", "ca_root")
    return ca_source(load_config(arguments, environ, only=fields))


# -- show


def _show(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    source = _source(given, environ)
    now = _now()
    try:
        document = describe(source.certificates(), source, now)
    except CaError as error:
        raise CommandFailed(error.reason) from error
    if given.json:
        write_json(out, document)
    else:
        out.write(in_lines(document))


def describe(certificates: Certificates, source: CaSource, now: datetime) -> dict[str, Any]:
    """Describe the CA as one JSON object."""
    following = certificates.following
    return {
        "current": _facts(certificates.current, now),
        "chain": [_facts(each, now) for each in certificates.chain],
        "next": None if following is None else _facts(following, now),
        "old": [_facts(each, now) for each in certificates.past],
        "files": [str(path) for path in source.paths],
    }


def _facts(certificate: x509.Certificate, now: datetime) -> dict[str, Any]:
    limits = constraints_of(certificate)
    end = certificate.not_valid_after_utc
    return {
        "subject": name_of(certificate),
        "issuer": None if is_self_signed(certificate) else certificate.issuer.rfc4514_string(),
        "sha256": fingerprint_of(certificate),
        "pin": pin_of(certificate),
        "key": _key_type(certificate),
        "notBefore": certificate.not_valid_before_utc.isoformat(),
        "notAfter": end.isoformat(),
        "daysLeft": (end - now).days,
        "expired": now >= end,
        "nameConstraints": None if limits is None else describe_constraints(limits),
    }


def _key_type(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    return f"RSA {key.key_size}" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__


def in_lines(document: Mapping[str, Any]) -> str:
    """Format the result of L{describe} as text."""
    lines: list[str] = []
    for title, group in (
        ("signs", [document["current"]]),
        ("above it", document["chain"]),
        ("next", [document["next"]] if document["next"] else []),
        ("old", document["old"]),
    ):
        for facts in group:
            lines += [f"{title}: {facts['subject']}", *_lines_of(facts), ""]
    return "\n".join([*lines, f"files: {', '.join(document['files'])}"]) + "\n"


def _lines_of(facts: Mapping[str, Any]) -> Sequence[str]:
    begin, end = (datetime.fromisoformat(facts[name]) for name in ("notBefore", "notAfter"))
    left = "expired" if facts["expired"] else f"{facts['daysLeft']} days left"
    pairs = (
        ("issued by", facts["issuer"] or "itself"),
        ("SHA-256", facts["sha256"]),
        ("pin", facts["pin"]),
        ("key", facts["key"]),
        ("valid", f"from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, {left}"),
        ("signs for", facts["nameConstraints"] or "every host"),
    )
    return [f"  {name:<11}{value}" for name, value in pairs]


# -- export


def _export(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    now = _now()
    try:
        trusted = _source(given, environ).certificates().trusted(now)
        content = write_certificates(trusted, Form(given.format), given.password, now)
    except CaError as error:
        raise CommandFailed(error.reason) from error
    if given.file == "-":
        if given.json:
            raise CommandFailed("--json: standard output has the certificates: remove it, or specify a file")
        out.flush()
        out.buffer.write(content)
        out.buffer.flush()
        return
    path = Path(given.file)
    try:
        # Readable for all users: programs may be reading the previous version.
        replace_file(path, content, 0o644)
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}; specify a writable file") from error
    names = list(map(name_of, trusted))
    if given.json:
        write_json(out, {"file": str(path), "format": given.format, "certificates": names})
    else:
        print(f"{path}: {', '.join(names)}", file=out)


# -- rotate


def _rotate(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    source = _source(given, environ)
    if not isinstance(source, CaDirectory):
        raise CommandFailed(
            f"{source.certificate_path}: the proxy did not generate this CA: replace its files, which the proxy reloads"
        )
    rotation = Rotation(source)
    now = _now()
    try:
        if given.activate:
            name = name_of(rotation.activate(now).current)
            lines = [
                f"{name} signs now; running proxies reload it within seconds.",
                "After that: egress ca rotate --retire",
            ]
        elif given.retire:
            rotation.retire(now)
            lines = [f"{source.certificate_path} contains no earlier CA now."]
        elif given.cancel:
            rotation.cancel(now)
            lines = ["The next CA is discarded."]
        else:
            found = rotation.prepare(now, timedelta(days=given.days), _permitted(given, source))
            assert found.following is not None
            lines = [
                f"{name_of(found.following)} is the next CA; {name_of(found.current)} still signs.",
                f"Distribute {source.certificate_path}, which contains both, or the output of egress ca export.",
                "When every client trusts both: egress ca rotate --activate",
            ]
    except CaError as error:
        raise CommandFailed(error.reason) from error
    if given.json:
        write_json(out, describe(source.certificates(), source, now))
    else:
        print("\n".join(lines), file=out)


def _permitted(given: argparse.Namespace, source: CaDirectory) -> Any:
    """Return the name constraints of the next CA; C{None}: the name constraints of the current CA."""
    text = given.ca_name_constraints
    if text is not None and text.strip().lower() in BY_NAME[_CONSTRAINTS].clear:
        return ()
    return source.permitted or None
