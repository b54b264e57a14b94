"""Revocations, as seen by an administrator, and by the clients whose connections they end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from egress.cli.admin_client import AdminApi
from egress.config.admin_endpoint import AdminEndpoint
from tests.integration.base import Proxy, run_egress
from tests.integration.raw_origin import OK, SWITCH, UPGRADE, RawOrigin, RawOriginTestCase, Wire

# A revocation is complete within this time, in seconds.
PROMPT = 1.0

STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata:\n\r\n"


def repeat(origin: RawOrigin, wire: Wire) -> None:
    """Send back all data."""
    for data in wire.pieces():
        wire.send(data)


def serve(origin: RawOrigin, wire: Wire) -> None:
    """Respond with a stream that does not end, or as a WebSocket, or with a short response."""
    head = origin.request(wire)
    if "/stream" in head:
        wire.send(STREAM)
        wire.read_rest()
    elif "Upgrade: websocket" in head:
        wire.send(SWITCH)
        wire.read_rest()
    else:
        wire.send(OK)


class RevocationTests(RawOriginTestCase):
    """What a revocation ends, and what continues."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = f"unix:{self.directory / 'admin.sock'}"

    def start(self, *options: str, passthrough: str = "127.0.0.1") -> Proxy:
        return self.start_proxy(
            *self.allow_all(), "--admin", self.socket, "--passthrough", passthrough, *options, local=True
        )

    def revoke(self, kind: str, value: str | None = None) -> dict[str, Any]:
        """Revoke decisions, without the time that a program needs to start."""
        document = {"kind": kind, "value": value, "by": "alice"}
        return AdminApi(AdminEndpoint.parse(self.socket), None).call("POST", "/revocations", document)

    def tunnel(self, proxy: Proxy, origin: RawOrigin) -> Wire:
        """Open a tunnel, and use it."""
        client = self.connect(proxy, origin.authority)
        client.send("ping\n")
        self.assertEqual(client.read(5), b"ping\n")
        return client

    def assert_cut(self, started: float, *clients: Wire) -> None:
        """Check that connections are closed soon after a revocation started."""
        for client in clients:
            self.assertEqual(client.read_to_end(), b"")
        self.assertLess(time.monotonic() - started, PROMPT)

    def test_a_tunnel_ends(self) -> None:
        proxy = self.start()
        origin = self.start_origin(repeat)
        client = self.tunnel(proxy, origin)
        done = run_egress("revoke", "all", "--by", "alice", directory=self.directory, EGRESS_ADMIN=self.socket)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, "all decisions: 0 cached decisions dropped, 1 tunnel and 0 requests ended\n")
        self.assert_cut(time.monotonic(), client)
        (tunnel,) = self.records(proxy, 1)
        change = next(each for each in proxy.lines() if each["stage"] == "admin")
        self.assertEqual(
            (tunnel["stage"], tunnel["verdict"], tunnel["outcome"], tunnel["bytesSent"]),
            ("tunnel", "allow", "revoked", 5),
        )
        self.assertEqual(change["outcome"], "decisions-revoked")
        self.assertEqual(
            change["reason"],
            "alice revokes all decisions: 0 cached decisions dropped, 1 tunnel and 0 requests ended",
        )
        # A new tunnel is authorized.
        self.tunnel(proxy, origin)

    def test_what_runs_for_one_host_ends(self) -> None:
        """Streams and WebSockets end, with TLS and without; other hosts continue."""
        proxy = self.start("--allow-address", "127.0.0.2", *self.trust, passthrough="127.0.0.2")
        plain, secure = self.start_origin(serve), self.start_origin(serve, self.tls())
        other = self.start_origin(repeat, host="127.0.0.2")
        kept = self.tunnel(proxy, other)
        stream, inside, websocket = (
            self.connect(proxy),
            self.connect(proxy, secure.authority, tls=True),
            self.connect(proxy, plain.authority),
        )
        stream.send(f"GET {plain.url}/stream HTTP/1.1\r\nHost: {plain.authority}\r\n\r\n")
        inside.send(f"GET /stream HTTP/1.1\r\nHost: {secure.authority}\r\n\r\n")
        websocket.send(f"GET /socket HTTP/1.1\r\nHost: {plain.authority}\r\n{UPGRADE}")
        for client in (stream, inside):
            client.read_until(b"data:\n\r\n")
        websocket.read_head()
        started = time.monotonic()
        found = self.revoke("host", "127.0.0.1")
        self.assertEqual((found["tunnels"], found["requests"], found["cached"]), (0, 3, 0))
        self.assert_cut(started, stream, inside, websocket)
        kept.send("still here\n")
        self.assertEqual(kept.read_until(b"\n"), b"still here\n")
        self.assertEqual({record["outcome"] for record in self.records(proxy, 3)}, {"revoked"})
        # A request afterwards is authorized again.
        again = self.connect(proxy)
        again.send(f"GET {plain.url}/ HTTP/1.1\r\nHost: {plain.authority}\r\n\r\n")
        self.assertEqual(again.read_message()[1], b"ok")

    def test_two_workers(self) -> None:
        """A tunnel in each worker ends within a second."""
        proxy = self.start("--workers", "2")
        origin = self.start_origin(repeat)
        before = {pid: self.sockets_of(pid) for pid in proxy.workers}
        clients: list[Wire] = []
        while len(clients) < 2 or any(self.sockets_of(pid) == before[pid] for pid in proxy.workers):
            self.assertLess(len(clients), 32, "one worker has all tunnels")
            clients.append(self.tunnel(proxy, origin))
        started = time.monotonic()
        found = self.revoke("client", "127.0.0.1")
        self.assertEqual(found["tunnels"], len(clients))
        self.assert_cut(started, *clients)
        self.records(proxy, len(clients))

    @staticmethod
    def sockets_of(pid: int) -> set[str]:
        """Return the sockets of a process."""
        return {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
