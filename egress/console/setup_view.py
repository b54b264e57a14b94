"""The settings of clients, the CA, and the results of the checks, as the Setup page shows them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from egress.checks.finding import Finding, Status
from egress.checks.setup import with_credentials
from egress.client_settings.formats import WRITERS
from egress.client_settings.variables import BYPASSES, ClientFiles, client_variables
from egress.console import formats
from egress.console.destinations_view import Link
from egress.console.paths import with_query
from egress.tls.issuer import ends_soon, fingerprint_of, pem_of, time_left

DIRECTORY: Final = "/etc/egressproxy"
"""The default directory of the files on the machine of the client."""

_DIRECTORY: Final = re.compile(r"/[A-Za-z0-9._/ -]{0,200}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_SCHEMES: Final = ("http", "https")

_FORMATS: Final = {"sh": "sh", "fish": "fish", "dotenv": "dotenv", "github": "GitHub Actions", "json": "JSON"}
_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"


@attrs.frozen(kw_only=True)
class SetupForm:
    """The choices of the visitor.

    @ivar path: the path of the page.
    @ivar proxy: the URL of the proxy.
    @ivar directory: the directory of the files on the machine of the client.
    @ivar format: one of the formats of C{egress env}.
    @ivar errors: the errors by field.
    """

    path: str
    proxy: str
    directory: str
    format: str
    errors: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def parse(cls, path: str, parameters: Mapping[str, str], default: str) -> SetupForm:
        """Parse the parameters of a URL.

        @param path: the path of the page.
        @param parameters: the parameters.
        @param default: the URL of the proxy, if the visitor gives none.
        """
        errors = {}
        proxy = parameters.get("proxy", "").strip() or default
        directory = parameters.get("directory", "").strip() or DIRECTORY
        format_ = parameters.get("format", "")
        if not _is_proxy(proxy):
            errors["proxy"] = "Write a URL with a port and without credentials, as in http://proxy.example:8080."
        if not _DIRECTORY.fullmatch(directory):
            errors["directory"] = f"Write an absolute path, as in {DIRECTORY}."
        return cls(
            path=path,
            proxy=proxy,
            directory=directory if directory == "/" else directory.rstrip("/"),
            format=format_ if format_ in WRITERS else "sh",
            errors=errors,
        )

    @property
    def formats(self) -> list[Link]:
        """The links to the other formats."""
        proxy, directory = self.proxy, "" if self.directory == DIRECTORY else self.directory
        return [
            Link(
                text=text,
                path=with_query(self.path, proxy=proxy, directory=directory, format="" if name == "sh" else name)
                + "#settings",
                current=name == self.format,
            )
            for name, text in _FORMATS.items()
        ]


def _is_proxy(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = f"{parts.scheme}://{parts.netloc}"
    return (
        parts.scheme in _SCHEMES
        and bool(port)
        and "@" not in parts.netloc
        and _HOST.fullmatch(parts.hostname or "") is not None
        and text in (plain, f"{plain}/")
    )


def settings_of(form: SetupForm, *, requires_auth: bool) -> str:
    """Return the variables of clients in the chosen format."""
    proxy = form.proxy.rstrip("/")
    proxy = with_credentials(proxy) if requires_auth else proxy
    directory = PurePosixPath(form.directory)
    bundle, ca = str(directory / "bundle.pem"), str(directory / "ca.pem")
    files = ClientFiles(
        ca=directory / "ca.pem",  # type: ignore[arg-type] # only their texts are used
        bundle=directory / "bundle.pem",  # type: ignore[arg-type]
        truststore=directory / "truststore.p12",  # type: ignore[arg-type]
        wgetrc=directory / "wgetrc",  # type: ignore[arg-type]
        apt=directory / "apt.conf",  # type: ignore[arg-type]
        php=directory / "php",  # type: ignore[arg-type]
    )
    variables = client_variables(proxy, None, {})
    # Only the files exist that the commands of the page make.
    named = {name: value for name, value in client_variables(proxy, files, {}).items() if value in (bundle, ca)}
    return WRITERS[form.format]({**variables, **named}, BYPASSES)


def files_script(form: SetupForm, certificates: Sequence[x509.Certificate]) -> str:
    """Return the commands that make the files of a client on Linux."""
    directory = shlex.quote(form.directory)
    ca, bundle = (shlex.quote(f"{form.directory.rstrip('/')}/{name}") for name in ("ca.pem", "bundle.pem"))
    pem = pem_of(*certificates).decode("ascii")
    return (
        f"sudo mkdir -p {directory}\n"
        f"sudo tee {ca} > /dev/null <<'END'\n{pem}END\n"
        f"cat {_BUNDLE} {ca} | sudo tee {bundle} > /dev/null\n"
    )


@attrs.frozen(kw_only=True)
class CaRow:
    """A certificate of the CA.

    @ivar name: its name.
    @ivar fingerprint: its SHA-256.
    @ivar ends: the end of its validity.
    @ivar kind: the kind of the chip.
    @ivar role: what it is used for.
    """

    name: str
    fingerprint: str
    ends: str
    kind: str
    role: str


def ca_rows(current: x509.Certificate, certificates: Sequence[x509.Certificate], now: datetime) -> list[CaRow]:
    """Return the rows of the certificates that clients must trust."""
    rows = []
    for index, each in enumerate(certificates):
        begin, end = each.not_valid_before_utc, each.not_valid_after_utc
        kind = "bad" if now >= end else "warn" if ends_soon(begin, end, now) else "good"
        role = "signs now" if index == 0 or each == current else "trusted, for a rotation"
        rows.append(
            CaRow(
                name=each.subject.rfc4514_string(),
                fingerprint=fingerprint_of(each),
                ends=time_left(end, now),
                kind=kind,
                role=role,
            )
        )
    return rows


def der_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate in DER."""
    return certificate.public_bytes(Encoding.DER)


