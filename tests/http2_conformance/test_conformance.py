"""The HTTP/2 session with clients, as RFC 9113 and RFC 7541 require it: each case in a tunnel of its own."""

from __future__ import annotations

import re

from egress.proxy.factory import ProxyFactory
from egress.testing.transport import MemoryTransport
from tests.http2_conformance import (
    connect_cases,
    connection_cases,
    frame_cases,
    generic_cases,
    hpack_cases,
    message_cases,
)
from tests.http2_conformance.case import Case, Peer
from tests.proxy.fakes import response
from tests.proxy.http2_listener import Http2ListenerTestCase
from tests.proxy.tunnels import InterceptTestCase
from tests.transport.tls import TlsClient, TlsEnd, leaves

CASES = [
    case
    for module in (generic_cases, hpack_cases, connection_cases, frame_cases, message_cases)
    for case in module.case.all
]


CLOSES = "Connection: close"


def is_whole(received: bytes) -> bool:
    """Return whether an origin has received a whole request."""
    head, separator, content = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    if b"chunked" in head:
        return content.endswith(b"\r\n\r\n") and b"\r\n0\r\n" in b"\r\n" + content
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return length is None or len(content) >= int(length[1])


class Session:
    """The proxy as the server of a case; an origin responds to each whole request.

    @ivar forwarded: the methods and paths of the requests of which the origins received at least the head.
    """

    def __init__(self, test: ConformanceTests, tls: TlsEnd) -> None:
        self._test = test
        self._tls = tls
        self._seen = 0
        self._answered: list[MemoryTransport] = []
        self.forwarded: list[str] = []

    @property
    def closed(self) -> bool:
        """Whether the proxy has closed the connection."""
        wire = self._test.client
        return self._tls.closed or wire.disconnecting or wire.disconnected or wire.write_closed

    def receive(self, data: bytes) -> None:
        """Process data from the client."""
        if not self.closed:
            self._tls.send(data)
        self._respond()

    def _respond(self) -> None:
        origins = self._test.dialer.origins
        for origin in origins[self._seen :]:
            if b"\r\n\r\n" in origin.written:
                self.forwarded.append(origin.written.split(b" HTTP/", 1)[0].decode("latin-1"))
        self._seen = len(origins)
        for origin in origins:
            if origin not in self._answered and not origin.disconnected and is_whole(origin.written):
                self._answered.append(origin)
                head_only = origin.written.startswith(b"HEAD ")
                origin.feed(response(b"" if head_only else b"content", CLOSES, length=not head_only))
        self._test.clock.advance(0)

    def sent(self) -> bytes:
        """Return the data that the proxy sent since the last call."""
        return self._tls.take()

    def hold(self) -> None:
        """Let no origin take the content of requests."""
        self._test.dialer.high_water = 1


class ConformanceTests(InterceptTestCase):
    """Each case has a connection of its own."""

    def play(self, case: Case) -> None:
        """Play one case."""
        self.build(leaves=leaves())
        self.authorizer.needs_body = False
        self.tunnel()
        session = Session(self, TlsClient(self.client, protocols=[b"h2"]).shake())
        peer = Peer(session)
        case.play(peer)
        if not case.forwards:
            peer.expect_nothing_forwarded()
        self.client.lose()

    def test_names(self) -> None:
        """No two cases have one name, so that each is played."""
        names = [case.name for case in CASES]
        self.assertEqual(sorted(set(names)), sorted(names))
        self.assertGreater(len(names), 150)


class Tunnels:
    """The listener as the server of a case; the origins of its tunnels echo each data, or break."""

    def __init__(self, test: ConnectTests) -> None:
        self._test = test
        self._wire = test.client
        self._answered: set[int] = set()
        self.forwarded: list[str] = []

    @property
    def closed(self) -> bool:
        """Whether the proxy has closed the connection."""
        return self._wire.disconnecting or self._wire.disconnected

    def receive(self, data: bytes) -> None:
        """Process data from the client."""
        self._wire.feed(data)
        for origin in self._test.dialer.origins:
            origin.polite = False
            self._respond(origin)
            if origin.write_closed and not origin.disconnected:
                origin.end()
        self._test.clock.advance(0)

    def _respond(self, origin: MemoryTransport) -> None:
        data = origin.take()
        if data == b"break":
            origin.lose(ConnectionResetError())
        elif b" HTTP/1.1\r\n" in data:
            self.forwarded.append(data.split(b" HTTP/", 1)[0].decode("latin-1"))
            origin.feed(response(b"content", CLOSES))
        elif data and origin.high_water is None:
            origin.feed(data)

    def sent(self) -> bytes:
        """Return the data that the proxy sent since the last call."""
        return self._wire.take()

    def hold(self) -> None:
        """Let no origin take the data of a tunnel."""
        self._test.dialer.high_water = 1


class ConnectTests(Http2ListenerTestCase):
    """CONNECT to a listener: each case has a connection of its own."""

    def setUp(self) -> None:
        self.build(leaves=leaves(), passthrough=("tunnel.test",))
        self.authorizer.needs_body = False

    def play(self, case: Case) -> None:
        """Play one case."""
        wire = MemoryTransport(self.clock).connect(ProxyFactory(self.proxy.parts, h2c=True).admit(""))
        self.clients.append(wire)
        self.client = wire
        target = Tunnels(self)
        case.play(Peer(target))
        if not case.forwards:
            self.assertEqual((target.forwarded, self.dialer.origins), ([], []))

    def test_names(self) -> None:
        """No two cases have one name, so that each is played."""
        names = [case.name for case in connect_cases.case.all]
        self.assertEqual(sorted(set(names)), sorted(names))
        self.assertGreater(len(names), 20)


def _add(tests: type[ConformanceTests] | type[ConnectTests], case: Case) -> None:
    def test(self: ConformanceTests | ConnectTests) -> None:
        self.play(case)

    test.__doc__ = f"RFC {case.section}: the client {case.title}."
    setattr(tests, f"test_{case.name}", test)


for each in CASES:
    _add(ConformanceTests, each)
for each in connect_cases.case.all:
    _add(ConnectTests, each)
