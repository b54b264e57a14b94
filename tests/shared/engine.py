"""An engine in memory, for tests: the commands that the proxy uses."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from egress.authz import shared_cache, shared_decisions
from egress.shared.redis_protocol import CommandRejected, SharedUnavailable
from egress.shared.script import Script


class Engine:
    """The values of an engine.

    @ivar values: the values, each with the time at which it expires.
    @ivar streams: the events of each stream, with their numbers.
    @ivar commands: the commands that were executed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.values: dict[bytes, tuple[bytes, float]] = {}
        self.streams: dict[bytes, list[tuple[int, list[bytes]]]] = {}
        self.commands: list[tuple[Any, ...]] = []

    def names(self, pattern: str) -> list[bytes]:
        """Return the names of values."""
        return [
            name for name in self.values if fnmatch.fnmatch(name.decode(), f"egress:*:{pattern}:*") and self.get(name)
        ]

    def get(self, name: bytes) -> bytes | None:
        value, until = self.values.get(name, (b"", 0.0))
        return value if self._clock.seconds() < until else None

    def execute(self, command: str, *arguments: Any) -> Any:
        """Execute a command.

        @raise CommandRejected: if it is not one that the proxy uses.
        """
        self.commands.append((command, *arguments))
        if command == "EXISTS":
            return int(self.get(arguments[0]) is not None)
        if command == "GETRANGE":
            return (self.get(arguments[0]) or b"")[arguments[1] : arguments[2] + 1]
        if command == "DEL":
            return sum(self.values.pop(name, None) is not None for name in arguments)
        if command == "SET":
            name, value, *options = arguments
            if "NX" in options and self.get(name) is not None:
                return None
            self.values[name] = (_bytes(value), self._clock.seconds() + options[options.index("PX") + 1] / 1000)
            return b"OK"
        if command == "GETRANGE":
            name, start, end = arguments
            return (self.get(name) or b"")[start : end + 1]
        if command == "EVAL":
            return self._script(*arguments)
        if command == "XADD":
            name, *_, field, value = arguments
            events = self.streams.setdefault(name, [])
            number = events[-1][0] + 1 if events else 1
            events.append((number, [field, value]))
            return b"%d-0" % number
        if command == "XREAD":
            _, count, _, name, last = arguments
            found = [each for each in self.streams.get(name, []) if each[0] > int(last.partition(b"-")[0])][:count]
            return [[name, [[b"%d-0" % number, fields] for number, fields in found]]] if found else None
        raise CommandRejected(f"unknown command {command}")

    def _script(self, script: str, keys: int, *arguments: Any) -> Any:
        names, values = arguments[:keys], arguments[keys:]
        if script == shared_decisions.READ.text:
            return [(self.get(name) or b"")[: values[0] + 1] for name in names]
        if self.get(names[0]) != _bytes(values[0]):
            return 0
        if script == shared_cache.RENEW.text:
            self.values[names[0]] = (_bytes(values[0]), self._clock.seconds() + values[1] / 1000)
        else:
            assert script == shared_cache.RELEASE.text
            del self.values[names[0]]
        return 1


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


class EngineClient:
    """The client of an engine, in place of L{egress.shared.client.SharedClient}.

    @ivar fault: the reason why no command can be sent; C{None}: they can be sent.
    @ivar rejects: whether each command is rejected.
    @ivar pending: while it is a list, the commands wait in it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fault: str | None = None
        self.rejects = False
        self.on_connected: Callable[[], object] = lambda: None
        self.on_lost: Callable[[], object] = lambda: None
        self.pending: list[tuple[Deferred[Any], tuple[Any, ...]]] | None = None

    @property
    def is_ready(self) -> bool:
        return self.fault is None

    def call(self, *arguments: Any) -> Deferred[Any]:
        if self.fault is not None:
            return fail(SharedUnavailable(self.fault))
        if self.rejects:
            return fail(CommandRejected("WRONGTYPE"))
        if self.pending is not None:
            deferred: Deferred[Any] = Deferred()
            self.pending.append((deferred, arguments))
            return deferred
        return succeed(self.engine.execute(*arguments))

    def run(self, script: Script, names: Sequence[bytes], *arguments: Any) -> Deferred[Any]:
        return self.call("EVAL", script.text, len(names), *names, *arguments)

    def lose(self) -> None:
        """Lose the connection."""
        self.fault = "away"
        self.on_lost()

    def connect(self) -> None:
        """Establish the connection again."""
        self.fault = None
        self.on_connected()

    def flush(self) -> None:
        """Execute the commands that wait."""
        pending, self.pending = self.pending, None
        for deferred, arguments in pending or ():
            deferred.callback(self.engine.execute(*arguments))
