"""Reports the state of a program to its service manager, by the protocol of C{sd_notify(3)}."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_WATCHDOG: Final = "WATCHDOG=1"
_MICROSECONDS: Final = 1_000_000

Send = Callable[[str, str], object]
"""Sends a state to an address."""


def send_datagram(address: str, state: str) -> None:
    """Send a state to a UNIX socket.  A service manager that does not listen stops nothing."""
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), path)


class ServiceManager:
    """The service manager of this process, if there is one.

    @param clock: the reactor.
    @param process: the number of this process.
    @param environ: the environment.  The variables are removed, because they are not meant for child processes.
    """

    def __init__(
        self,
        clock: IReactorTime,
        process: int,
        environ: MutableMapping[str, str],
        send: Send = send_datagram,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._monotonic = monotonic
        self._address = environ.pop("NOTIFY_SOCKET", "")
        interval, owner = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._watchdog: LoopingCall | None = None
        if interval.isdigit() and owner in ("", str(process)):
            self._watchdog = LoopingCall(self._notify, _WATCHDOG)
            self._watchdog.clock = clock
            # As sd_watchdog_enabled(3) recommends.
            self._interval = int(interval) / _MICROSECONDS / 2

    def _notify(self, state: str) -> None:
        if self._address:
            self._send(self._address, state)

    def ready(self) -> None:
        """Report that the program serves, and from now on that its reactor runs."""
        self._notify(READY)
        if self._watchdog is not None and not self._watchdog.running:
            self._watchdog.start(self._interval)

    def reloading(self, reload: Callable[[], Deferred[None]]) -> Deferred[None]:
        """Report a reload and its end.

        @param reload: reloads the configuration.
        """
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * _MICROSECONDS)}")

        def ended(result: None) -> None:
            self._notify(READY)
            return result

        return reload().addBoth(ended)

    def stopping(self) -> None:
        """Report that the program stops.  The watchdog continues during the drain."""
        self._notify(STOPPING)
