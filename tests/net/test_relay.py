"""Tests for L{egress.net.relay}: what the tunnels of a whole proxy do not reach."""

from __future__ import annotations

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.net.relay import Relay
from egress.net.tls import ServerTls, TlsFactory
from tests.net.fakes import Wire
from tests.net.tls import TlsClient, leaves


class _Layer:
    """A transport that cannot close one direction alone, as of a TLS session."""

    def __init__(self, below: Wire) -> None:
        self.below = below

    def unregisterProducer(self) -> None:
        self.below.unregisterProducer()

    def loseConnection(self) -> None:
        self.below.loseConnection()

    def write(self, data: bytes) -> None:
        self.below.write(data)


class RelayTests(SynchronousTestCase):
    """Bytes go both ways; ends and pauses too."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.over = 0
        self.active = 0
        self.near = Wire(self.clock)
        self.relay = Relay(self.near, self._note_active, self._note_over)
        self.far = Wire(self.clock).connect(self.relay.far)

    def _note_active(self) -> None:
        self.active += 1

    def _note_over(self) -> None:
        self.over += 1

    def test_both_ways(self) -> None:
        self.far.feed(b"banner")
        self.relay.begin(b"early")
        self.relay.near_data(b" more")
        self.far.feed(b" and more")
        self.assertEqual((self.far.written, self.near.written), (b"early more", b"banner and more"))
        self.assertEqual((self.relay.sent, self.relay.received, self.active), (10, 15, 4))

    def test_begins_with_nothing(self) -> None:
        self.relay.begin(b"")
        self.assertEqual((self.far.written, self.near.written, self.active), (b"", b"", 0))

    def test_ends_of_both_directions(self) -> None:
        self.relay.begin(b"")
        self.relay.near_end()
        self.assertTrue(self.far.write_closed)
        self.assertEqual(self.over, 0)
        self.far.end()
        self.assertEqual(self.over, 1)
        self.far.lose()
        self.assertEqual(self.over, 1)

    def test_what_is_still_to_be_sent_to_the_origin_goes_out_first(self) -> None:
        for far_first in (False, True):
            with self.subTest(far_first=far_first):
                self.setUp()
                self.relay.begin(b"much")
                self.far.choke()
                ends = [self.relay.near_end, self.far.end]
                for end in reversed(ends) if far_first else ends:
                    end()
                self.assertEqual(self.over, 0)
                self.assertFalse(self.far.disconnected)
                self.far.unchoke()
                self.assertEqual(self.over, 1)
                self.assertFalse(self.far.aborted)

    def test_the_far_end_first(self) -> None:
        self.relay.begin(b"")
        self.far.end()
        self.assertTrue(self.near.write_closed)
        self.relay.near_end()
        self.clock.advance(0)
        self.assertEqual(self.over, 1)

    def test_a_side_that_cannot_close_one_direction_closes_both(self) -> None:
        relay = Relay(_Layer(self.near), self._note_active, self._note_over)  # type: ignore[arg-type]
        Wire(self.clock).connect(relay.far)
        relay.begin(b"")
        relay.far_end()
        self.assertTrue(self.near.disconnecting)

    def test_tls_to_an_upstream_proxy_is_ended_by_its_alert(self) -> None:
        context = leaves().context_for(Authority("origin.test", 443))
        relay = Relay(self.near, self._note_active, self._note_over)
        relay.far.prepare(True, lambda: None, lambda _: None)
        factory = TlsFactory(ServerTls(context), False, Factory.forProtocol(lambda: relay.far), clock=self.clock)
        wire = Wire(self.clock).connect(factory.buildProtocol(None))
        other = TlsClient(wire)
        other.shake()
        relay.begin(b"all")
        relay.near_end()
        self.assertEqual(other.take(), b"all")
        self.assertTrue(other.closed)
        self.assertFalse(wire.write_closed)
        other.connection.send(b"answer")
        other.close()
        self.clock.advance(0)
        self.assertEqual(self.near.take(), b"answer")
        self.assertEqual(self.over, 1)

    def test_nothing_is_asked_of_who_is_gone(self) -> None:
        self.relay.begin(b"")
        self.far.lose()
        pauses = self.far.pauses
        self.relay.near_end()
        self.relay.pause_far()
        self.relay.resume_far()
        self.relay.drop()
        self.assertEqual((self.far.pauses, self.far.aborted, self.far.write_closed), (pauses, False, False))

    def test_an_ended_direction_is_not_read_again(self) -> None:
        # A reactor would report the end of it over and over.
        self.relay.begin(b"")
        self.relay.near_end()
        self.near.paused = True
        self.relay.resume_near()
        self.assertTrue(self.near.paused)
        self.far.end()
        self.far.paused = True
        self.relay.resume_far()
        self.assertTrue(self.far.paused)

    def test_dropped_before_it_is_connected(self) -> None:
        relay = Relay(self.near, self._note_active, self._note_over)
        relay.drop()
        self.relay.drop()
        self.assertTrue(self.far.aborted)
        self.relay.far.stopProducing()
        self.relay.far.writeConnectionLost()
        self.assertEqual(self.over, 0)
