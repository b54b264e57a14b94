"""Tests for L{egress.transport.tcp}."""

from __future__ import annotations

import select
import socket
from ipaddress import ip_address

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.route import NO_HOP, Destination, Route
from egress.transport.tcp import (
    SharedTransport,
    abort_without_close_notify,
    below_tls,
    describe_peer,
    no_delay,
    unshared,
    waits_to_be_read,
)
from tests.proxy.fakes import Wire


class _Cut:
    def __init__(self) -> None:
        self.cut = False

    def abortConnection(self) -> None:
        self.cut = True


class _Elsewhere:
    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(b"/run/origin")


class _Layer:
    def __init__(self, below: object) -> None:
        self.transport = below


class NoDelayTests(SynchronousTestCase):
    """Nagle's algorithm is turned off on every TCP transport."""

    def test_tcp(self) -> None:
        wire = Wire(Clock())
        no_delay(wire)
        self.assertTrue(wire.no_delay)

    def test_below_layers(self) -> None:
        wire = Wire(Clock())
        no_delay(_Layer(_Layer(wire)))
        self.assertTrue(wire.no_delay)

    def test_not_tcp(self) -> None:
        layer = _Layer(None)
        no_delay(layer)
        self.assertIsNone(layer.transport)


class DescribePeerTests(SynchronousTestCase):
    """The destination of a connection, for the audit log."""

    def test_direct(self) -> None:
        route = Route(Origin("http", Authority("origin.test", 80)), (), None, False, False)
        wire = Wire(Clock(), IPv4Address("TCP", "192.0.2.9", 80))
        self.assertEqual(describe_peer(route, wire), Destination(address="192.0.2.9"))
        self.assertEqual(describe_peer(route, _Elsewhere()), NO_HOP)
        self.assertEqual(describe_peer(route, wire, "1.1"), Destination("192.0.2.9", None, "1.1"))
        self.assertEqual(describe_peer(route, _Elsewhere(), "1.1"), Destination(http="1.1"))

    def test_through_an_upstream_proxy(self) -> None:
        """The upstream proxy resolves the origin, so its address is unknown; the record contains no credentials."""
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
        route = Route(Origin("http", Authority("origin.test", 80)), (), upstream, False, False)
        self.assertEqual(describe_peer(route, Wire(Clock())), Destination(upstream="proxy.test:3128"))
        self.assertEqual(describe_peer(route, Wire(Clock()), "2"), Destination(None, "proxy.test:3128", "2"))
        socks = UpstreamProxy("socks5", Authority("proxy.test", 1080))
        for addresses, address in ((("192.0.2.1",), "192.0.2.1"), (("192.0.2.1", "192.0.2.2"), None)):
            route = Route(route.origin, tuple(map(ip_address, addresses)), socks, tls=False, connect=True)
            self.assertEqual(describe_peer(route, Wire(Clock())), Destination(address, "proxy.test:1080"))


class AbortTests(SynchronousTestCase):
    """An abort without TLS; L{tests.proxy.test_connect_tunnel} tests TLS."""

    def test_plain(self) -> None:
        transport = _Cut()
        abort_without_close_notify(transport)
        self.assertTrue(transport.cut)


class UnreadTests(SynchronousTestCase):
    """Detection of socket data that the reactor has not read."""

    def test_a_socket(self) -> None:
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        wire = Wire(Clock())
        wire.socket = near
        waits = waits_to_be_read(wire)
        self.assertFalse(waits())
        far.sendall(b"x")
        self.assertTrue(waits() and waits())
        near.recv(1)
        self.assertFalse(waits())
        far.close()
        self.assertTrue(waits())

    def test_below_tls(self) -> None:
        wire = Wire(Clock())
        layer = TLSMemoryBIOProtocol(object(), Protocol(), False)
        layer.transport = TLSMemoryBIOProtocol(object(), Protocol(), False)
        layer.transport.transport = wire
        self.assertIs(below_tls(layer), wire)
        self.assertIs(below_tls(wire), wire)

    def test_without_poll(self) -> None:
        wire = Wire(Clock())
        self.assertFalse(waits_to_be_read(wire)())
        wire.socket = object()
        self.addCleanup(setattr, select, "poll", select.poll)
        del select.poll
        self.assertFalse(waits_to_be_read(wire)())


class SharedTransportTests(SynchronousTestCase):
    """It delegates to the transport below, except for the producer."""

    def test_shared(self) -> None:
        wire = Wire(Clock())
        producer = object()
        wire.registerProducer(producer, True)
        shared = SharedTransport(wire)
        shared.registerProducer(object(), True)
        self.assertIs(wire.producer, producer)
        shared.write(b"x")  # type: ignore[operator]
        self.assertEqual(wire.take(), b"x")
        shared.unregisterProducer()
        self.assertIsNone(wire.producer)

    def test_unshared(self) -> None:
        wire = Wire(Clock())
        self.assertIs(unshared(SharedTransport(wire)), wire)
        self.assertIs(unshared(wire), wire)
