"""A transport that two sessions have: the one outside a tunnel, and the one inside that speaks plain HTTP."""

from __future__ import annotations

from twisted.internet.interfaces import ITransport


class SharedTransport:
    """The outer session's transport as the inner one has it: the outer session is its producer already.

    @ivar below: the transport.
    """

    def __init__(self, below: ITransport | None) -> None:
        self.below = below

    def __getattr__(self, name: str) -> object:
        return getattr(self.below, name)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """The outer session passes on what its registration brings."""

    def unregisterProducer(self) -> None:
        """Lets the transport close once its buffer is empty."""
        self.below.unregisterProducer()  # type: ignore[union-attr]


def unshared(transport: object) -> object:
    """The transport below, if it is one that is shared."""
    return transport.below if isinstance(transport, SharedTransport) else transport
