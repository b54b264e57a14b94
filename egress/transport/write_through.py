"""TCP transports with fewer system calls than Twisted's.

Twisted's transports buffer data and send it in the reactor's next turn, for which they register the socket for writing
and unregister it again. A proxy writes whole messages, so these transports send in C{write} itself if their buffer is
empty, and leave to Twisted what the socket does not take.

For the same reason, they register and unregister the socket only where an event of it is needed:

  - A pause unregisters the socket when data arrives during the pause. Most pauses end before.
  - An empty buffer needs no event before the connection, or its writing direction, is closed. It is closed in the next
    turn, as by Twisted, so that no protocol is called within its own call.
  - A connection attempt begins immediately, not in the next turn. The socket remains registered for reading after it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from errno import EALREADY, EINPROGRESS, EISCONN, EWOULDBLOCK
from os import strerror
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.error import getConnectError
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from egress.config.model import KIB
from egress.runtime.native import mypyc_attr
from egress.transport.fair_turns import HEAD_READ

# The read size on a connection that has filled a smaller read once, which is also the amount stored for a slow
# receiver.
BULK_BYTES: Final = 256 * KIB
# The results of a connection attempt that continues.
_IN_PROGRESS: Final = (EINPROGRESS, EALREADY, EWOULDBLOCK)


# Workers count their connections in a subclass.
@mypyc_attr(allow_interpreted_subclasses=True)
class WriteThroughConnection(tcp.Connection):
    """The behavior that client and server transports share."""

    _is_paused = False

    @property
    def _is_empty(self) -> bool:
        """Whether the transport works, has no data to send, and its producer, if any, can produce more at any time."""
        return bool(
            self.connected
            and not self._tempDataBuffer
            and len(self.dataBuffer) == self.offset
            and not self.TLS
            and not self.disconnecting
            and not self._writeDisconnecting
            and (self.producer is None or (self.streamingProducer and not self.producerPaused))
        )

    # -- reads

    def startReading(self) -> None:
        """Read, now and in the future."""
        self._is_paused = False
        self.reactor.addReader(self)

    def pauseProducing(self) -> None:
        """Pause reading (C{IPushProducer})."""
        self._is_paused = True

    def doRead(self) -> Any:
        """Pass the available data to the protocol (C{IReadDescriptor}).

        One method for what Twisted spreads over several.
        """
        if self._is_paused:
            self._read_in_pause()
            return None
        size = self.bufferSize
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        if len(data) == size < BULK_BYTES:
            # A full read indicates a bulk transfer, which larger reads make cheaper.
            self.bufferSize = BULK_BYTES
        self.protocol.dataReceived(data)
        return None

    def _read_in_pause(self) -> None:
        """Handle an event that arrived during a pause: no more of them until its end."""
        self.stopReading()  # type: ignore[no-untyped-call]

    def readConnectionLost(self, reason: Failure) -> None:
        """Handle the end of the peer's data, unless reading is paused: then it is reported again after the pause.

        Reactors that use kqueue report it without a read.
        """
        if not self._is_paused:
            super().readConnectionLost(reason)

    # -- writes

    def write(self, data: bytes) -> None:
        """Send data; Twisted buffers the rest (C{ITransport})."""
        if (
            data
            and self.connected
            and not self._writeDisconnected
            and not self.disconnecting
            and not self._tempDataBuffer
            and len(self.dataBuffer) == self.offset
            and not self.TLS
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                # The socket is full, or broken. Twisted detects which one, and notifies the protocol from the reactor's
                # loop; a notification here would re-enter the protocol.
                sent = 0
            if sent == len(data):
                return
            # Not a copy if nothing was sent.
            data = data[sent:]
        super().write(data)  # type: ignore[no-untyped-call]

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send all chunks (C{ITransport})."""
        self.write(b"".join(iovec))

    def doWrite(self) -> Any:
        """Send buffered data (C{IWriteDescriptor})."""
        if self.connected:
            return super().doWrite()  # type: ignore[no-untyped-call]
        self._write_unconnected()
        return None

    def _write_unconnected(self) -> None:
        """Handle an event of a connection that was lost while an event before was processed."""

    # -- end

    def loseConnection(self) -> None:
        """Close the connection after the written data was sent (C{ITransport})."""
        if self._is_empty and not self._writeDisconnected:
            self.stopReading()  # type: ignore[no-untyped-call]
            self.disconnecting = True
            self.reactor.callLater(0, self._close_if_empty)  # type: ignore[attr-defined]
        else:
            super().loseConnection()  # type: ignore[no-untyped-call]

    def _close_if_empty(self) -> None:
        # Data that was written in the meantime is sent by Twisted, which then closes the connection.
        if self.connected and not self._aborting and not self._tempDataBuffer:
            self.connectionLost(connectionDone)

    def loseWriteConnection(self) -> None:
        """Close the writing direction after the written data was sent (C{IHalfCloseableDescriptor})."""
        if self._is_empty and not self._writeDisconnected:
            self._writeDisconnecting = True
            self.reactor.callLater(0, self._end_writing_if_empty)  # type: ignore[attr-defined]
        else:
            super().loseWriteConnection()  # type: ignore[no-untyped-call]

    def _end_writing_if_empty(self) -> None:
        # Likewise.
        if not (self.connected and not self._aborting and not self.disconnecting and not self._tempDataBuffer):
            return
        if not self._writeDisconnected:
            self._writeDisconnected = True
            self._closeWriteConnection()


@mypyc_attr(allow_interpreted_subclasses=True)
class WriteThroughServer(WriteThroughConnection, tcp.Server):
    """An accepted connection. Its reads are small until one is full."""

    bufferSize = HEAD_READ


class WriteThroughClient(WriteThroughConnection, tcp.Client):
    """An outgoing connection."""

    def _finishInit(
        self, whenDone: Callable[[], None] | None, skt: socket.socket | None, error: Exception | None, reactor: Any
    ) -> None:
        """Begin the attempt, unless there is no socket, or only a name, which Twisted resolves."""
        if whenDone is None or skt is None or self._requiresResolution:
            super()._finishInit(whenDone, skt, error, reactor)  # type: ignore[no-untyped-call]
            return
        tcp.Connection.__init__(self, skt, None, reactor)  # type: ignore[arg-type]
        self.realAddress = self.addr
        result = skt.connect_ex(self.addr)
        if result in _IN_PROGRESS:
            self.startReading()
            self._is_paused = True
            self.startWriting()  # type: ignore[no-untyped-call]
        else:
            # Not now: the caller does not have this object yet.
            reactor.callLater(0, self._attempted, result)

    def _read_in_pause(self) -> None:
        if self.connected:
            super()._read_in_pause()
        else:
            # An error. If the attempt succeeded, a write event follows.
            self._check_attempt(writable=False)

    def _write_unconnected(self) -> None:
        self._check_attempt(writable=True)

    def _check_attempt(self, *, writable: bool) -> None:
        # An attempt that failed has no socket any more.
        if hasattr(self, "connector"):
            result = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if result or writable:
                self._attempted(result)

    def _attempted(self, result: int) -> None:
        if not hasattr(self, "connector"):
            return
        if result and result != EISCONN:
            error = getConnectError((result, strerror(result)))  # type: ignore[no-untyped-call]
            self.failIfNotConnected(error)  # type: ignore[no-untyped-call]
        else:
            self.stopWriting()  # type: ignore[no-untyped-call]
            self._connectDone()  # type: ignore[no-untyped-call]
