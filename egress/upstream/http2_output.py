"""The output of an HTTP/2 connection, written as far as its transport takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from egress.config.model import KIB
from egress.http2.engine import Engine

# The control frames, such as acknowledgements, that may wait for a peer that does not read.
MAX_UNSENT: Final = 64 * KIB


@implementer(IPushProducer)
class Http2Output:
    """Writes the frames of an engine to a transport.

    @param engine: the engine.
    @param resume: called when the transport takes data again; calls L{flush}.
    """

    def __init__(self, engine: Engine, resume: Callable[[], None]) -> None:
        self._engine = engine
        self._resume = resume
        self._transport: Any = None
        self._blocked = False

    def connect(self, transport: object) -> None:
        """Use a transport, and register as its producer."""
        self._transport = transport
        self._transport.registerProducer(self, True)

    def flush(self) -> list[int]:
        """Write frames.

        @return: the streams of which data was written.
        """
        sent: list[int] = []
        while not self._blocked:
            data = self._engine.take_output()
            sent += self._engine.sent
            if not data:
                break
            self._transport.write(data)
        return sent

    @property
    def is_flooded(self) -> bool:
        """Whether the peer sends frames that require a response, and reads none of the responses."""
        return self._blocked and self._engine.unsent > MAX_UNSENT

    def pauseProducing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """Continue writing: the transport's buffer is empty again."""
        self._blocked = False
        self._resume()

    def stopProducing(self) -> None:
        """Do nothing: the transport is closed, and its protocol gets C{connectionLost}."""