@attrs.frozen
class Command:
    """A command, and the machine that it is for.

    @ivar name: the machine.
    @ivar text: the command.
    """

    name: str
    text: str


def trust_commands(ca_options: Sequence[str]) -> list[Command]:
    """Return the commands that install the CA.

    @param ca_options: the options that select the CA on the machine of the proxy.
    """
    here = shlex.join(["egress", "trust", "install", *ca_options])
    return [
        Command("The machine of the proxy: system, Chromium, Firefox and Java", here),
        Command("A machine with egressproxy", "egress trust install --ca-cert ca.pem"),
        Command(
            "Debian, Ubuntu, Alpine",
            "sudo cp ca.pem /usr/local/share/ca-certificates/egressproxy.crt && sudo update-ca-certificates",
        ),
        Command(
            "Fedora, RHEL",
            "sudo cp ca.pem /etc/pki/ca-trust/source/anchors/egressproxy.pem && sudo update-ca-trust",
        ),
        Command(
            "macOS",
            "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain ca.pem",
        ),
        Command("Windows, as administrator", "certutil -addstore Root ca.der"),
        Command("Chromium and Firefox on Linux", "egress trust install --store nss --ca-cert ca.pem"),
        Command("Java", "keytool -importcert -noprompt -cacerts -storepass changeit -alias egressproxy -file ca.pem"),
        Command(
            "A container image",
            "COPY ca.pem /usr/local/share/ca-certificates/egressproxy.crt\nRUN update-ca-certificates",
        ),
    ]


@attrs.frozen
class RuntimeRow:
    """The settings of a runtime.

    @ivar name: the runtime.
    @ivar proxy: how it finds the proxy.
    @ivar ca: how it finds the CA.
    @ivar note: an exception.
    """

    name: str
    proxy: str
    ca: str
    note: str = ""


