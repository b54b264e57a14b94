"""The files with the certificates that clients of a proxy trust."""

from __future__ import annotations

import os
import re
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from cryptography import x509

from egress.client_settings.variables import PASSWORD, ClientFiles
from egress.config.model import ProxyConfig
from egress.runtime.safe_files import make_private, replace_file
from egress.tls.ca_source import ca_source
from egress.tls.issuer import CaError, pem_of, read_certificates
from egress.tls.truststore import Form, write_certificates

# The variables by which a user replaces the CAs of the system, the most common one first.
_OWN_BUNDLE: Final = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")

_BLOCK: Final = re.compile(b"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# The settings of wget that are replaced; wget ignores case, hyphens and underscores in their names.
_WGETRC: Final = "use_proxy = on\nhttp_proxy = {proxy}\nhttps_proxy = {proxy}\nno_proxy =\nca_certificate = {bundle}\n"
_REPLACED: Final = re.compile(
    rb"^[ \t]*(?:ca[-_]?certificate|use[-_]?proxy|https?[-_]?proxy|no[-_]?proxy)[ \t]*=.*\n?",
    re.MULTILINE | re.IGNORECASE,
)

# The bundles of Debian and Alpine, Fedora, openSUSE, and macOS and the BSDs.
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


_CURLRC: Final = '\nproxy = "{proxy}"\nnoproxy = ""\ncacert = "{bundle}"\n'
# The configuration file of apt that is read last.
_APT_MAIN: Final = Path("/etc/apt/apt.conf")
_APT_PROXY: Final = """
#clear Acquire::{scheme}::Proxy;
#clear Acquire::{scheme}::Proxy-Auto-Detect;
#clear Acquire::{scheme}::ProxyAutoDetect;
Acquire::{scheme}::Proxy "{proxy}";
Acquire::{scheme}::CAInfo "{bundle}";
"""
_PHP: Final = 'curl.cainfo = "{bundle}"\nopenssl.cafile = "{bundle}"\n'


def client_files(config: ProxyConfig, directory: Path, proxy: str, environ: Mapping[str, str]) -> ClientFiles:
    """Write the files that clients of a proxy trust; see L{write_client_files}.

    @param config: names the CA.
    @param directory: is made if it does not exist.
    @param proxy: the URL of the proxy.
    @param environ: the environment of the clients.
    @raise CaError: if the CA cannot be read.
    @raise OSError: if a file cannot be written.
    """
    now = datetime.now(timezone.utc)
    certificates = ca_source(config).certificates().trusted(now)
    # With a CA in other files, the proxy has not made the directory of its CA.
    make_private(directory.parent)
    directory.mkdir(mode=0o755, exist_ok=True)
    system = system_certificates(environ)
    return write_client_files(directory, certificates, system, now, proxy=proxy, environ=environ)


def system_certificates(environ: Mapping[str, str]) -> bytes:
    """Return the CAs, in PEM, that programs trust without the proxy; empty if the system has no bundle.

    @param environ: its variables can name another bundle.
    """
    for path in _candidates(environ):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if b"-----BEGIN CERTIFICATE-----" in text:
            return text
    return b""


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in _OWN_BUNDLE if environ.get(name))
    default = ssl.get_default_verify_paths().cafile
    if default is not None:
        yield Path(default)
    yield from map(Path, _BUNDLES)


def write_client_files(
    directory: Path,
    certificates: Sequence[x509.Certificate],
    system: bytes,
    now: datetime,
    *,
    proxy: str,
    environ: Mapping[str, str],
) -> ClientFiles:
    """Write the files that clients trust.

    @param directory: an existing directory, in which the files are replaced.
    @param certificates: the CAs of the proxy.
    @param system: the CAs of the system, in PEM.
    @param now: the time of the import in the trust store.
    @param proxy: the URL of the proxy.
    @param environ: names the configurations of curl, wget, and apt, which are extended.
    @raise OSError: if a file cannot be written.
    """
    curlrc = _curlrc(environ)
    files = ClientFiles(
        ca=directory / "ca.pem",
        bundle=directory / "bundle.pem",
        truststore=directory / "truststore.p12",
        wgetrc=directory / "wgetrc",
        apt=directory / "apt.conf",
        php=directory / "php",
        curl=None if curlrc is None else directory / "curl",
    )
    own = pem_of(*certificates)
    replace_file(files.ca, own, mode=0o644)
    replace_file(files.bundle, own + system, mode=0o644)
    trusted = tuple(dict.fromkeys([*certificates, *_parsed(system)]))
    replace_file(files.truststore, _truststore(trusted, now), mode=0o644)
    # The last of several values wins.  The configuration may have a password.
    wgetrc = _wgetrc(environ) + b"\n" + os.fsencode(_WGETRC.format(proxy=proxy, bundle=files.bundle))
    replace_file(files.wgetrc, wgetrc, mode=0o600)
    if files.curl is not None and curlrc is not None:
        files.curl.mkdir(mode=0o755, exist_ok=True)
        text = curlrc + os.fsencode(_CURLRC.format(proxy=proxy, bundle=files.bundle))
        replace_file(files.curl / ".curlrc", text, mode=0o600)
    # The URL of the proxy may have a password, too.
    replace_file(files.apt, os.fsencode(_apt(files, proxy, environ)), mode=0o600)
    files.php.mkdir(mode=0o755, exist_ok=True)
    replace_file(files.php / "egress.ini", os.fsencode(_PHP.format(bundle=files.bundle)), mode=0o644)
    return files


def _apt(files: ClientFiles, proxy: str, environ: Mapping[str, str]) -> str:
    """Return the configuration of apt.

    Apt reads C{APT_CONFIG} first and its main file last (apt.conf(5)), so this file is both.  It includes the files
    that it replaces.
    """
    included = [Path(environ.get("APT_CONFIG", "")), _APT_MAIN]
    lines = [f'#include "{path}";' for path in included if path != files.apt and path.is_file()]
    settings = (_APT_PROXY.format(scheme=scheme, proxy=proxy, bundle=files.bundle) for scheme in ("http", "https"))
    return "\n".join([*lines, f'Dir::Etc::main "{files.apt}";', *settings])


def _curlrc(environ: Mapping[str, str]) -> bytes | None:
    """Return the user's configuration of curl: the first file that exists (curl(1), C{--config})."""
    for name in ("CURL_HOME", "XDG_CONFIG_HOME", "HOME"):
        if environ.get(name):
            with suppress(OSError):
                return Path(environ[name], ".curlrc").read_bytes()
    return None


def _wgetrc(environ: Mapping[str, str]) -> bytes:
    """Return the user's configuration of wget."""
    name = environ.get("WGETRC") or os.path.join(environ.get("HOME", ""), ".wgetrc")
    try:
        text = Path(name).read_bytes()
    except OSError:
        return b""
    return _REPLACED.sub(b"", text).rstrip(b"\n")


def _parsed(system: bytes) -> list[x509.Certificate]:
    """Return the certificates of the system that can be parsed."""
    found = []
    with warnings.catch_warnings():
        # Some CAs have certificates with small errors, which later versions of cryptography reject.
        warnings.simplefilter("ignore")
        for block in _BLOCK.findall(system):
            with suppress(CaError):
                found += read_certificates(block)
    return found


def _truststore(certificates: Sequence[x509.Certificate], now: datetime) -> bytes:
    """Return a trust store for Java.  Java recognizes both formats, whatever the name of the file."""
    try:
        return write_certificates(certificates, Form.PKCS12, PASSWORD, now)
    except CaError:  # cryptography is too old
        return write_certificates(certificates, Form.JKS, PASSWORD, now)
