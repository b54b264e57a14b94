"""The network of the sandbox: the sockets of the proxy, and the routes and rules to reach them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from egress.launch.isolate.links import routes, routes6, up
from egress.launch.isolate.netlink import results
from egress.launch.isolate.rules import DNS_PORT, rules, rules6

# Programs rarely use these ports, and the kernel does not choose them (ip_local_port_range).
PROXY_PORT: Final = 61080
TRANSPARENT_PORT: Final = 61081

_BACKLOG: Final = 1024
_NETLINK_NETFILTER: Final = 12

# Python has no names for the families before version 3.12 on all platforms.
_Netlink = Callable[[int, Sequence[bytes]], None]


def send_netlink(protocol: int, messages: Sequence[bytes]) -> None:
    """Send messages to the kernel, and wait for it to acknowledge the last one that it must acknowledge.

    @param protocol: C{NETLINK_ROUTE} or C{NETLINK_NETFILTER}.
    @raise OSError: for the first message that failed.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as netlink:
        netlink.send(b"".join(messages))
        expected = sum(bool(flags & 0x4) for flags in (message[6] for message in messages))
        while expected > 0:
            for _, error in results(netlink.recv(65536)):
                if error:
                    raise OSError(error, os.strerror(error))
                expected -= 1


def bring_up(send: _Netlink = send_netlink) -> None:
    """Bring the loopback interface up, and give every address a route through it."""
    send(socket.NETLINK_ROUTE, [up(1)])
    send(socket.NETLINK_ROUTE, routes(2))
    if has_ipv6():
        send(socket.NETLINK_ROUTE, routes6(4))


def has_ipv6() -> bool:
    """Return whether the loopback interface has its IPv6 address: the kernel can be configured without."""
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def redirect(send: _Netlink = send_netlink) -> None:
    """Install the rules that redirect packets to the sockets."""
    send(_NETLINK_NETFILTER, rules(TRANSPARENT_PORT))
    if has_ipv6():
        send(_NETLINK_NETFILTER, rules6(TRANSPARENT_PORT))


def open_sockets() -> list[tuple[str, socket.socket]]:
    """Open the sockets of the proxy, each with its name in L{egress.launch.isolate.sandbox.SandboxSockets}."""
    families = [(socket.AF_INET, "127.0.0.1")]
    if has_ipv6():
        families.append((socket.AF_INET6, "::1"))
    opened = [("proxy", _open(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PROXY_PORT)))]
    for family, address in families:
        opened += [
            ("transparent", _open(family, socket.SOCK_STREAM, (address, TRANSPARENT_PORT))),
            ("dns_udp", _open(family, socket.SOCK_DGRAM, (address, DNS_PORT))),
            ("dns_tcp", _open(family, socket.SOCK_STREAM, (address, DNS_PORT))),
        ]
    return opened


def _open(family: int, kind: int, address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(address)
    if kind == socket.SOCK_STREAM:
        opened.listen(_BACKLOG)
    return opened
