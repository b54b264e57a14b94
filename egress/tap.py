"""The C{twistd} plugin: C{twistd egressproxy}.

What the operator did wrong is one line on standard error and exit status 1, before anything is served; what the
operator must know to use the proxy is printed once it listens.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO, cast

import attrs
import twisted
from twisted.application.service import IService, MultiService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from egress import __version__
from egress.ca.issuer import CertificateAuthority, time_left
from egress.ca.source import ca_source
from egress.config import ConfigError, Mode, ProxyConfig
from egress.descriptors import raise_limit
from egress.hangup import reload_at_hangup
from egress.interrupt import end_when_interrupted
from egress.model.authority import Authority
from egress.model.entrance import Entrance
from egress.ops.audit import STDOUT
from egress.ops.redact import redact_userinfo
from egress.option import Option
from egress.option_table import BY_NAME, OPTIONS
from egress.options import load_config
from egress.post import WorkerFailed
from egress.service import EgressProxyService
from egress.workers import Workers

_log = Logger()

_WIDTH: Final = 80

# What makes programs trust a CA besides, or instead of, their own; NODE_EXTRA_CA_CERTS and DENO_CERT add to it.
_TRUST_VARIABLES: Final = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
)


def _exit(message: str) -> NoReturn:
    """Leave with one line on standard error, and status 1."""
    raise SystemExit("egressproxy: " + " ".join(message.split()))


def _option_help(option: Option) -> str:
    metavar = f" {option.metavar}" if option.metavar else ""
    lines = [f"  {', '.join(f'--{name}{metavar}' for name in (option.name, *option.aliases))}"]
    repeat = " May be given several times." if option.repeatable else ""
    names = ", ".join(variable.name for variable in option.environment)
    for text in (f"{option.help}{repeat}", f"[default: {option.default}; environment: {names}]"):
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent="      ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


class Options(usage.Options):
    """The command line of C{twistd egressproxy}.

    @ivar arguments: what was given, for L{egress.options.load_config}.
    """

    synopsis = "[options]"
    longdesc = (
        "An egress proxy: every request of its clients, HTTP and HTTPS, is put to an authorizer before it leaves. "
        "The command line counts over the environment, the environment over the file of --config; the value none "
        "takes back an optional setting of theirs."
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, list[str]] = {}

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"egressproxy {__version__} (Twisted {twisted.__version__})")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line (L{usage.Options.parseOptions}).

        @raise SystemExit: with one line.  Of a C{UsageError}, C{twistd} would print the whole help first.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            message = str(error)
            unknown = re.fullmatch(r"option --(\S+) not recognized", message)
            close = get_close_matches(unknown[1], BY_NAME, n=1) if unknown else []
            _exit(f"{message}; did you mean --{close[0]}?" if close else f"{message}; --help lists the options")

    def parseArgs(self, *extra: str) -> None:
        """Refuse what is no option (L{usage.Options.parseArgs})."""
        if extra:
            raise usage.UsageError(f"{redact_userinfo(extra[0])!r} is not an option")

    def getUsage(self, width: int | None = None) -> str:
        """Write the help (L{usage.Options.getUsage})."""
        parts = ["\n" + textwrap.fill(self.longdesc, _WIDTH)]
        for group in dict.fromkeys(option.group for option in OPTIONS):
            parts.append(f"{group}:")
            parts += [_option_help(option) for option in OPTIONS if option.group == group]
        parts.append("Other:\n  --help\n      Show this and exit.\n  --version\n      Show the version and exit.")
        return "\n\n".join(parts) + "\n"


def _takes(option: Option, name: str) -> Callable[..., None]:
    def given(self: Options, text: str) -> None:
        texts = self.arguments.pop(name, [])
        # At the end: of two names of one option the last counts.
        self.arguments[name] = [*texts, text]

    def flagged(self: Options) -> None:
        given(self, "true")

    method = flagged if option.flag else given
    method.__doc__ = option.help
    return method


for _name, _option in BY_NAME.items():
    setattr(Options, "opt_" + _name.replace("-", "_"), _takes(_option, _name))


def _endpoint_of(address: IAddress) -> str:
    if isinstance(address, (IPv4Address, IPv6Address)):
        return str(Authority(address.host, address.port))
    if isinstance(address, UNIXAddress) and address.name:
        return f"unix:{os.fsdecode(address.name)}"
    return str(address)


def _proxy_url(address: IPv4Address | IPv6Address, entrance: Entrance) -> str:
    """Write the URL by which a program on this machine reaches a listener."""
    ip = ip_address(address.host.partition("%")[0])
    if ip.is_unspecified:
        ip = ip_address("127.0.0.1" if ip.version == 4 else "::1")
    scheme = "http" if entrance.tls is None else "https"
    return f"{scheme}://{Authority(str(ip), address.port)}"


def start_message(
    addresses: Sequence[IAddress], certificate: Path, ca: CertificateAuthority, authorizer: str, config: ProxyConfig
) -> str:
    """Write what an operator must know once the proxy listens, and what to paste into a shell.

    @param addresses: where it listens, in the order of C{config.listen}.
    @param certificate: the file with the CA certificate.
    @param authorizer: who decides.
    """
    now = datetime.now(timezone.utc)
    facts = [
        ("listens on", ", ".join(_endpoint_of(address) for address in addresses)),
        ("decides", authorizer),
        ("CA", str(certificate)),
        ("SHA-256", ca.fingerprint),
        ("CA ends", time_left(ca.not_after, now) + (": replace it" if ca.ends_soon(now) else "")),
    ]
    if ca.limits is not None:
        facts.append(("signs for", ca.limits))
    if config.workers > 1:
        facts.append(("workers", f"{config.workers} processes"))
    if config.metrics_port is not None:
        facts.append(("metrics", f"http://{Authority(config.metrics_interface, config.metrics_port)}/metrics"))
    lines = [f"egressproxy {__version__}", *(f"  {name:<12}{value}" for name, value in facts), ""]
    if config.mode is Mode.OBSERVE:
        lines += ["NOTHING IS ENFORCED (--mode observe): what would be refused leaves, and is on record as such.", ""]
    tcp = [
        (address, entrance)
        for address, entrance in zip(addresses, config.listen, strict=False)
        if isinstance(address, (IPv4Address, IPv6Address))
    ]
    unasked = [address for address, entrance in tcp if not config.asks_at(entrance)]
    exposed = [address for address in unasked if not ip_address(address.host.partition("%")[0]).is_loopback]
    if exposed:
        where = ", ".join(_endpoint_of(address) for address in exposed)
        lines += [f"Open to the network: {where}. Whoever reaches it can send requests through it.", ""]
    if tcp:
        lines += _shell_lines(_proxy_url(*tcp[0]), certificate if ca.rooted else None)
        if config.auth_at(tcp[0][1]) is not None:
            lines += ["", "Clients say who they are: put NAME:PASSWORD@ or NAME:TOKEN@ before the host of the proxy."]
        if config.passthrough:
            lines += [
                "",
                f"Tunnelled unread: {', '.join(config.passthrough)}. These show their own certificates: where",
                "the variables above replace the CAs of the system, name a file that has both.",
            ]
        lines.append("")
    return "\n".join(lines) + "\n"


def _shell_lines(url: str, certificate: Path | None) -> list[str]:
    trust = " ".join(f'{name}="$CURL_CA_BUNDLE"' for name in _TRUST_VARIABLES)
    others = " ".join(f'{name}="$HTTP_PROXY"' for name in ("HTTPS_PROXY", "ALL_PROXY"))
    lower = " ".join(f'{name}="$HTTP_PROXY"' for name in ("http_proxy", "https_proxy", "all_proxy"))
    trusting = ["", "Clients must trust the root of this CA, which is not among its certificates."]
    if certificate is not None:
        trusting = [f"export CURL_CA_BUNDLE={shlex.quote(str(certificate))}", f"export {trust}"]
    return [
        "To put a shell behind it, paste:",
        "",
        f"export HTTP_PROXY={shlex.quote(url)}",
        f"export {others} {lower}",
        "unset NO_PROXY no_proxy",
        *trusting,
        "",
        "Hosts in NO_PROXY would be reached past the proxy, without a decision.",
    ]


_REMEDIES: Final = {
    errno.EADDRINUSE: "stop what listens there, or choose another",
    errno.EACCES: "choose a port from 1024 up, or give the process the right to lower ones",
    errno.EADDRNOTAVAIL: "choose an address that this machine has",
}


def start_fault(error: BaseException | None, config: ProxyConfig) -> str:
    """Say in one line why the proxy cannot start, and what to do."""
    if not isinstance(error, CannotListenError):
        return (
            str(error)
            if isinstance(error, (ConfigError, WorkerFailed))
            else f"cannot start: {type(error).__name__}: {error}"
        )
    metrics = (error.interface, error.port) == (config.metrics_interface, config.metrics_port)
    where = f"{error.interface or '*'}:{error.port}" if isinstance(error.port, int) else str(error.port)
    code = getattr(error.socketError, "errno", None)
    reason = os.strerror(code) if isinstance(code, int) and code in errno.errorcode else str(error.socketError)
    remedy = _REMEDIES.get(code or 0, "choose another")
    return f"{'--metrics-port' if metrics else '--listen'}: cannot listen on {where}: {reason}; {remedy}"


class StartFailed(Exception):
    """The proxy cannot start."""


@attrs.frozen
class Terminal:
    """Where the one who starts the proxy reads.

    The streams are those of the process before C{twistd} sends what is printed to the log, and adds a time to each
    line: what is to be pasted must stand alone.

    @ivar foreground: whether somebody reads them; a daemon has its log only.
    @ivar pidfile: what C{twistd} wrote, and does not remove when it is left by L{SystemExit}.
    """

    foreground: bool
    out: TextIO
    err: TextIO
    pidfile: str | None = None

    @classmethod
    def of(cls, parent: Mapping[str, Any] | None) -> Terminal:
        """Find out from the options of C{twistd}; C{twist} has no such option, and stays in the foreground."""
        options = {} if parent is None else parent
        return cls(bool(options.get("nodaemon", True)), sys.stdout, sys.stderr, options.get("pidfile"))

    def say(self, text: str) -> None:
        """Tell what is to be known."""
        if self.foreground:
            _print(self.out, text)
        else:
            _log.info("{text}", text=text.rstrip())

    def complain(self, line: str) -> None:
        """Tell what went wrong."""
        if self.foreground:
            _print(self.err, f"egressproxy: {line}\n")
        else:
            _log.critical("{line}", line=line)

    def give_up(self, line: str) -> NoReturn:
        """End the process that is being started, with status 1."""
        if not self.foreground:
            # twistd passes it to the process that waits for the daemon, and cleans up.
            raise StartFailed(line)
        self.complain(line)
        self.tidy()
        raise SystemExit(1)

    def tidy(self) -> None:
        """Remove what C{twistd} would leave behind."""
        if self.pidfile:
            # In a container the next process has the same number, and would take itself for the one that runs.
            with suppress(OSError):
                os.unlink(self.pidfile)


def _print(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    # A closed terminal is no reason not to serve.
    with suppress(OSError, ValueError):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


class ProxyProcess(MultiService):
    """A proxy with a process of its own, or several: it says that it listens, or ends the process when it cannot.

    @param stop: ends the reactor.
    """

    def __init__(
        self,
        proxy: EgressProxyService | Workers,
        config: ProxyConfig,
        terminal: Terminal,
        stop: Callable[[], object],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._proxy = proxy
        self._config = config
        self._terminal = terminal
        self._stop = stop
        self._starting = False
        self._fault: str | None = None
        proxy.setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """Start, and tell.

        @raise SystemExit: when a port cannot be bound.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._starting = True
        self._proxy.listening().addCallbacks(self._listens, self._failed)
        self._starting = False
        if self._fault is not None:
            self._terminal.give_up(self._fault)

    def _listens(self, addresses: Sequence[IAddress]) -> None:
        authority = self._proxy.certificate_authority
        certificate = ca_source(self._config).certificate_path
        self._terminal.say(start_message(addresses, certificate, authority, self._proxy.authorizer.name, self._config))

    def _failed(self, failure: Failure) -> None:
        self._fault = start_fault(failure.value, self._config)
        if not self._starting:
            # Too late to end the start: the reactor runs.  The endpoints of TCP and UNIX sockets never come here.
            self._terminal.complain(self._fault)
            self._stop()


def makeService(options: Options) -> IService:
    """Make the service for C{twistd} (L{twisted.application.service.IServiceMaker}).

    @raise SystemExit: with one line, when the configuration cannot be used.
    """
    # Here alone, where twistd has installed the one that was asked for.
    from twisted.internet import reactor

    terminal = Terminal.of(options.parent)
    try:
        config = load_config(options.arguments, os.environ, reactor)
        raise_limit(reactor)
        if config.audit_log == STDOUT and not terminal.foreground:
            raise ConfigError("--audit-log", STDOUT, "a daemon has no standard output: name a file, or use twistd -n")
        make = EgressProxyService if config.workers == 1 else Workers
        proxy = make(cast("Any", reactor), config)
    except ConfigError as error:
        _exit(str(error))
    if terminal.foreground:
        end_when_interrupted(reactor, terminal.tidy)
    reload_at_hangup(reactor, proxy.reload)
    return ProxyProcess(proxy, config, terminal, reactor.stop)
