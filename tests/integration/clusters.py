"""A cluster in network namespaces: a router, pods with their addresses, Services, and hosts outside."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final

from tests.integration.network_policies import Pod
from tests.integration.networks import Namespace
from tests.integration.processes import Process

OUTSIDE: Final = ("203.0.113.10", "2001:db8::10")
"""A host on the Internet."""

PRIVATE: Final = ("192.168.7.7", "fd07::7")
"""A host in the private network of the organization."""

METADATA: Final = "169.254.169.254"
"""The metadata service of the cloud."""

API_SERVER: Final = "10.0.0.2"
"""The API server of the cluster."""

_EXTERNAL: Final = (*OUTSIDE, *PRIVATE, METADATA, API_SERVER)
_PODS4, _PODS6 = IPv4Address("10.244.0.0"), IPv6Address("fd24::")

# Accepts connections and datagrams on the ports in its arguments, and sends its name.
_SERVER: Final = """
import socket, sys, threading

name, addresses, ports = sys.argv[1].encode(), sys.argv[2].split(","), list(map(int, sys.argv[3:]))

def accept(server):
    while True:
        with server.accept()[0] as connection:
            connection.sendall(name)

def respond(server):
    while True:
        _, peer = server.recvfrom(100)
        server.sendto(name, peer)

for port in ports:
    for address in addresses:
        # A response has the address of its socket.
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        stream = socket.create_server((address, port), family=family, backlog=64)
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, port))
        for function, server in ((accept, stream), (respond, datagrams)):
            threading.Thread(target=function, args=(server,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""

# Contacts each target, and prints the names of those that respond.
_CLIENT: Final = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def contact(target):
    protocol, address, port = target
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as client:
        client.settimeout(5)
        try:
            client.connect((address, port))
            if protocol == "udp":
                client.send(b"x")
            return bool(client.recv(100))
        except OSError as error:
            if isinstance(error, TimeoutError):
                return None
            return False

targets = json.loads(sys.stdin.read())
with ThreadPoolExecutor(16) as pool:
    print(json.dumps(list(pool.map(contact, targets))))
"""

Target = tuple[str, str, int]
"""A protocol, an address, and a port."""


class Cluster:
    """A cluster with one node, which routes the packets of all pods.

    @ivar node: the namespace of the node.
    @ivar outside: the namespace of all hosts outside of the cluster.
    @ivar pods: the pods, by name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.node = Namespace(directory, "node")
        self.pods: dict[str, Pod] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._processes: list[Process] = []
        # The kernel does not limit the number of errors per second.
        settings = {
            "ipv4/ip_forward": 1,
            "ipv6/conf/all/forwarding": 1,
            "ipv4/icmp_ratelimit": 0,
            "ipv6/icmp/ratelimit": 0,
        }
        for name, value in settings.items():
            self.node.run("sh", "-c", f"echo {value} >/proc/sys/net/{name}")
        self.node.run("ip", "link", "set", "lo", "up")
        self.outside = self._attach("outside", _EXTERNAL)

    def _attach(self, name: str, addresses: Sequence[str]) -> Namespace:
        """Make a namespace with addresses that the node routes to it."""
        made = self.namespaces[name] = Namespace(self._directory, name, *self.node.prefix)
        link = name[:15]
        near = (
            f"link add {link} type veth peer name eth0 netns {made.pid}",
            f"link set {link} up",
            f"address add 169.254.1.1/32 dev {link}",
            f"address add fe80::1/64 dev {link} nodad",
        )
        far = ("link set lo up", "link set eth0 up")
        self._ip(self.node, near)
        self._ip(made, far)
        for address in addresses:
            bits, gateway = (128, "fe80::1") if ":" in address else (32, "169.254.1.1")
            nodad = " nodad" if bits == 128 else ""
            self._ip(made, [f"address add {address}/{bits} dev eth0{nodad}"])
            self._ip(self.node, [f"route add {address}/{bits} dev {link}"])
            self._ip(made, [f"route replace default via {gateway} dev eth0 onlink"])
        return made

    def _ip(self, namespace: Namespace, lines: Sequence[str]) -> None:
        namespace.run("ip", "-batch", "-", stdin="\n".join([*lines, ""]))

    def add(self, name: str, namespace: str, labels: Mapping[str, str]) -> Pod:
        """Add a pod."""
        number = len(self.pods) + 2
        pod = self.pods[name] = Pod(name, namespace, labels, (str(_PODS4 + number), str(_PODS6 + number)))
        self._attach(name, pod.addresses)
        return pod

    def serve(self, name: str, *ports: int) -> None:
        """Accept connections and datagrams in a namespace."""
        addresses = self.pods[name].addresses if name in self.pods else _EXTERNAL
        texts = map(str, ports)
        self.run(name, sys.executable, "-c", _SERVER, name, ",".join(addresses), *texts).wait_for("ready")

    def run(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a program in a namespace."""
        process = Process([*self.namespaces[name].prefix, *command], self._directory, f"{name}-program", env)
        self._processes.append(process)
        return process

    def add_service(self, address: str, pod: Pod, port: int) -> None:
        """Translate the address of a Service to that of its pod."""
        self.node.run("nft", "-f", "-", stdin=_SERVICE.format(address=address, pod=pod.addresses[0], port=port))

    def reached(self, name: str, targets: Sequence[Target]) -> list[bool | None]:
        """Contact targets from a namespace.

        @return: for each whether it responds; C{None}: there is neither a response nor an error.
        """
        done = self.namespaces[name].run(sys.executable, "-c", _CLIENT, stdin=json.dumps(targets))
        found: list[Any] = json.loads(done.stdout)
        return found

    def stop(self) -> None:
        """Stop all programs, and remove the networks."""
        for process in self._processes:
            process.stop()
        for namespace in (*self.namespaces.values(), self.node):
            namespace.process.stop()


_SERVICE: Final = """
table ip services {{
  chain prerouting {{
    type nat hook prerouting priority -100;
  }}
}}
add rule ip services prerouting ip daddr {address} tcp dport {port} dnat to {pod}
add rule ip services prerouting ip daddr {address} udp dport {port} dnat to {pod}
"""
