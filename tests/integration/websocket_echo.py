"""WebSocket peers, made of wsproto, that send each message back: a server, and a client."""

from __future__ import annotations

import asyncio

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError


class Echo:
    """One end of a WebSocket.

    @ivar messages: the messages that it has received.
    """

    def __init__(self, role: ConnectionType, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._socket = WSConnection(role)
        self._reader = reader
        self._writer = writer
        self._closed = False
        self._parts: list[str | bytes | bytearray] = []
        self.messages: list[str | bytes] = []

    def open(self, request: Request) -> None:
        """Open the WebSocket, as a client."""
        self._writer.write(self._socket.send(request))

    async def run(self) -> None:
        """Send messages back until the WebSocket closes."""
        while not self._closed:
            data = await self._reader.read(1 << 16)
            try:
                self._socket.receive_data(data or None)
                for event in self._socket.events():
                    self._handle(event)
            except RemoteProtocolError as error:
                if error.event_hint is not None:
                    self._writer.write(self._socket.send(error.event_hint))
                return
            try:
                await self._writer.drain()
            except ConnectionError:
                return  # the other end has closed

    def _handle(self, event: Event) -> None:
        if isinstance(event, Request):
            self._send(AcceptConnection(extensions=[PerMessageDeflate()]))
        elif isinstance(event, Message):
            self._parts.append(event.data)
            if event.message_finished:
                self._echo(isinstance(event, TextMessage))
        elif isinstance(event, Ping):
            self._send(event.response())
        elif isinstance(event, CloseConnection):
            if self._socket.state is not ConnectionState.CLOSED:
                # Also after an error, for which the event has the close code.
                self._send(event.response())
            self._closed = True

    def _echo(self, text: bool) -> None:
        parts, self._parts = self._parts, []
        message: str | bytes = "".join(parts) if text else b"".join(parts)  # type: ignore[arg-type]
        self.messages.append(message)
        self._send(TextMessage(data=message) if isinstance(message, str) else BytesMessage(data=message))

    def _send(self, event: Event) -> None:
        self._writer.write(self._socket.send(event))


async def serve_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one client."""
    await Echo(ConnectionType.SERVER, reader, writer).run()


async def echo_to(port: int, path: str, *, deflate: bool = False) -> list[str | bytes]:
    """Connect to a server, and send its messages back until it closes.

    @param deflate: whether to offer compression.
    @return: the messages.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        end = Echo(ConnectionType.CLIENT, reader, writer)
        # The offer lets the server choose the parameters of the compression.
        extensions = [PerMessageDeflate(client_no_context_takeover=True)] if deflate else []
        end.open(Request(host=f"127.0.0.1:{port}", target=path, extensions=extensions))
        await end.run()
        return end.messages
    finally:
        writer.close()
