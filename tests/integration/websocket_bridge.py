"""A bridge that leads WebSocket peers through a proxy, and compares the bytes of both ends.

The peers use plain TCP and know nothing of the proxy::

    client -> client side of the bridge -> proxy -> origin side of the bridge -> server
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import attrs
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

_CHUNK: Final = 1 << 16
_TAG: Final = "X-Bridge"
# RFC 6455 section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Direction:
    """The bytes of one direction of a connection.

    @ivar sent: the number of bytes that the sender has sent.
    @ivar arrived: the number of bytes that have arrived.
    @ivar same: whether all bytes that arrived are those that were sent.
    """

    def __init__(self) -> None:
        self._under_way = bytearray()
        self.sent = self.arrived = 0
        self.same = True

    @property
    def complete(self) -> bool:
        """Whether all bytes have arrived."""
        return self.arrived == self.sent

    def send(self, data: bytes) -> None:
        """Note bytes of the sender."""
        self.sent += len(data)
        self._under_way += data

    def arrive(self, data: bytes) -> None:
        """Note bytes that have arrived."""
        self.arrived += len(data)
        self.same = self.same and self._under_way.startswith(data)
        del self._under_way[: len(data)]


@attrs.define
class Connection:
    """One WebSocket.

    @ivar request: the head of the request at the origin side.
    @ivar response: the head of the response at the client side.
    """

    to_origin: Direction = attrs.field(factory=Direction)
    to_client: Direction = attrs.field(factory=Direction)
    request: str = ""
    response: str = ""


class Background:
    """An event loop in a thread, with servers."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 60.0) -> Any:
        """Run a coroutine in the loop, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def serve(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
        tls: ssl.SSLContext | None = None,
    ) -> int:
        """Start a server.

        @return: its port.
        """

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                    await serve(reader, writer)
            finally:
                writer.close()

        server = self.run(asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, limit=_CHUNK))
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Stop the servers and the loop."""
        self.run(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.close()


class Bridge:
    """A bridge through a proxy to one server.

    @param proxy: the port of the proxy.
    @param server: the port of the server.
    @param ca: the CA of the proxy.
    @param origin_tls: the TLS context of the origin side; C{None}: the WebSockets use plain HTTP.
    @param http2: whether the client side uses HTTP/2; it requires TLS.
    @ivar port: the port of the client side.
    @ivar connections: all connections, in order.
    """

    def __init__(
        self,
        background: Background,
        proxy: int,
        server: int,
        *,
        ca: Path,
        origin_tls: ssl.SSLContext | None = None,
        http2: bool = False,
    ) -> None:
        self._proxy = proxy
        self._server = server
        self._http2 = http2
        self._client_tls: ssl.SSLContext | None = None
        if origin_tls is not None:
            self._client_tls = ssl.create_default_context(cafile=ca)
            self._client_tls.set_alpn_protocols(["h2" if http2 else "http/1.1"])
        self.connections: list[Connection] = []
        self._origin_port = background.serve(self._origin_side, origin_tls)
        self.port = background.serve(self._client_side)

    # -- the side of the server

    async def _origin_side(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        tag = re.search(rf"(?im)^{_TAG}: (\d+)\r", head.decode("latin-1"))
        assert tag is not None
        connection = self.connections[int(tag[1])]
        connection.request = head.decode("latin-1")
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server, limit=_CHUNK)
        to_server.write(head)
        writer.write(await from_server.readuntil(b"\r\n\r\n"))
        await asyncio.gather(
            _pass(reader, to_server, connection.to_origin.arrive),
            _pass(from_server, writer, connection.to_client.send),
        )

    # -- the side of the client

    async def _client_side(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        connection = Connection()
        head = re.sub(r"(?im)^Host: .*\r$", f"Host: 127.0.0.1:{self._origin_port}\r", head)
        head = head.replace("\r\n", f"\r\n{_TAG}: {len(self.connections)}\r\n", 1)
        self.connections.append(connection)
        from_proxy, to_proxy = await self._tunnel()
        if self._http2:
            await _Http2Leg(connection, (reader, writer), (from_proxy, to_proxy)).run(head)
            return
        to_proxy.write(head.encode("latin-1"))
        response = await from_proxy.readuntil(b"\r\n\r\n")
        connection.response = response.decode("latin-1")
        writer.write(response)
        await asyncio.gather(
            _pass(reader, to_proxy, connection.to_origin.send),
            _pass(from_proxy, writer, connection.to_client.arrive),
        )

    async def _tunnel(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", self._proxy))
        authority = f"127.0.0.1:{self._origin_port}"
        await loop.sock_sendall(sock, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = await loop.sock_recv(sock, 1)
            if not piece:
                raise EOFError(head)
            head += piece
        assert head.startswith(b"HTTP/1.1 200 "), head
        name = None if self._client_tls is None else "127.0.0.1"
        return await asyncio.open_connection(sock=sock, ssl=self._client_tls, server_hostname=name, limit=_CHUNK)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    """Pass bytes until the sender closes."""
    try:
        while data := await reader.read(_CHUNK):
            note(data)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        if writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()
        else:
            writer.close()


class _Http2Leg:
    """One WebSocket over HTTP/2: an extended CONNECT (RFC 8441)."""

    def __init__(
        self,
        connection: Connection,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        proxy: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._connection = connection
        self._client_reader, self._client_writer = client
        self._reader, self._writer = proxy
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._may_send = asyncio.Event()
        self._settings = asyncio.Event()
        self._opened = asyncio.Event()
        self._key = ""

    async def run(self, head: str) -> None:
        """Lead a WebSocket through the proxy.

        @param head: the head of its request in HTTP/1.1.
        """
        self._h2.initiate_connection()
        self._flush()
        reading = asyncio.ensure_future(self._read())
        sending: asyncio.Future[None] | None = None
        try:
            await self._settings.wait()
            self._request(head)
            await self._opened.wait()
            sending = asyncio.ensure_future(self._send())
            await reading
            self._client_writer.close()
        finally:
            reading.cancel()
            if sending is not None:
                sending.cancel()
            self._writer.close()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    def _request(self, head: str) -> None:
        first, *lines = head.rstrip("\r\n").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._key = fields.pop("sec-websocket-key")
        pseudo = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "https",
            ":path": first.split(" ")[1],
            ":authority": fields.pop("host"),
        }
        hop_by_hop = ("connection", "upgrade", "pragma", "cache-control")
        kept = {name: value for name, value in fields.items() if name not in hop_by_hop}
        self._h2.send_headers(1, [*pseudo.items(), *kept.items()])
        self._flush()

    def _respond(self, fields: dict[str, str]) -> None:
        assert fields[":status"] == "200", fields
        accept = base64.b64encode(hashlib.sha1(self._key.encode() + _GUID).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines.append(f"Sec-WebSocket-Accept: {accept}")
        lines += [f"{name}: {value}" for name, value in fields.items() if not name.startswith(":")]
        self._connection.response = "\r\n".join([*lines, "", ""])
        self._client_writer.write(self._connection.response.encode("latin-1"))

    async def _read(self) -> None:
        while data := await self._reader.read(_CHUNK):
            for event in self._h2.receive_data(data):
                if self._handle(event):
                    return
            self._may_send.set()
            self._flush()
            await self._client_writer.drain()

    def _handle(self, event: Event) -> bool:
        """Handle an event.

        @return: whether it is the last one.
        """
        if isinstance(event, RemoteSettingsChanged):
            enabled = event.changed_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
            if enabled is not None and enabled.new_value:
                self._settings.set()
        elif isinstance(event, ResponseReceived):
            # Before data that follows immediately.
            self._respond({str(name): str(value) for name, value in event.headers or ()})
            self._opened.set()
        elif isinstance(event, DataReceived):
            data = event.data or b""
            self._connection.to_client.arrive(data)
            self._client_writer.write(data)
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, 1)
        return isinstance(event, (StreamEnded, StreamReset))

    async def _send(self) -> None:
        while data := await self._client_reader.read(_CHUNK):
            self._connection.to_origin.send(data)
            while data:
                size = min(self._h2.local_flow_control_window(1), self._h2.max_outbound_frame_size)
                if size <= 0:
                    self._may_send.clear()
                    await self._may_send.wait()
                    continue
                self._h2.send_data(1, data[:size])
                data = data[size:]
                self._flush()
                await self._writer.drain()
        self._h2.end_stream(1)
        self._flush()
