"""The transport of an HTTP/1 session: writing, and the pausing of reading."""

from __future__ import annotations

from typing import Any

from egress.proxy.session_state import CLOSED, SessionState
from egress.proxy.state_machine import StateMachine
from egress.runtime.native import mypyc_attr


# The compiler needs to know that interpreted classes inherit from it.
@mypyc_attr(allow_interpreted_subclasses=True)
class SessionTransport(StateMachine[SessionState]):
    """A session that writes to its transport, and pauses it, until it closes.

    @ivar transport: the transport.
    """

    transport: Any
    _paused: bool

    def write(self, data: bytes) -> None:
        """Send data to the client."""
        if self._state not in CLOSED:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        if not self._paused and self._state not in CLOSED:
            self._paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        if self._paused and self._state not in CLOSED:
            self._paused = False
            self.transport.resumeProducing()
