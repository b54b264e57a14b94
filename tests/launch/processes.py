"""A reactor that spawns a process in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.python.failure import Failure


class MemoryProcess:
    """The process; it has received the signals."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.ended = False

    def signalProcess(self, number: int) -> None:
        """See C{IProcessTransport.signalProcess}."""
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(number)


class Spawner:
    """The part of a reactor that spawns processes.

    @ivar spawned: executable, arguments, environment and descriptors of each process.
    """

    def __init__(self) -> None:
        self.process = MemoryProcess()
        self.spawned: list[tuple[str, Any, dict[str, str], Any]] = []

    def spawnProcess(self, protocol: Any, executable: str, arguments: Any, *, env: Any, childFDs: Any) -> MemoryProcess:
        """See C{IReactorProcess.spawnProcess}."""
        self.protocol = protocol
        self.spawned.append((executable, arguments, env, childFDs))
        return self.process

    def exit(self, reason: Exception) -> None:
        """End the process."""
        self.process.ended = True
        self.protocol.processExited(Failure(reason))
