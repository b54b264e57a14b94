"""Order and backpressure: data is forwarded immediately, does not accumulate, and either end may disconnect."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time

from tests.integration.base import DENY_CLOSED, Proxy
from tests.integration.raw_origin import PATIENCE, RawOrigin, RawOriginTestCase, Script, Wire

MIB = 1024 * 1024
# The capacity of the buffers of four sockets and of the proxy; far less than the data sent.
HELD_UP_TO = 24 * MIB
OFFERED = 256 * MIB


class StreamingTestCase(RawOriginTestCase):
    """Base: an origin that runs a script, over HTTP and HTTPS."""

    def setUp(self) -> None:
        super().setUp()
        self.context = self.tls()
        self.proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_CLOSED)), *self.trust)

    def both(self, script: Script) -> list[tuple[str, RawOrigin, Wire, str]]:
        """For both schemes, return a name, an origin, a client that can request its paths, and the prefix of a path."""
        found = []
        for name, context in (("http", None), ("https", self.context)):
            origin = self.start_origin(script, context)
            found.append((name, origin, self.client(self.proxy, origin), "" if context else origin.url))
        return found

    def client(self, proxy: Proxy, origin: RawOrigin) -> Wire:
        """Connect to the proxy, and for HTTPS through it."""
        tls = origin.url.startswith("https:")
        return self.connect(proxy, f"{origin.host}:{origin.port}" if tls else None, tls=tls)

    def host(self, origin: RawOrigin) -> str:
        """Return the Host field of an origin."""
        return f"Host: {origin.host}:{origin.port}\r\n"


class EventTests(StreamingTestCase):
    """Server-sent events."""

    def test_each_event_is_forwarded_immediately(self) -> None:
        """In lock-step: the origin sends an event only after the client received the previous one."""
        seen = threading.Semaphore(0)

        def events(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(3):
                event = f"data: {number}\n\n"
                wire.send(f"{len(event):x}\r\n{event}\r\n")
                if not seen.acquire(timeout=PATIENCE):
                    return
            wire.send("0\r\n\r\n")

        for name, origin, client, prefix in self.both(events):
            with self.subTest(name):
                client.send(f"GET {prefix}/events HTTP/1.1\r\n{self.host(origin)}\r\n")
                for number in range(3):
                    client.read_until(f"data: {number}\n\n".encode())
                    seen.release()
                client.read_until(b"\r\n0\r\n\r\n")

    def test_an_upload_is_forwarded_immediately(self) -> None:
        """The same in the other direction: the client sends a piece only after the origin received the previous one."""
        seen = threading.Semaphore(0)

        def upload(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            for number in range(3):
                wire.read_until(f"piece {number}".encode())
                seen.release()
            wire.read_until(b"0\r\n\r\n")
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        for name, origin, client, prefix in self.both(upload):
            with self.subTest(name):
                client.send(f"POST {prefix}/up HTTP/1.1\r\n{self.host(origin)}Transfer-Encoding: chunked\r\n\r\n")
                for number in range(3):
                    client.send(f"7\r\npiece {number}\r\n")
                    self.assertTrue(seen.acquire(timeout=PATIENCE), name)
                client.send("0\r\n\r\n")
                self.assertEqual(client.read_message()[1], b"ok")


class BackpressureTests(StreamingTestCase):
    """A slow reader slows the sender, and does not consume memory."""

    forked = False

    def resident(self) -> int:
        """Return the proxy's resident memory, in bytes."""
        return self.proxy.memory("VmRSS")

    def assert_held_up(self, sock: socket.socket) -> None:
        """Send until no more data is accepted for a while, which must happen long before all was sent."""
        piece = b"x" * 65536
        sent = 0
        before = self.resident()
        sock.settimeout(1.0)
        try:
            while sent < OFFERED:
                sent += sock.send(piece)
        except (TimeoutError, ssl.SSLWantWriteError):
            pass
        self.assertLess(sent, HELD_UP_TO)
        self.assertGreater(sent, 0)
        self.assertLess(self.resident() - before, HELD_UP_TO)

    def test_a_client_that_does_not_read(self) -> None:
        ready: list[Wire] = []

        def download(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {OFFERED}\r\n\r\n")
            ready.append(wire)
            leave.wait(PATIENCE)

        leave = threading.Event()
        self.addCleanup(leave.set)
        for name, origin, client, prefix in self.both(download):
            with self.subTest(name):
                client.send(f"GET {prefix}/big HTTP/1.1\r\n{self.host(origin)}\r\n")
                client.read_until(b"\r\n\r\n")
                self.wait_until(lambda: bool(ready), "the answer")
                self.assert_held_up(ready.pop().socket)

    def test_an_origin_that_does_not_read(self) -> None:
        def upload(origin: RawOrigin, wire: Wire) -> None:
            origin.heads.append(wire.read_until(b"\r\n\r\n").decode())
            leave.wait(PATIENCE)

        leave = threading.Event()
        self.addCleanup(leave.set)
        for name, origin, client, prefix in self.both(upload):
            with self.subTest(name):
                client.send(f"POST {prefix}/big HTTP/1.1\r\n{self.host(origin)}Content-Length: {OFFERED}\r\n\r\n")
                self.wait_until(lambda origin=origin: bool(origin.heads), "the request")  # type: ignore[misc]
                self.assert_held_up(client.socket)

    def test_pipelined_requests_do_not_accumulate(self) -> None:
        """While one request waits for its response, later requests stay in the client."""

        def silent(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            leave.wait(PATIENCE)

        leave = threading.Event()
        self.addCleanup(leave.set)
        origin = self.start_origin(silent)
        client = self.client(self.proxy, origin)
        request = f"GET {origin.url}/ HTTP/1.1\r\n{self.host(origin)}\r\n"
        client.send(request)
        self.wait_until(lambda: bool(origin.heads), "the request")
        sent, before = 0, self.resident()
        client.socket.settimeout(1.0)
        try:
            while sent < OFFERED:
                sent += client.socket.send(request.encode() * 1000)
        except TimeoutError:
            pass
        self.assertLess(sent, HELD_UP_TO)
        self.assertLess(self.resident() - before, HELD_UP_TO)
        self.assertEqual(len(origin.heads), 1)


class OrderTests(StreamingTestCase):
    """Pipelining, expectations, and the order of messages."""

    def test_each_pipelined_request_is_decided_separately(self) -> None:
        url, record = self.start_authz_service("DELETE")
        proxy = self.start_proxy("--authz-url", url, *self.trust)

        def echo(origin: RawOrigin, wire: Wire) -> None:
            while True:
                path = origin.request(wire).split(" ")[1]
                wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(path)}\r\n\r\n{path}")

        for context in (None, self.context):
            with self.subTest(tls=context is not None):
                record.write_text("")
                origin = self.start_origin(echo, context)
                client = self.client(proxy, origin)
                prefix = "" if context else origin.url
                host = self.host(origin)
                client.send(
                    f"GET {prefix}/1 HTTP/1.1\r\n{host}\r\n"
                    f"DELETE {prefix}/2 HTTP/1.1\r\n{host}\r\n"
                    f"POST {prefix}/3 HTTP/1.1\r\n{host}Content-Length: 7\r\n\r\ncontent"
                    f"DELETE {prefix}/4 HTTP/1.1\r\n{host}Content-Length: 7\r\n\r\ncontent"
                    f"GET {prefix}/5 HTTP/1.1\r\n{host}\r\n"
                )
                statuses, contents = [], []
                for _ in range(5):
                    head, content = client.read_message()
                    statuses.append(int(head.split(" ")[1]))
                    contents.append(content)
                self.assertEqual(statuses, [200, 403, 200, 403, 200])
                self.assertEqual([contents[index] for index in (0, 2, 4)], [b"/1", b"/3", b"/5"])
                self.assertEqual([head.split(" ")[1] for head in origin.heads], ["/1", "/3", "/5"])
                asked = [json.loads(line)["url"] for line in record.read_text().splitlines()]
                self.assertEqual(asked, [f"{origin.url}/{number}" for number in range(1, 6)])

    def test_a_denied_upload_is_not_asked_for(self) -> None:
        """The final response comes instead of a 100, and the content is never sent (RFC 9110 section 10.1.1)."""
        for name, origin, client, prefix in self.both(lambda origin, wire: None):
            with self.subTest(name):
                client.send(
                    f"PUT {prefix}/closed/door HTTP/1.1\r\n{self.host(origin)}"
                    f"Expect: 100-continue\r\nContent-Length: {OFFERED}\r\n\r\n"
                )
                head, content = client.read_message()
                self.assertTrue(head.startswith("HTTP/1.1 403 "), head)
                self.assertEqual(json.loads(content)["reason"], "this path is closed")
                self.assertEqual(origin.connections, [])

    def test_the_origin_agrees_to_an_upload_itself(self) -> None:
        """The proxy sends no 100 before the origin's own; a rejection by the origin reaches the client in its place."""

        def agree(origin: RawOrigin, wire: Wire) -> None:
            # Not RawOrigin.request: the content arrives only after the 100.
            origin.heads.append(wire.read_until(b"\r\n\r\n").decode())
            agreed.set()
            wire.send("HTTP/1.1 100 Continue\r\n\r\n")
            self.assertEqual(wire.read(7), b"content")
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        def refuse(origin: RawOrigin, wire: Wire) -> None:
            origin.heads.append(wire.read_until(b"\r\n\r\n").decode())
            agreed.set()
            wire.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            wire.read_to_end()

        agreed = threading.Event()
        for script, expected in ((agree, ["100", "200"]), (refuse, ["417"])):
            for name, origin, client, prefix in self.both(script):
                with self.subTest(name, expected=expected):
                    agreed.clear()
                    client.send(
                        f"PUT {prefix}/up HTTP/1.1\r\n{self.host(origin)}"
                        "Expect: 100-continue\r\nContent-Length: 7\r\n\r\n"
                    )
                    head, _ = client.read_message()
                    self.assertTrue(agreed.is_set())
                    found = [head.split(" ")[1]]
                    if found == ["100"]:
                        client.send("content")
                        found.append(client.read_message()[0].split(" ")[1])
                    self.assertEqual(found, expected, name)
                    self.assertIn("expect: 100-continue", origin.heads[0].lower())
                    if script is refuse:
                        self.assertNotIn(b"content", origin.connections[0].received)


class DisconnectTests(StreamingTestCase):
    """Either end disconnects during an exchange."""

    def test_a_client_that_disconnects(self) -> None:
        """The origin connection is closed, and there is one audit record."""
        left = threading.Semaphore(0)

        def begin(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {OFFERED}\r\n\r\nbegin")

        def silent(origin: RawOrigin, wire: Wire) -> None:
            begin(origin, wire)
            wire.read_to_end()
            left.release()

        def steady(origin: RawOrigin, wire: Wire) -> None:
            begin(origin, wire)
            with contextlib.suppress(OSError):
                while True:
                    wire.send("and more")
                    time.sleep(0.05)
            left.release()

        # Until data is sent, a closed connection looks like a half-closed one; a reset does not.
        for script, leave in ((silent, Wire.reset), (steady, Wire.close)):
            for name, origin, client, prefix in self.both(script):
                with self.subTest(name, leave=leave.__name__):
                    client.send(f"GET {prefix}/x HTTP/1.1\r\n{self.host(origin)}\r\n")
                    client.read_until(b"begin")
                    leave(client)
                    self.assertTrue(left.acquire(timeout=PATIENCE), f"{name}, {leave.__name__}")
        self.proxy.process.stop()
        self.assertEqual([record["outcome"] for record in self.proxy.records()], ["client-disconnected"] * 4)

    def test_a_client_that_half_closes(self) -> None:
        """A client that sends no more still gets its response (RFC 9112 section 9.6)."""

        def slow(origin: RawOrigin, wire: Wire) -> None:
            origin.request(wire)
            time.sleep(0.2)
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        origin = self.start_origin(slow)
        client = self.client(self.proxy, origin)
        client.send(f"GET {origin.url}/x HTTP/1.1\r\n{self.host(origin)}\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(client.read_to_end().endswith(b"\r\n\r\nok"))

    def accept_message(self, listener: socket.socket) -> Wire:
        """Accept connections until one carries a message; a readiness check opens one without any."""
        waiting = [listener]
        while True:
            readable, _, _ = select.select(waiting, [], [], PATIENCE)
            self.assertNotEqual(readable, [], "no message")
            for each in readable:
                if each is listener:
                    accepted = listener.accept()[0]
                    self.addCleanup(accepted.close)
                    waiting.append(accepted)
                elif each.recv(1, socket.MSG_PEEK):
                    return Wire(each)
                else:
                    waiting.remove(each)

    def test_a_client_that_disconnects_before_the_decision(self) -> None:
        """Nothing is forwarded for a client that has disconnected, even though the decision is an allow."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        proxy = self.start_proxy(
            "--authz-url", f"http://127.0.0.1:{listener.getsockname()[1]}", "--authz-timeout", "20"
        )
        origin = self.start_origin(lambda origin, wire: None)
        client = self.client(proxy, origin)
        client.send(f"GET {origin.url}/x HTTP/1.1\r\n{self.host(origin)}\r\n")
        service = self.accept_message(listener)
        self.addCleanup(service.close)
        service.read_message()
        client.reset()
        self.wait_until(lambda: bool(proxy.records()), "the record")
        with contextlib.suppress(OSError):  # it is not waited for any more
            service.send('HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"allowed": true}')
        proxy.process.stop()
        (record,) = proxy.records()
        self.assertEqual(record["outcome"], "client-disconnected")
        self.assertEqual(origin.connections, [])

    def test_an_incomplete_request(self) -> None:
        """An incomplete request is neither authorized nor forwarded."""
        url, record = self.start_authz_service()
        proxy = self.start_proxy("--authz-url", url)
        origin = self.start_origin(lambda origin, wire: None)
        for name, tail in (
            ("head", ""),
            ("content", "Content-Length: 10\r\n\r\nhalf"),
            ("chunks", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ):
            with self.subTest(name):
                client = self.client(proxy, origin)
                client.send(f"POST {origin.url}/x HTTP/1.1\r\n{self.host(origin)}{tail}")
                client.socket.shutdown(socket.SHUT_WR)
                client.read_to_end()
        self.assertEqual(record.read_text(), "")
        self.assertEqual(origin.connections, [])
