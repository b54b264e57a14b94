"""The versions of HTTP that origins chose in the TLS handshake (RFC 7301), and their limits in HTTP/2."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

from egress.model.authority import Origin

# The maximum number of remembered origins; the one that was learned first is forgotten.
MAX_ORIGINS: Final = 4096
# The seconds for which a choice is remembered.  It only decides whether concurrent requests wait for one connection.
CHOICE_SECONDS: Final = 3600.0
# The seconds for which an origin that failed with HTTP/2 is offered only HTTP/1.1.
FAILURE_SECONDS: Final = 600.0


class OriginVersion:
    """The choice of one origin.

    @ivar until: the time at which it is forgotten.
    @ivar http2: whether the origin uses HTTP/2.
    @ivar failed: whether HTTP/2 failed.
    @ivar streams: the number of concurrent streams that the origin permits; C{None} if that is not known.
    """

    __slots__ = ("failed", "http2", "streams", "until")

    def __init__(self, until: float, http2: bool, *, failed: bool = False, streams: int | None = None) -> None:
        self.until = until
        self.http2 = http2
        self.failed = failed
        self.streams = streams


class OriginVersions:
    """The choice of each origin, for a limited time."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._origins: OrderedDict[Origin, OriginVersion] = OrderedDict()

    def __len__(self) -> int:
        return len(self._origins)

    def learn(self, origin: Origin, *, http2: bool) -> None:
        """Remember a choice, unless HTTP/2 has failed: then HTTP/1.1 was the only offer."""
        known = self._current(origin)
        if known is None or not known.failed:
            streams = None if known is None else known.streams
            self._store(origin, OriginVersion(self._clock.seconds() + CHOICE_SECONDS, http2, streams=streams))

    def learn_streams(self, origin: Origin, streams: int) -> None:
        """Remember the number of concurrent streams that an origin permits."""
        known = self._origins.get(origin)
        if known is not None:
            known.streams = streams

    def fail(self, origin: Origin) -> None:
        """Remember that HTTP/2 does not work with an origin."""
        self._store(origin, OriginVersion(self._clock.seconds() + FAILURE_SECONDS, False, failed=True))

    def forget(self, origin: Origin) -> None:
        """Forget everything about an origin."""
        self._origins.pop(origin, None)

    def _store(self, origin: Origin, version: OriginVersion) -> None:
        self._origins.pop(origin, None)
        self._origins[origin] = version
        if len(self._origins) > MAX_ORIGINS:
            self._origins.popitem(last=False)

    def choice(self, origin: Origin) -> bool | None:
        """Tell whether an origin uses HTTP/2; C{None} if that is not known."""
        known = self._current(origin)
        return None if known is None else known.http2

    def failed(self, origin: Origin) -> bool:
        """Tell whether HTTP/2 failed with an origin."""
        known = self._current(origin)
        return known is not None and known.failed

    def streams(self, origin: Origin) -> int | None:
        """Return the number of concurrent streams that an origin permits; C{None} if that is not known."""
        known = self._current(origin)
        return None if known is None else known.streams

    def _current(self, origin: Origin) -> OriginVersion | None:
        known = self._origins.get(origin)
        if known is not None and known.until <= self._clock.seconds():
            del self._origins[origin]
            return None
        return known
