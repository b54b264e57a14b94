"""One end of a TLS session in memory: real OpenSSL over a transport in memory."""

from __future__ import annotations

from typing import Protocol

from OpenSSL import SSL


class Bytes(Protocol):
    """The bytes below TLS: a transport, or another L{TlsEnd}."""

    def feed(self, data: bytes) -> object:
        """Send data to the proxy."""

    def take(self) -> bytes:
        """Return the data that the proxy wrote."""


class TlsEnd:
    """Real TLS over one end of a wire.

    @ivar plain: the decrypted data that the proxy wrote.
    @ivar closed: whether the proxy has sent its closing alert.
    @ivar moved: how often data was sent or received.
    """

    def __init__(self, wire: Bytes, connection: SSL.Connection) -> None:
        self.wire = wire
        self.connection = connection
        self.plain = b""
        self.closed = False
        self.moved = 0

    def shake(self) -> TlsEnd:
        """Complete the handshake.

        @raise SSL.Error: if this side rejects it, or receives an alert from the other side.
        @raise AssertionError: if the other side does not continue it.
        """
        if not self.try_handshake():
            raise AssertionError("the handshake does not go on")
        return self

    def try_handshake(self) -> bool:
        """Continue the handshake.

        @return: whether it is complete.
        @raise SSL.Error: see L{shake}.
        """
        while True:
            try:
                self.connection.do_handshake()
            except SSL.WantReadError:
                if not self._exchange():
                    return False
            except SSL.Error:
                self._exchange()
                raise
            else:
                self._exchange()
                return True

    def send(self, data: bytes) -> TlsEnd:
        """Send data inside the session, and read the response."""
        while data:
            # OpenSSL may accept only one record.
            data = data[self.connection.send(data) :]
            self._exchange()
        return self.read()

    def feed(self, data: bytes) -> object:
        """See L{Bytes.feed}."""
        return self.send(data)

    def read(self) -> TlsEnd:
        """Read the data that the proxy wrote."""
        self._exchange()
        while not self.closed:
            try:
                self.plain += self.connection.recv(1 << 16)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.closed = True
        return self

    def take(self) -> bytes:
        """Return the decrypted data that the proxy wrote."""
        self.read()
        data, self.plain = self.plain, b""
        return data

    def close(self) -> None:
        """Send the closing alert."""
        self.connection.shutdown()
        self._exchange()

    def _exchange(self) -> bool:
        moved = False
        try:
            self.wire.feed(self.connection.bio_read(1 << 20))
            moved = True
        except SSL.WantReadError:
            pass
        data = self.wire.take()
        if data:
            self.connection.bio_write(data)
        moved = moved or bool(data)
        self.moved += moved
        return moved