RUNTIMES: Final = (
    RuntimeRow("curl", "http_proxy, HTTPS_PROXY", "CURL_CA_BUNDLE, --cacert", "~/.curlrc takes precedence"),
    RuntimeRow("git", "HTTPS_PROXY, http.proxy", "GIT_SSL_CAINFO", "git over SSH does not use the proxy"),
    RuntimeRow("pip, uv", "HTTPS_PROXY, PIP_PROXY", "PIP_CERT; uv: SSL_CERT_FILE"),
    RuntimeRow("Python: requests", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"),
    RuntimeRow("Python: httpx, urllib", "HTTPS_PROXY", "SSL_CERT_FILE"),
    RuntimeRow("Python: aiohttp", "HTTPS_PROXY", "SSL_CERT_FILE", "needs trust_env=True"),
    RuntimeRow(
        "Node.js",
        "HTTPS_PROXY, NODE_USE_ENV_PROXY=1",
        "NODE_EXTRA_CA_CERTS",
        "since 22.21 and 24.5; earlier: an agent in the program",
    ),
    RuntimeRow("npm, yarn, pnpm", "npm_config_https_proxy", "npm_config_cafile"),
    RuntimeRow("newman", "HTTPS_PROXY", "--ssl-extra-ca-certs ca.pem"),
    RuntimeRow("Go", "HTTPS_PROXY", "SSL_CERT_FILE", "macOS and Windows: only the store of the system"),
    RuntimeRow("Rust: cargo", "HTTPS_PROXY, CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"),
    RuntimeRow("Java", "JAVA_TOOL_OPTIONS", "keytool, or a trust store", "reads no proxy variable"),
    RuntimeRow("Ruby, PHP: Composer, R", "HTTPS_PROXY", "SSL_CERT_FILE, COMPOSER_CAFILE, CURL_CA_BUNDLE"),
    RuntimeRow("AWS CLI, gcloud", "HTTPS_PROXY", "AWS_CA_BUNDLE, CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"),
    RuntimeRow("Chromium", "--proxy-server, --proxy-bypass-list=<-loopback>", "the NSS store of the user"),
    RuntimeRow("Firefox", "its settings, or policies.json", "its own store"),
)
"""The settings of common runtimes."""

_STATUSES: Final[Mapping[Status, tuple[str, str]]] = {
    Status.OK: ("good", "ok"),
    Status.SKIPPED: ("none", "skipped"),
    Status.WARNING: ("warn", "warning"),
    Status.FAULT: ("bad", "fault"),
    Status.ERROR: ("warn", "not checked"),
}

CHECKS: Final[Mapping[str, str]] = {
    "ca": "CA",
    "clock": "Clock",
    "dns": "DNS",
    "authorizer": "Authorizer",
    "upstream": "Upstream proxy",
    "descriptors": "Open files",
    "versions": "Versions",
}
"""The names of the checks."""


@attrs.frozen
class CheckRow:
    """The result of a check.

    @ivar name: the name.
    @ivar kind: the kind of the chip.
    @ivar status: the result in one word.
    @ivar text: the result in one sentence.
    @ivar fix: the line that fixes it; empty if there is nothing to fix.
    """

    name: str
    kind: str
    status: str
    text: str
    fix: str


@attrs.frozen
class CheckRun:
    """The last run of the checks.

    @ivar rows: the results.
    @ivar when: the time.
    @ivar summary: the number of faults in words.
    """

    rows: Sequence[CheckRow]
    when: str
    summary: str

    @classmethod
    def of(cls, findings: Sequence[Finding], now: float) -> CheckRun:
        """Return the run with some findings."""
        rows = [
            CheckRow(
                CHECKS.get(each.name, each.name), *_STATUSES[each.status], each.text, each.fix.line if each.fix else ""
            )
            for each in findings
        ]
        number = sum(each.to_fix for each in findings)
        summary = f"{number} to fix" if number else "nothing to fix"
        return cls(rows, formats.moment(now), summary)
