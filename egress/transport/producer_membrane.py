"""The producer of a transport that is inside another transport."""

from __future__ import annotations

from typing import Any


class ProducerMembrane:
    """The producer of a TLS layer, which the layer and the transport below it pause. It sees each change once."""

    __slots__ = ("_paused", "_producer")

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._paused = False

    def pauseProducing(self) -> None:
        """See C{IPushProducer.pauseProducing}."""
        if not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """See C{IPushProducer.resumeProducing}."""
        if self._paused:
            self._paused = False
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """See C{IProducer.stopProducing}."""
        self._producer.stopProducing()
