"""What a SOCKS client receives, as the judge reads it (RFC 1928, RFC 1929)."""

from __future__ import annotations

from typing import Final

# The names of the rejections.
NO_METHOD: Final = "SOCKS: no method"
LOGIN: Final = "SOCKS: login"
SOCKS4: Final = "SOCKS4: 91"

_WIDTHS: Final = {1: 4, 4: 16}


def reply(code: int) -> str:
    """Return the name of a reply that rejects a request."""
    return f"SOCKS: {code}"


class Conversation:
    """The messages of a proxy to a SOCKS client.

    @param received: all bytes that the client received.
    @ivar count: the number of messages.
    @ivar refusal: the name of the message that rejected the client; empty if there is none.
    @ivar over: whether the conversation has ended.
    @ivar rest: the bytes after it.
    """

    def __init__(self, received: bytes) -> None:
        self.count = 0
        self.refusal = ""
        self.over = False
        self.rest = received
        if received[:1] == b"\0":
            self._socks4()
        elif received[:1] == b"\5":
            self._method()

    def _take(self, size: int) -> bytes | None:
        if len(self.rest) < size:
            return None
        taken, self.rest = self.rest[:size], self.rest[size:]
        self.count += 1
        return taken

    def _reject(self, refusal: str) -> None:
        self.refusal, self.over = refusal, True

    def _socks4(self) -> None:
        message = self._take(8)
        if message is not None:
            self._reject(f"SOCKS4: {message[1]}")

    def _method(self) -> None:
        message = self._take(2)
        if message is None:
            return
        if message[1] == 0xFF:
            self._reject(NO_METHOD)
        elif message[1] == 2:
            self._login()
        else:
            self._reply()

    def _login(self) -> None:
        message = self._take(2)
        if message is None:
            return
        if message[1]:
            self._reject(LOGIN)
        else:
            self._reply()

    def _reply(self) -> None:
        kind = self.rest[3] if len(self.rest) > 4 else 0
        width = 1 + self.rest[4] if kind == 3 else _WIDTHS.get(kind, 0)
        message = self._take(6 + width) if width else None
        if message is None:
            return
        self.over = True
        if message[1]:
            self._reject(reply(message[1]))
