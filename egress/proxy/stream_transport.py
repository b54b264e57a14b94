"""A stream of an HTTP/2 connection as a transport: the bytes of a CONNECT tunnel (RFC 9113 section 8.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from typing import Protocol as Structure

from h2.errors import ErrorCodes
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.http.events import End
from egress.http2.engine import HIGH_WATER, LOW_WATER, Engine
from egress.proxy.interfaces import IHttp2Connection
from egress.transport.fair_turns import Pace, RoundRobin

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from twisted.internet.interfaces import IReactorTime

_log = Logger()


class Receiver(Structure):
    """The interface of the object that receives the events of the transport."""

    def data_received(self, data: bytes) -> None:
        """Process data from the client."""

    def read_closed(self) -> None:
        """Handle the end of the client's data."""

    def write_closed(self) -> None:
        """Handle that all written data was sent, including the end of the stream."""

    def lost(self, reason: Failure) -> None:
        """Handle the loss of the transport."""


@implementer(ITCPTransport, IPushProducer, IConsumer)
class StreamTransport:
    """The transport of a tunnel in one stream.

    The client gets credit for data when the tunnel takes it, so a tunnel that does not read leaves at most a window of
    data here. As on a TCP transport, the events that follow from a call happen in a later turn of the reactor.

    @param receiver: receives the events.
    @param connection: the connection.
    @param engine: the state of the connection.
    @param stream_id: the identifier of the stream.
    @param below: the transport of the connection.
    @param turns: the scheduler of work for later turns of the reactor.
    @param client: the client's key for per-client limits.
    @ivar connected: whether its loss was not reported yet.
    @ivar aborted: whether the proxy has reset the stream.
    """

    def __init__(
        self,
        receiver: Receiver,
        connection: IHttp2Connection,
        engine: Engine,
        stream_id: int,
        *,
        below: Any,
        clock: IReactorTime,
        turns: RoundRobin,
        client: Hashable,
    ) -> None:
        self._receiver = receiver
        self._connection = connection
        self._engine = engine
        self._stream_id = stream_id
        self._below = below
        self._clock = clock
        self._client = client
        self._pace = Pace(turns, self._pass_on)
        # Joined, because many small frames would take much more memory than their data.
        self._waiting = bytearray()
        self._end_waits = False
        self._producer: Any = None
        self._calls: list[IDelayedCall] = []
        self._paused = self._passing = self._producer_paused = False
        self._ending = self._ended = self._closing = False
        self.connected = True
        self.aborted = False

    # -- received data

    def receive(self, event: bytes | End) -> None:
        """Pass on data, or the end of the data, unless the tunnel does not read now."""
        if not self.connected or self._closing:
            return
        if isinstance(event, End):
            self._end_waits = True
        else:
            self._waiting += event
        if self._paused or self._pace.queued or self._passing:
            return
        # The data can begin a handshake, or contain many frames.
        if self._connection.use_turn():
            self._pass_on()
        else:
            self._pace.wait(self._client, self)

    def _pass_on(self) -> None:
        waiting = self._waiting
        if not self.connected:
            return
        self._passing = True
        try:
            while waiting and not self._paused:
                data = bytes(waiting)
                waiting.clear()
                self._engine.take(self._stream_id, len(data))
                self._receiver.data_received(data)
            if self._end_waits and not (waiting or self._paused or self._closing):
                self._end_waits = False
                self._receiver.read_closed()
        except Exception:  # noqa: BLE001 - a tunnel must not stop the others of its connection
            _log.failure("a tunnel in a stream of HTTP/2 failed")
            self.abortConnection()
        finally:
            self._passing = False
        self._connection.write_soon()

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Continue reading, in a later turn of the reactor."""
        self._paused = False
        if self._waiting or self._end_waits:
            self._pace.wait(self._client, self)

    def stopProducing(self) -> None:
        """Close the transport."""
        self.loseConnection()

    # -- data to send

    def write(self, data: bytes) -> None:
        """Send data."""
        if self._ending or not self.connected:
            return
        self._engine.send_data(self._stream_id, data)
        self._connection.write_soon()
        if self._producer is not None and not self._producer_paused and self._pending > HIGH_WATER:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces of data."""
        self.write(b"".join(data))

    @property
    def _pending(self) -> int:
        return self._engine.pending(self._stream_id)

    def sent(self) -> None:
        """Handle that data was sent, or the end of the stream."""
        if not self.connected:
            return
        if self._ending and not self._ended and not self._engine.ends_later(self._stream_id):
            self._ended = True
            self._later(self._end_sent)
        elif self._producer_paused and self._pending < LOW_WATER:
            self._producer_paused = False
            self._producer.resumeProducing()

    def _end_sent(self) -> None:
        if self._closing:
            self.lose(ConnectionDone())
        else:
            self._receiver.write_closed()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause a producer while much data waits to be sent. It must be a push producer."""
        assert streaming and self._producer is None
        if not self.connected:
            producer.stopProducing()
            return
        self._producer, self._producer_paused = producer, False

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer, self._producer_paused = None, False

    # -- end

    def loseWriteConnection(self) -> None:
        """End the proxy's direction after all written data (C{END_STREAM})."""
        if not self._ending and self.connected:
            self._ending = True
            self._engine.send_end(self._stream_id)
            self._connection.write_soon()

    def loseConnection(self) -> None:
        """Read nothing more, and close after all written data."""
        if self._closing or not self.connected:
            return
        self._closing = True
        self._waiting.clear()
        if self._ended:
            self._later(self._end_sent)
        else:
            self.loseWriteConnection()

    def abortConnection(self) -> None:
        """Reset the stream, so that the client detects that data is missing."""
        if self.connected and not self.aborted:
            self._ending = self._closing = self.aborted = True
            self._waiting.clear()
            # If the end was sent, no data is missing, and the client only has to stop sending.
            code = ErrorCodes.NO_ERROR if self._ended else ErrorCodes.CONNECT_ERROR
            self._engine.reset(self._stream_id, code)
            self._connection.write_soon()
            self._later(lambda: self.lose(ConnectionAborted()))

    def _later(self, call: Callable[[], None]) -> None:
        self._calls.append(self._clock.callLater(0, call))

    def lose(self, reason: Exception) -> None:
        """Notify the receiver of the loss of the transport, once."""
        if not self.connected:
            return
        self.connected = False
        self._waiting.clear()
        self._engine.forget(self._stream_id)
        for call in self._calls:
            if call.active():
                call.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._receiver.lost(Failure(reason))  # type: ignore[no-untyped-call]

    # -- facts

    @property
    def disconnecting(self) -> bool:
        """Whether the transport closes."""
        return self._closing

    def getPeer(self) -> Any:
        """The address of the client."""
        return self._below.getPeer()

    def getHost(self) -> Any:
        """The address of the listener."""
        return self._below.getHost()

    def getTcpNoDelay(self) -> bool:
        """See C{ITCPTransport}."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing: the connection has this setting already."""

    def getTcpKeepAlive(self) -> bool:
        """See C{ITCPTransport}."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Do nothing: the setting concerns the whole connection."""
