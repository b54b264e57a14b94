"""The properties of whole sessions of clients, for all inputs: from the frames to what origins receive."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from egress.http.sniff import PREFACE
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest
from egress.proxy.http2_requests import bound_session
from egress.proxy.tunnel_binding import TunnelBinding
from fuzz.reading import Unexpected, pieces
from fuzz.sent_frames import check_sent
from tests.proxy.fakes import Proxy, ScriptedAuthorizer, Wire, allow, deny
from tests.scorecard.messages import Incomplete, Message, read_request

_SETTINGS: Final = b"\0\0\0\4\0\0\0\0\0"
_READ: Final = 31
_RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
# The reads of the client for which an origin waits before it responds early.
_PATIENCE: Final = 2
# After the timeouts of the proxy.
_LONG: Final = 1000.0


class _Authorizer(ScriptedAuthorizer):
    """Denies requests by their path, and notes those that it allows."""

    def __init__(self) -> None:
        super().__init__()
        self.needs_body = False
        self.allowed: Counter[tuple[bytes, bytes]] = Counter()

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """See L{egress.interfaces.IAuthorizer.decide}."""
        if "?" in request.path:
            return succeed(deny())
        self.allowed[request.method.encode(), request.path.encode()] += 1
        return succeed(allow())


class _Proxy(Proxy):
    """A proxy for one client in the tunnel to an origin, which responds to each complete request."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self.decisions = self.parts.authz.authorizer = _Authorizer()
        self.binding = TunnelBinding(origin, ClientIdentity("198.51.100.7", 1))
        self.received: list[bytes] = []
        self.waited: list[int] = []
        self.requests: list[Message] = []

    def connect(self) -> Wire:
        """Connect the client."""
        return Wire(self.clock).connect(bound_session(self.parts, self.binding))

    def respond(self, *, early: bool) -> None:
        """Read the requests, and respond to them.

        @param early: whether the origins respond some reads after a head, and not when the request is complete.
        """
        patience = _PATIENCE if early else sys.maxsize
        for at, wire in enumerate(self.dialer.origins):
            if at == len(self.received):
                self.received.append(b"")
                self.waited.append(0)
            self.received[at] += wire.take()
            while self.received[at]:
                try:
                    message, rest = read_request(self.received[at])
                except Incomplete:
                    break
                self.waited[at] += 1
                if self.waited[at] == patience or (message.complete and self.waited[at] < patience):
                    wire.feed(_RESPONSE)
                if not message.complete:
                    break
                self.received[at], self.waited[at] = rest, 0
                self.requests.append(message)

    def finish(self, client: Wire) -> None:
        """Let the timeouts pass, and lose the client."""
        client.lose()
        self.pool.close()
        self.clock.advance(0)
        self.clock.advance(0)
        assert not self.clock.getDelayedCalls() and not len(self.parts.sessions) and not len(self.pool)
        assert all(wire.disconnected for wire in self.dialer.origins)


def http2_session(data: bytes) -> None:
    """Frames of a client in a tunnel: an origin receives exactly the requests that were allowed, each at most once.

    Each request has one record, and nothing remains when the client has left.
    """
    seed, data = data[:1] or b"\0", data[1:]
    early = bool(seed[0] & 2)
    proxy = _Proxy(Origin("http", Authority("a", 80)))
    with Unexpected():
        client = proxy.connect()
        sent = b""
        for part in (PREFACE + _SETTINGS, *pieces(data, seed[0], short=_READ)):
            client.feed(part)
            proxy.respond(early=early)
            sent += client.take()
        if seed[0] & 1:
            proxy.clock.advance(_LONG)
            proxy.respond(early=early)
        sent += client.take()
        proxy.finish(client)
    check_sent(sent, data)
    forwarded: Counter[Any] = Counter(message.start[:2] for message in proxy.requests)
    for rest in proxy.received:
        if b"\r\n" in rest:
            forwarded[tuple(rest.split(b" ", 2)[:2])] += 1
    assert forwarded <= proxy.decisions.allowed, (forwarded, proxy.decisions.allowed)
    ids = [record.request_id for record in proxy.records]
    assert len(ids) == len(set(ids)) >= sum(proxy.decisions.allowed.values())
