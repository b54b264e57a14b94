"""Concurrent requests of one client to an origin that share a connection over HTTP/2, and the opening of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from egress.model.errors import OriginConnectTimeout
from egress.model.phases import CONNECT, Mark
from egress.model.route import Route
from egress.upstream.http2_origin_connection import Http2OriginConnection
from egress.upstream.origin_connection import OriginConnection, PoolKey
from egress.upstream.pool import OriginPool, Stream

# The maximum number of connections of one client to one origin, if the origin limits the requests on each of them.
MAX_CONNECTIONS: Final = 64
# The maximum number of requests of one client that wait for one origin.
MAX_WAITING: Final = 1024

Dialed = OriginConnection | Http2OriginConnection
Dial = Callable[[Route, str, "list[Mark] | None"], "Deferred[Dialed]"]


class _Request:
    """A request that waits for a connection."""

    __slots__ = ("_canceller", "client", "done", "phases", "timer")

    def __init__(self, client: str, phases: list[Mark] | None, canceller: Callable[[_Request], None]) -> None:
        self.client = client
        self.phases = phases
        self.timer: IDelayedCall | None = None
        self._canceller = canceller
        self.done: Deferred[Stream] = Deferred(self._cancel)

    def _cancel(self, done: Deferred[Stream]) -> None:
        self._canceller(self)

    def stop_waiting(self) -> None:
        """Stop the timer."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()


class _Queue:
    """The requests of one client that wait for one origin, with the same addresses.

    @ivar dialing: the connection that is being opened.
    @ivar is_full: whether a further connection could not be opened.
    """

    __slots__ = ("dialing", "is_full", "key", "requests", "route")

    def __init__(self, key: PoolKey, route: Route) -> None:
        self.key = key
        self.route = route
        self.requests: deque[_Request] = deque()
        self.dialing: Deferred[Dialed] | None = None
        self.is_full = False


class SharedDials:
    """Opens connections on which several requests may share one connection.

    The first request opens a connection; concurrent ones wait for it.  If the origin uses HTTP/1.1, each of them opens
    its own.  If the connection has no capacity for all of them, another one is opened.

    @param dial: opens a connection.
    @param pool: stores connections over HTTP/2.
    @param patience: the seconds for which a request waits until another one on the same connection ends.
    """

    def __init__(self, dial: Dial, pool: OriginPool, clock: IReactorTime, patience: float) -> None:
        self._dial = dial
        self._pool = pool
        self._clock = clock
        self._patience = patience
        self._queues: dict[PoolKey, list[_Queue]] = {}
        pool.on_capacity = self._on_capacity

    def open(self, key: PoolKey, route: Route, client: str, phases: list[Mark] | None) -> Deferred[Stream]:
        """Open a stream; see L{egress.upstream.origins.Origins.open}."""
        queue = self._queue(key, route)
        if len(queue.requests) >= MAX_WAITING:
            return fail(_no_capacity(route))
        request = _Request(client, phases, partial(self._cancelled, queue))
        queue.requests.append(request)
        if phases is not None and queue.dialing is not None:
            phases.append((CONNECT, self._clock.seconds()))
        self._serve(queue)
        return request.done

    def _queue(self, key: PoolKey, route: Route) -> _Queue:
        queues = self._queues.setdefault(key, [])
        for queue in queues:
            if queue.route == route:
                return queue
        queue = _Queue(key, route)
        queues.append(queue)
        return queue

    def _on_capacity(self, key: PoolKey) -> None:
        for queue in list(self._queues.get(key, ())):
            if queue.dialing is None:
                self._serve(queue)

    def _serve(self, queue: _Queue) -> None:
        """Give the requests streams of the connections that exist, then open another one if necessary."""
        requests = queue.requests
        while requests:
            stream = self._pool.stream(queue.key, queue.route.addresses)
            if stream is None:
                break
            request = requests.popleft()
            request.stop_waiting()
            request.done.callback(stream)
        if queue.dialing is not None:
            return
        if not requests:
            self._forget(queue)
        elif self._must_wait(queue):
            for request in requests:
                if request.timer is None:
                    request.timer = self._clock.callLater(self._patience, self._expired, queue, request)
        else:
            self._begin(queue, requests[0])

    def _must_wait(self, queue: _Queue) -> bool:
        """Whether another connection would not help."""
        shared = self._pool.shared(queue.key)
        return bool(shared) and (queue.is_full or len(shared) >= MAX_CONNECTIONS)

    def _begin(self, queue: _Queue, request: _Request) -> None:
        queue.dialing = dialing = self._dial(queue.route, request.client, request.phases)
        dialing.addCallbacks(self._connected, self._failed, callbackArgs=(queue,), errbackArgs=(queue,))

    def _connected(self, connection: Dialed, queue: _Queue) -> None:
        queue.dialing = None
        request = queue.requests.popleft()
        request.stop_waiting()
        if isinstance(connection, Http2OriginConnection):
            stream = connection.open_stream()
            self._pool.adopt(queue.key, connection)
            request.done.callback(stream)
            self._serve(queue)
            return
        others = list(queue.requests)
        queue.requests.clear()
        self._forget(queue)
        request.done.callback(connection)
        for other in others:
            self._open_own(queue, other)

    def _open_own(self, queue: _Queue, request: _Request) -> None:
        """Open a connection for one request: the origin uses HTTP/1.1."""
        request.stop_waiting()
        alone = _Queue(queue.key, queue.route)
        alone.requests.append(request)
        self._begin(alone, request)

    def _failed(self, failure: Failure, queue: _Queue) -> None:
        queue.dialing = None
        if self._pool.shared(queue.key):
            # The requests wait for the connections that exist.
            queue.is_full = True
            self._serve(queue)
            return
        requests = list(queue.requests)
        queue.requests.clear()
        self._forget(queue)
        for request in requests:
            request.stop_waiting()
            request.done.errback(failure)

    def _cancelled(self, queue: _Queue, request: _Request) -> None:
        request.stop_waiting()
        if request in queue.requests:
            queue.requests.remove(request)
        if not queue.requests:
            dialing = queue.dialing
            self._forget(queue)
            if dialing is not None:
                dialing.cancel()

    def _expired(self, queue: _Queue, request: _Request) -> None:
        request.timer = None
        queue.requests.remove(request)
        if not queue.requests:
            self._forget(queue)
        request.done.errback(_no_capacity(queue.route))

    def _forget(self, queue: _Queue) -> None:
        queues = self._queues.get(queue.key, [])
        if queue in queues:
            queues.remove(queue)
            if not queues:
                del self._queues[queue.key]


def _no_capacity(route: Route) -> OriginConnectTimeout:
    authority = route.origin.authority
    return OriginConnectTimeout(f"{authority} limits concurrent requests over HTTP/2, and none of them ended in time")
