"""The connection of an HTTP/1 session with a client: its transport, its timeout, and its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from egress.proxy import session_state as states
from egress.proxy.session_state import TRANSITIONS, SessionState
from egress.proxy.state_machine import StateMachine
from egress.runtime.native import mypyc_attr
from egress.transport.watchdog import Watchdog

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext


# The compiler needs to know that interpreted classes inherit from it.
@mypyc_attr(allow_interpreted_subclasses=True)
class SessionTransport(StateMachine[SessionState]):
    """A session that writes to its transport, pauses it, and has a timeout.

    @ivar transport: the transport.
    """

    transitions = TRANSITIONS

    def __init__(self, context: ProxyContext) -> None:
        self.transport: Any = None
        self._context = context
        self._state = states.IDLE
        self._paused = False
        self._watchdog = Watchdog(context.clock, self._expired)

    def connectionMade(self) -> None:
        """Start to wait for the first request (C{IProtocol})."""
        raise NotImplementedError

    def _expired(self) -> None:
        """Handle the end of the timeout."""
        raise NotImplementedError

    def makeConnection(self, transport: Any) -> None:
        """Start to use a transport (C{IProtocol})."""
        self.transport = transport
        self.connectionMade()

    @property
    def watch(self) -> Callable[[float | None], None]:
        """The function that sets the timeout of the exchange or tunnel in seconds; C{None} disables it."""
        return self._watchdog.set

    def unwatch(self) -> None:
        """Disable the timeout for a long time."""
        self._watchdog.stop()

    def write(self, data: bytes) -> None:
        """Send data to the client."""
        if self._state not in states.CLOSED:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        if not self._paused and self._state not in states.CLOSED:
            self._paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        if self._paused and self._state not in states.CLOSED:
            self._paused = False
            self.transport.resumeProducing()
