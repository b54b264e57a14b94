"""The messages of a starting program: the addresses of its listeners, or one line that explains why it cannot start."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress

from egress import __version__
from egress.config.admin_endpoint import AdminEndpoint
from egress.config.listener import Listener
from egress.config.model import ConfigError
from egress.model.authority import Authority, IPAddress
from egress.model.errors import WorkerFailed


@attrs.frozen
class TcpListener:
    """A listener on a TCP port.

    @ivar address: the address to which it is bound.
    @ivar listener: its settings.
    """

    address: IPv4Address | IPv6Address
    listener: Listener

    @property
    def _ip(self) -> IPAddress:
        return ip_address(self.address.host.partition("%")[0])

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can reach it."""
        return self._ip.is_loopback

    @property
    def is_unspecified(self) -> bool:
        """Whether it is bound to all addresses of the machine."""
        return self._ip.is_unspecified

    @property
    def authority(self) -> Authority:
        """The address and the port to which it is bound."""
        return Authority(str(self._ip), self.address.port)

    @property
    def url(self) -> str:
        """The URL by which a program on this machine reaches it."""
        ip = self._ip
        if ip.is_unspecified:
            ip = ip_address("127.0.0.1" if ip.version == 4 else "::1")
        return f"{'http' if self.listener.tls is None else 'https'}://{Authority(str(ip), self.address.port)}"


def tcp_listeners(addresses: Iterable[IAddress], listeners: Iterable[Listener]) -> list[TcpListener]:
    """Return the listeners on TCP ports.

    @param addresses: the addresses of all listeners, in their order.
    @param listeners: the listeners, in the same order.
    """
    return [
        TcpListener(address, listener)
        for address, listener in zip(addresses, listeners, strict=False)
        if isinstance(address, (IPv4Address, IPv6Address))
    ]


def open_endpoints(listeners: Iterable[TcpListener], requires_auth_at: Callable[[Listener], bool]) -> str:
    """Return the listeners that other machines can use without authentication; an empty text without such listeners.

    @param listeners: the listeners.
    @param requires_auth_at: tells whether a listener requires authentication.
    """
    return ", ".join(
        endpoint_of(each.address) for each in listeners if not requires_auth_at(each.listener) and not each.is_loopback
    )


class HasMetrics(Protocol):
    """A configuration that may contain a separate port for metrics."""

    @property
    def metrics_port(self) -> int | None:
        """The TCP port of the metrics."""

    @property
    def metrics_interface(self) -> str:
        """The address of the metrics."""


_REMEDIES: Final = {
    errno.EADDRINUSE: "stop the program that uses it, or choose another",
    errno.EACCES: "choose a port of at least 1024, or permit the process to use lower ports",
    errno.EADDRNOTAVAIL: "choose an address of this machine",
}


def start_fault(
    error: BaseException | None,
    config: HasMetrics,
    admin: AdminEndpoint | None = None,
    *,
    spell: Callable[[str], str] = str,
) -> str:
    """Explain in one line why a program cannot start, with the remedy.

    @param error: the error.
    @param config: the configuration.
    @param admin: the configured endpoint of the admin API.
    @param spell: names an option as the user gave it.
    """
    if isinstance(error, ConfigError):
        return str(ConfigError(spell(error.option), error.value, error.remedy))
    if not isinstance(error, CannotListenError):
        return str(error) if isinstance(error, WorkerFailed) else f"cannot start: {type(error).__name__}: {error}"
    metrics = (error.interface, error.port) == (config.metrics_interface, config.metrics_port)
    # The port of a UNIX socket is its path, which Twisted may have encoded to bytes.
    port = os.fsdecode(error.port) if isinstance(error.port, bytes) else error.port
    where = f"{error.interface or '*'}:{port}" if isinstance(port, int) else str(port)
    code = getattr(error.socketError, "errno", None)
    reason = os.strerror(code) if isinstance(code, int) and code in errno.errorcode else str(error.socketError)
    remedy = _REMEDIES.get(code or 0, "choose another")
    option = "--metrics-port" if metrics else "--admin" if admin is not None and admin.is_at(port) else "--listen"
    return f"{spell(option)}: cannot listen on {where}: {reason}; {remedy}"


def facts_of(program: str, facts: Iterable[tuple[str, str]]) -> list[str]:
    """Format facts, one line each, below the program's name and version."""
    return [f"{program} {__version__}", *fact_lines(facts), ""]


def fact_lines(facts: Iterable[tuple[str, str]]) -> list[str]:
    """Format facts, one line each."""
    return [f"  {name:<12}{value}" for name, value in facts]


def command_of(name: str) -> str:
    """Return the command for a program of this installation: its name, or its path if C{PATH} does not have it.

    For example, C{.venv/bin/twistd} runs without an activated environment.
    """
    path = Path(sys.executable).with_name(name)
    return str(path) if shutil.which(name) is None and path.is_file() else name


def endpoint_of(address: IAddress) -> str:
    """Format the address of a listener."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return str(Authority(address.host, address.port))
    if isinstance(address, UNIXAddress) and address.name:
        return f"unix:{os.fsdecode(address.name)}"
    return str(address)
