"""HAProxy in front of replicas: its configuration, and what its log tells.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# A replica that is not ready, because the authorization service is away, still responds with the reason.  So it is a
# backup in the same backend: a connection to the only ready replica, which was just killed, can go to a backup.
_CONFIG = """
global
    log stdout format raw local0
    stats socket {directory}/haproxy.sock mode 600 level admin expose-fd listeners

defaults
    mode tcp
    log global
    log-format "session %ci %s"
    timeout connect 2s
    timeout client 10m
    timeout server 10m
    timeout check 2s
    retries 3
    option redispatch 1
    default-server check inter 500ms fall 1 rise 1 send-proxy-v2

frontend clients
    bind 127.0.0.1:{port}
    default_backend ready

backend ready
    balance roundrobin
    option httpchk GET /health/ready
    option allbackups
{servers}
{backups}

backend alive
    balance roundrobin
    option httpchk GET /health/live
{servers}
"""

# Replicas with a policy, which are ready without any other program.
_BUDGETS = """
frontend spenders
    bind 127.0.0.1:{port}
    default_backend budgets

backend budgets
    balance roundrobin
    option httpchk GET /health/ready
{servers}
"""

_ALIVE = "alive-"
_SESSION = re.compile(r"^session (\S+) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A replica.

    @ivar port: the port for clients, with the PROXY protocol.
    @ivar health: the port with C{/health}.
    """

    name: str
    port: int
    health: int


def configuration(
    directory: str, port: int, servers: Sequence[Server], budgets_port: int, budgets: Iterable[Server]
) -> str:
    """Return the configuration.

    @param directory: the directory of its socket.
    @param port: the port for clients of C{servers}.
    @param budgets_port: the port for clients of C{budgets}.
    """
    main = _CONFIG.format(directory=directory, port=port, servers=_lines(servers), backups=_backups(servers))
    return main + _BUDGETS.format(port=budgets_port, servers=_lines(budgets))


def _lines(servers: Iterable[Server]) -> str:
    return "\n".join(f"    server {each.name} 127.0.0.1:{each.port} port {each.health}" for each in servers)


def _backups(servers: Iterable[Server]) -> str:
    text = "    server {alive}{name} 127.0.0.1:{port} no-check track alive/{name} backup"
    return "\n".join(text.format(alive=_ALIVE, name=each.name, port=each.port) for each in servers)


def sessions_in(log: str) -> Mapping[str, str]:
    """Return the server that was chosen for each source address."""
    return {address: name.removeprefix(_ALIVE) for address, name in _SESSION.findall(log)}
