"""Tests for L{egress.workers.ipc}."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits, ProxyConfig
from egress.model.authority import Authority, UpstreamProxy
from egress.model.no_proxy import Bypass
from egress.workers.ipc import (
    Channel,
    ChannelLost,
    WorkerSpec,
    adopt,
    notification,
    receive_frame,
    receive_spec,
    send_frame,
    send_spec,
)
from tests.lines import FakeLine, WorkerReactor, frame, frames, take_frames, tell

CONFIG = ProxyConfig(
    authz_url="http://a.test",
    authz_token="hunter2",
    ca_dir=Path("/ca"),
    upstream_https=UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic x"),
    bypass=Bypass.parse("a.test,10.0.0.0/8"),
    allow_address=(ip_network("127.0.0.0/8"),),
    limits=Limits(body=7),
    workers=2,
)


class FrameTests(SynchronousTestCase):
    """Frames before the reactor runs."""

    def test_frames(self) -> None:
        line = FakeLine(3)
        send_frame(line, b"one")  # type: ignore[arg-type]
        send_frame(line, b"")  # type: ignore[arg-type]
        line.incoming = line.sent
        self.assertEqual([receive_frame(line) for _ in range(2)], [b"one", b""])  # type: ignore[arg-type]

    def test_closed_socket(self) -> None:
        for content in (b"", b"\0\0", b"\0\0\0\5four"):
            with self.subTest(content):
                line = FakeLine(3)
                line.incoming, line.open = content, False
                self.assertRaises(ChannelLost, receive_frame, line)

    def test_broken_socket(self) -> None:
        line = FakeLine(3)
        line.error = ConnectionResetError()
        self.assertRaises(ChannelLost, receive_frame, line)

    def test_timeout(self) -> None:
        self.assertRaises(TimeoutError, receive_frame, FakeLine(3))

    def test_oversized_frame_is_rejected_immediately(self) -> None:
        line = FakeLine(3)
        line.incoming = b"HTTP/1.1 400"
        self.assertRaises(ChannelLost, receive_frame, line)

    def test_spec(self) -> None:
        line = FakeLine(3)
        spec = WorkerSpec(
            2, "twisted.internet.epollreactor", CONFIG, (socket.AF_INET, socket.AF_UNIX), shared=(True, False)
        )
        send_spec(line, spec)  # type: ignore[arg-type]
        line.incoming = line.sent
        self.assertEqual(receive_spec(line), spec)  # type: ignore[arg-type]


class ChannelTests(SynchronousTestCase):
    """Messages between two ends of a channel."""

    def setUp(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.lost: list[None] = []
        self.answers: dict[str, Any] = {}

    def open(self, **answers: Any) -> Channel:
        channel = Channel(lambda word, text: self.told.append((word, text)), lambda: self.lost.append(None), answers)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = channel
        channel.makeConnection(self.transport)
        return channel

    def test_notification(self) -> None:
        channel = self.open()
        channel.send("drain")
        channel.send("failed", "why")
        self.assertEqual(
            take_frames(self.transport),
            [{"notification": "drain", "text": ""}, {"notification": "failed", "text": "why"}],
        )
        channel.dataReceived(tell("ready") + tell("failed", "why"))
        self.assertEqual(self.told, [("ready", ""), ("failed", "why")])
        self.assertEqual(frames(frame() + frame(x=1)), [{}, {"x": 1}])
        self.assertEqual(notification("a", "b"), tell("a", "b")[4:])

    def test_request(self) -> None:
        channel = self.open()
        first, second = channel.request("metrics"), channel.request("checks")
        self.assertEqual(take_frames(self.transport), [{"request": "metrics", "id": 1}, {"request": "checks", "id": 2}])
        channel.dataReceived(frame(response={"a": "ok"}, id=2) + frame(response=[1], id=1))
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ([1], {"a": "ok"}))

    def test_request_with_an_argument(self) -> None:
        channel = self.open(revoke=lambda argument: [argument])
        channel.request("revoke", "x")
        self.assertEqual(take_frames(self.transport), [{"request": "revoke", "id": 1, "argument": "x"}])
        channel.dataReceived(frame(request="revoke", id=2, argument={"a": 1}))
        self.assertEqual(take_frames(self.transport), [{"response": [{"a": 1}], "id": 2}])

    def test_response_after_cancellation(self) -> None:
        channel = self.open()
        asked = channel.request("metrics")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        channel.dataReceived(frame(response=[], id=1))
        channel.dataReceived(frame(response=[], id=7))

    def test_responding(self) -> None:
        later: Deferred[str] = Deferred()
        channel = self.open(metrics=lambda: [1], checks=lambda: later, broken=lambda: fail(RuntimeError("no")))
        channel.dataReceived(frame(request="checks", id=1) + frame(request="metrics", id=2))
        channel.dataReceived(frame(request="broken", id=3) + frame(request="unknown", id=4))
        self.assertEqual(take_frames(self.transport), [{"response": [1], "id": 2}])
        later.callback("ok")
        self.assertEqual(take_frames(self.transport), [{"response": "ok", "id": 1}])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError, KeyError)), 2)

    def test_response_that_is_too_long(self) -> None:
        """It is not sent: it would make the other end close the channel."""
        channel = self.open(explain=lambda: "x" * Channel.MAX_LENGTH, metrics=lambda: [1])
        channel.dataReceived(frame(request="explain", id=1) + frame(request="metrics", id=2))
        self.assertEqual(take_frames(self.transport), [{"response": [1], "id": 2}])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.failureResultOf(channel.request("explain", "x" * Channel.MAX_LENGTH), ValueError)
        self.assertEqual(take_frames(self.transport), [])

    def test_closed(self) -> None:
        later: Deferred[str] = Deferred()
        channel = self.open(metrics=lambda: later, checks=lambda: succeed("ok"))
        asked = channel.request("checks")
        channel.dataReceived(frame(request="metrics", id=1))
        channel.close()
        self.failureResultOf(asked, ConnectionDone)
        self.assertEqual(self.lost, [None])
        self.transport.clear()
        channel.send("drain")
        later.callback("too late")
        self.failureResultOf(channel.request("checks"), ConnectionLost)
        self.assertEqual(take_frames(self.transport), [])

    def test_request_before_the_connection(self) -> None:
        channel = Channel(lambda word, text: None, lambda: None)
        channel.send("drain")
        channel.close()
        self.failureResultOf(channel.request("checks"), ConnectionLost)

    def test_frame_that_is_too_long(self) -> None:
        self.open().dataReceived(b"\xff" * 8)
        self.assertFalse(self.transport.connected)

    def test_adopt(self) -> None:
        reactor = WorkerReactor()
        line = FakeLine(9)
        channel = Channel(lambda word, text: None, lambda: None)
        adopt(reactor, line, channel)  # type: ignore[arg-type]
        self.assertIs(reactor.channel(), channel)
        self.assertEqual((line.timeouts, line.closed), ([0.0], True))
        channel.connectionLost(Failure(ConnectionDone()))
