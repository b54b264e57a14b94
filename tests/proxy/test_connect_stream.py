"""Tests for L{egress.proxy.connect_stream}."""

from __future__ import annotations

import json

from h2.connection import ConnectionState
from h2.errors import ErrorCodes

from egress.config.model import Limits
from egress.http2.engine import HIGH_WATER
from egress.proxy.http2_stream import LINGER_SECONDS
from egress.transport.fair_turns import PIECES
from egress.transport.lingering_close import LINGER_SECONDS as TUNNEL_LINGER_SECONDS
from tests.proxy.fakes import UPGRADE, allow_with, broken, deny, request, response
from tests.proxy.http2_client import Http2Client
from tests.proxy.http2_listener import Http2ListenerTestCase, StreamWire
from tests.proxy.tunnels import inner


class InterceptTests(Http2ListenerTestCase):
    """The contents of tunnels."""

    def test_tls(self) -> None:
        tls = self.intercept()
        tls.send(inner())
        self.assertTrue(self.origin.take().startswith(b"GET /a HTTP/1.1\r\nHost: origin.test\r\n"))
        self.origin.feed(response())
        self.assertIn(b"hello", tls.take())
        self.assertEqual((self.outcomes(), self.records[0].url), (["forwarded"], "https://origin.test/a"))
        self.assertEqual(self.records[0].client.address, "198.51.100.7")

    def test_http2_inside(self) -> None:
        http2 = Http2Client(self.intercept(protocols=[b"h2"]))
        one, two = http2.request("/one"), http2.request("/two")
        for origin in self.dialer.origins:
            origin.feed(response())
        http2.read()
        self.assertEqual((http2.status(one), http2.content(two)), (200, b"hello"))

    def test_http_without_tls(self) -> None:
        wire = self.tunnel("origin.test:80")
        wire.feed(inner())
        self.origin.feed(response())
        self.assertIn(b"hello", wire.take())
        self.assertEqual(self.records[0].url, "http://origin.test/a")

    def test_two_tunnels(self) -> None:
        """Each has its own destination."""
        one, two = self.intercept(), self.intercept("other.test:443")
        two.send(inner(host="other.test"))
        one.send(inner())
        for origin, name in zip(self.dialer.origins, (b"other", b"origin"), strict=True):
            self.assertIn(b"\r\nHost: %b.test\r\n" % name, origin.take())

    def test_another_host(self) -> None:
        tls = self.intercept()
        tls.send(inner(host="other.test"))
        self.assertIn(b" 421 ", tls.take())

    def test_a_tunnel_inside_the_tunnel(self) -> None:
        tls = self.intercept()
        tls.send(b"CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n")
        self.assertIn(b" 400 ", tls.take())

    def test_another_protocol(self) -> None:
        wire = self.tunnel()
        wire.feed(b"SSH-2.0-OpenSSH_9.6\r\n")
        self.assertEqual(wire.code, ErrorCodes.CONNECT_ERROR)
        self.assertEqual(self.outcomes(), ["tunnel-protocol-unknown"])

    def test_an_upgrade(self) -> None:
        """A WebSocket inside plain HTTP inside the stream."""
        wire = self.tunnel("origin.test:80")
        wire.feed(request("GET", "/", *UPGRADE))
        self.origin.feed(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        self.assertIn(b" 101 ", wire.take())
        self.origin.feed(b"frames")
        self.assertEqual(wire.take(), b"frames")

    def test_the_end_of_the_session(self) -> None:
        """The proxy ends its direction; the client ends its own."""
        wire = self.tunnel("origin.test:80")
        wire.feed(inner("/a", "Connection: close"))
        self.origin.feed(response())
        self.assertEqual((wire.ended, wire.code), (True, None))
        wire.end()
        self.clock.advance(0)
        self.assertFalse(self.http2_session_is_busy)

    def test_a_client_that_does_not_end(self) -> None:
        """It keeps the stream for a limited time."""
        wire = self.tunnel("origin.test:80")
        wire.feed(inner(host="other.test") + b"broken\r\n\r\n")
        self.assertTrue(wire.ended)
        self.clock.advance(TUNNEL_LINGER_SECONDS)
        self.clock.advance(LINGER_SECONDS)
        self.assertEqual(wire.code, ErrorCodes.NO_ERROR)
        self.assertFalse(self.http2_session_is_busy)

    @property
    def http2_session_is_busy(self) -> bool:
        """Whether the proxy has a stream."""
        return any(getattr(session, "busy", False) for session in self.proxy.parts.sessions._open)  # noqa: SLF001


class PassthroughTests(Http2ListenerTestCase):
    """Tunnels whose bytes the proxy does not read."""

    def setUp(self) -> None:
        self.rebuild(passthrough=("origin.test",))

    def test_a_relay(self) -> None:
        wire = self.tunnel()
        self.origin.polite = False
        wire.feed(b"to the origin")
        self.assertEqual(self.origin.take(), b"to the origin")
        self.origin.feed(b"to the client")
        self.assertEqual(wire.take(), b"to the client")
        wire.end()
        self.assertTrue(self.origin.write_closed)
        self.origin.feed(b", later")
        self.assertEqual(wire.take(), b", later")
        self.origin.end()
        self.clock.advance(0)
        self.assertEqual((wire.ended, wire.code), (True, None))
        (record,) = self.records
        self.assertEqual((record.outcome, record.bytes_sent, record.bytes_received), ("forwarded", 13, 20))

    def test_the_origin_ends_first(self) -> None:
        wire = self.tunnel()
        self.origin.feed(b"all")
        self.origin.end()
        self.assertEqual((wire.take(), wire.ended), (b"all", True))
        wire.feed(b"more")
        self.assertEqual(self.origin.take(), b"more")
        wire.end()
        self.clock.advance(0)
        self.assertEqual((wire.code, self.outcomes()), (None, ["forwarded"]))

    def test_a_reset_by_the_client(self) -> None:
        """The origin connection is reset, too (RFC 9113 section 8.5)."""
        wire = self.tunnel()
        self.http2.h2.reset_stream(wire.stream, ErrorCodes.CANCEL)
        self.http2.flush()
        self.clock.advance(0)
        self.assertTrue(self.origin.aborted)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_a_reset_by_the_origin(self) -> None:
        """RFC 9113 section 8.5: a stream error of type CONNECT_ERROR."""
        wire = self.tunnel()
        self.origin.lose(ConnectionResetError())
        self.clock.advance(0)
        self.assertEqual((wire.code, wire.ended), (ErrorCodes.CONNECT_ERROR, False))

    def test_the_loss_of_the_connection(self) -> None:
        self.tunnel()
        self.client.lose()
        self.clock.advance(0)
        self.assertTrue(self.origin.aborted)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_a_slow_client(self) -> None:
        """A tunnel whose window is used up stops reading from its origin, and no other tunnel waits."""
        self.start(acknowledge=False)
        slow, other = self.tunnel(), self.tunnel()
        origin = self.dialer.origins[0]
        for _ in range(40):
            origin.feed(bytes(16384))
        self.clock.advance(0)
        self.assertTrue(origin.paused)
        self.assertGreater(origin.undelivered, 300_000)
        taken = len(slow.take())
        self.assertLess(taken, 66_000)
        self.assertLess(40 * 16384 - origin.undelivered - taken, HIGH_WATER + 32768)
        self.dialer.origins[1].feed(b"quick")
        self.assertFalse(self.dialer.origins[1].paused)
        self.http2.acknowledge = True
        self.http2.h2.increment_flow_control_window(1 << 20)
        self.http2.h2.increment_flow_control_window(1 << 20, slow.stream)
        self.http2.flush()
        self.clock.advance(0)
        self.assertEqual(other.take(), b"quick")
        self.assertEqual(taken + len(slow.take()), 40 * 16384)

    def test_a_slow_origin(self) -> None:
        """The client gets no credit for data that the origin does not take, and sends no more than its window."""
        wire = self.tunnel()
        self.origin.choke()
        window = self.http2.h2.local_flow_control_window(wire.stream)
        wire.feed(bytes(window))
        self.assertEqual(self.http2.h2.local_flow_control_window(wire.stream), 0)
        self.origin.unchoke()
        self.clock.advance(0)
        self.http2.read()
        self.assertGreater(self.http2.h2.local_flow_control_window(wire.stream), window // 2)
        self.assertEqual(len(self.origin.take()), window)

    def test_a_denial(self) -> None:
        """The client reads it inside the tunnel, as with HTTP/1.1."""
        self.authorizer.answers = [deny()]
        tls = self.intercept()
        tls.send(inner())
        self.assertIn(b" 403 ", tls.take())
        self.assertEqual(self.outcomes(), ["denied"])

    def test_a_denied_opaque_port(self) -> None:
        """The response to the CONNECT itself is the denial."""
        self.rebuild(opaque_ports=(range(22, 23),))
        self.authorizer.answers = [deny()]
        stream = self.connect_stream("origin.test:22")
        self.assertEqual(self.http2.status(stream), 403)
        self.assertIn(b"error=http_request_denied", self.http2.fields(stream)[b"proxy-status"])
        problem = json.loads(self.http2.content(stream))
        self.assertEqual((problem["stage"], problem["decisionId"]), ("authz", self.records[0].request_id))
        self.assertTrue(self.http2.ended(stream))
        self.assertEqual(self.outcomes(), ["denied"])
        self.http2.data(stream, b"ignored")
        StreamWire(self.http2, stream).end()
        self.clock.advance(LINGER_SECONDS)
        self.http2.read()
        self.assertIsNone(self.http2.reset(stream))

    def test_a_client_that_does_not_end_its_direction(self) -> None:
        """After a response to the CONNECT, it has the same time as after other responses."""
        self.rebuild(opaque_ports=(range(22, 23),))
        self.authorizer.answers = [deny()]
        stream = self.connect_stream("origin.test:22")
        self.clock.advance(0)
        self.assert_lingers(stream)
        self.assertEqual(self.proxy.parts.sessions.streams, 0)

    def test_data_before_the_response(self) -> None:
        """It waits for the decision."""
        pending = self.authorizer.pending()
        wire = StreamWire(self.http2, self.connect_stream())
        wire.feed(b"early")
        self.assertEqual(self.dialer.origins, [])
        pending.callback(allow_with())
        self.clock.advance(0)
        self.assertEqual((wire.take(), self.origin.take()), (b"", b"early"))
        self.assertEqual(self.http2.status(wire.stream), 200)

    def test_a_reset_before_the_decision(self) -> None:
        self.authorizer.pending()
        stream = self.connect_stream()
        self.http2.h2.reset_stream(stream)
        self.http2.flush()
        self.assertEqual((self.outcomes(), self.authorizer.cancelled), (["client-disconnected"], 1))

    def test_the_end_of_a_lease(self) -> None:
        """The stream is reset, so that the client does not take the data for complete."""
        self.authorizer.answers = [allow_with(max_bytes=10)]
        wire = self.tunnel()
        wire.feed(bytes(20))
        self.clock.advance(0)
        self.assertEqual(wire.code, ErrorCodes.CONNECT_ERROR)
        self.assertEqual(self.origin.take(), b"")

    def test_an_idle_tunnel(self) -> None:
        self.rebuild(passthrough=("origin.test",), limits=Limits(tunnel_timeout=20))
        one, two = self.tunnel(), self.tunnel()
        self.clock.advance(15)
        two.feed(b"x")
        self.clock.advance(10)
        self.assertEqual((one.code, two.code), (ErrorCodes.CONNECT_ERROR, None))

    def test_trailers(self) -> None:
        """RFC 9113 section 8.5: only DATA is permitted on the stream."""
        wire = self.tunnel()
        self.http2.send([(b"x-sum", b"1")], wire.stream)
        self.clock.advance(0)
        self.assertEqual(wire.code, ErrorCodes.PROTOCOL_ERROR)
        self.assertTrue(self.origin.aborted)

    def test_an_error_in_the_proxy(self) -> None:
        """It ends one stream."""
        self.patch(self.dialer, "judge", broken)
        stream = self.connect_stream()
        self.clock.advance(0)
        self.http2.read()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.CONNECT_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.tunnel("other.test:443")

    def test_a_client_that_takes_no_more(self) -> None:
        """The rest waits for the idle timeout."""
        self.start(acknowledge=False)
        wire = self.tunnel()
        for _ in range(5):
            self.origin.feed(bytes(16384))
        self.origin.lose()
        self.clock.advance(0)
        self.assertEqual((wire.ended, wire.code), (False, None))
        self.clock.advance(Limits().idle_timeout)
        self.clock.advance(0)
        self.assertEqual(wire.code, ErrorCodes.CONNECT_ERROR)

    def assert_lingers(self, stream: int) -> None:
        """The stream ends without an error, after some time."""
        self.clock.advance(LINGER_SECONDS - 0.1)
        self.http2.read()
        self.assertIsNone(self.http2.reset(stream))
        self.clock.advance(0.1)
        self.http2.read()
        self.assertEqual(self.http2.reset(stream), ErrorCodes.NO_ERROR)


class FairnessTests(Http2ListenerTestCase):
    """One connection does a limited amount of work in one turn of the reactor."""

    def test_many_tunnels(self) -> None:
        """Data for many tunnels in one read: a part of them gets it in this turn."""
        self.rebuild(passthrough=("origin.test",))
        wires = [self.tunnel() for _ in range(8)]
        for wire in wires:
            self.http2.h2.send_data(wire.stream, b"data")
        self.client.protocol.dataReceived(self.http2.h2.data_to_send())
        self.assertEqual([origin.take() for origin in self.dialer.origins].count(b"data"), PIECES)
        self.clock.advance(0)
        self.assertEqual([origin.take() for origin in self.dialer.origins].count(b"data"), 8 - PIECES)


class LimitTests(Http2ListenerTestCase):
    """Tunnels count as connections."""

    def test_tunnels_of_one_client(self) -> None:
        self.rebuild(limits=Limits(connections_per_client=3))
        streams = [self.connect_stream() for _ in range(4)]
        self.assertEqual([self.http2.status(stream) for stream in streams], [200, 200, 200, 429])
        sessions = self.proxy.parts.sessions
        self.assertEqual(self.outcomes(), ["too-many-connections"])
        StreamWire(self.http2, streams[-1]).end()
        self.assertEqual(sessions.count_for("198.51.100.7"), 3)
        self.client.lose()
        self.assertEqual((sessions.clients, sessions.streams), (0, 0))

    def test_streams_inside_tunnels(self) -> None:
        """They count, too."""
        self.rebuild(limits=Limits(connections_per_client=4))
        self.tunnel("other.test:443")
        http2 = Http2Client(self.intercept(protocols=[b"h2"]))
        streams = [http2.request() for _ in range(4)]
        self.assertEqual([http2.status(stream) for stream in streams], [0, 0, 0, 429])

    def test_an_unused_tunnel(self) -> None:
        wire = self.tunnel()
        self.clock.advance(Limits().tls_timeout)
        self.clock.advance(0)
        self.assertEqual((wire.ended, self.outcomes()), (True, ["tunnel-without-request"]))

    def test_an_unfinished_handshake(self) -> None:
        wire = self.tunnel()
        wire.feed(b"\x16\x03\x01\x00\xff")
        self.clock.advance(Limits().tls_timeout)
        self.clock.advance(0)
        self.assertEqual((wire.code, self.outcomes()), (ErrorCodes.CONNECT_ERROR, ["client-tls-failed"]))

    def test_rapid_reset(self) -> None:
        """CVE-2023-44487, with tunnels."""
        for _ in range(300):
            if self.http2.goodbye:
                break
            stream = self.connect_stream()
            self.http2.h2.reset_stream(stream)
            self.http2.flush()
        self.assertEqual((self.http2.goodbye or (None,))[0], ErrorCodes.ENHANCE_YOUR_CALM)
        self.assertEqual(self.proxy.parts.sessions.http2_faults, 1)

    def test_shutdown(self) -> None:
        """Tunnels end after their current requests, and the connection ends after its tunnels."""
        tls = self.intercept()
        tls.send(inner())
        self.proxy.parts.sessions.drain()
        self.http2.read()
        self.assertEqual(self.http2.goodbye, (0, 1))
        # Streams continue after a GOAWAY (RFC 9113 section 6.8), which h2 does not implement.
        self.http2.h2.state_machine.state = ConnectionState.CLIENT_OPEN
        self.origin.feed(response())
        self.assertIn(b"hello", tls.take())
        self.assertTrue(tls.closed)
        tls.close()
        wire = tls.wire
        assert isinstance(wire, StreamWire)
        self.clock.advance(0)
        self.assertTrue(wire.ended)
        wire.end()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)

    def test_backpressure_inside_tls(self) -> None:
        """A client that takes no response stops the origin."""
        self.start(acknowledge=False)
        tls = self.intercept()
        tls.send(inner())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(30):
            self.origin.feed(bytes(16384))
        self.assertTrue(self.origin.paused)
