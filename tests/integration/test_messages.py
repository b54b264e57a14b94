"""Decisions on messages, with the WebSocket client and server of aiohttp, and event streams."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import urllib.request
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, WSMsgType, web

from tests.integration.base import Proxy, plugin, proxy_environment, start_of
from tests.integration.processes import Process, free_port
from tests.integration.raw_origin import RawOriginTestCase

POLICY = """
version = 1
[[rules]]
name = "chat"
action = "allow"
paths = ["/socket", "/events"]

[rules.messages]
default = "allow"

[[rules.messages.rules]]
name = "no-deletes"
action = "deny"
reason = "messages must not be deleted"
types = ["text"]
json = { action = "delete*" }

[[rules.messages.rules]]
name = "no-secrets"
action = "deny"
reason = "this event is secret"
types = ["alert"]
text = ["*secret*"]
"""
EVENTS = [
    ": hello\n\n",
    "event: add\ndata: one\n\n",
    "event: alert\r\ndata: more\r\ndata: lines\r\n\r\n",
    "event: alert\ndata: a SECRET\n\n",
    "event: add\ndata: never seen\n\n",
]
LARGE = json.dumps(" ".join(map(str, range(50_000))))


class MessageOrigin:
    """An aiohttp server in a thread: C{/socket} echoes messages, C{/events} sends events.

    @ivar codes: the close codes that its WebSockets received.
    @ivar received: the messages that it received.
    @ivar heads: the header fields of its requests.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.codes: list[int | None] = []
        self.received: list[str | bytes] = []
        self.heads: list[dict[str, str]] = []
        self.port = free_port()
        self._context = context
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait(20)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/events", self._events)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._context, shutdown_timeout=1)
        self._loop.run_until_complete(site.start())
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def stop(self) -> None:
        """Stop the server."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            self.received.append(message.data)
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        self.codes.append(socket.close_code)
        return socket

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in EVENTS:
            # Cut inside of events.
            await response.write(event[:5].encode())
            await response.write(event[5:].encode())
        return response


class Decider(BaseHTTPRequestHandler):
    """An authorization service that requires message decisions, and denies messages with the word C{deny}."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Decide."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        response: dict[str, Any] = {"allowed": True}
        if asked["stage"] == "request":
            response["messages"] = {"directions": ["client"], "maxSize": 1000}
            response["ruleId"] = "sockets"
        elif "deny" in asked["body"]:
            response = {"allowed": False, "reason": "this word is not allowed"}
        elif "fail" in asked["body"]:
            response = {}
        content = json.dumps(response).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class MessageTests(RawOriginTestCase):
    """Messages of WebSockets, and events."""

    def start_message_origin(self, context: ssl.SSLContext | None = None) -> MessageOrigin:
        """Start an origin."""
        origin = MessageOrigin(context)
        self.addCleanup(origin.stop)
        return origin

    def converse(
        self,
        proxy: Proxy,
        url: str,
        talk: Callable[[ClientWebSocketResponse], Awaitable[None]],
        *,
        compress: int = 0,
    ) -> tuple[int, str]:
        """Use a WebSocket through the proxy.

        @return: the close code and the reason of the Close frame that the client received.
        """

        async def run() -> tuple[int, str]:
            context = ssl.create_default_context(cafile=proxy.ca) if url.startswith("wss") else None
            async with ClientSession(connector=TCPConnector(ssl=context or True)) as session:
                socket = await session.ws_connect(url, proxy=proxy.url, compress=compress)
                self.assertEqual(bool(socket.compress), bool(compress))
                await talk(socket)
                last = await socket.receive(20)
                await socket.close()
                self.assertIs(last.type, WSMsgType.CLOSE)
                return last.data, str(last.extra)

        return asyncio.run(run())

    def test_policy_inside_tls(self) -> None:
        """Compressed messages with context takeover are decided on, and forwarded unchanged."""
        origin = self.start_message_origin(self.tls())
        metrics = free_port()
        policy = str(self.write("policy.toml", POLICY))
        proxy = self.start_proxy(*self.trust, "--policy", policy, "--metrics-port", str(metrics))
        url = f"wss://127.0.0.1:{origin.port}/socket"
        denied = '{"action": "delete-all"}'

        async def talk(socket: ClientWebSocketResponse) -> None:
            for text in ('"hello"', '"hello"', LARGE, '{"action": "read"}'):
                await socket.send_str(text)
                self.assertEqual((await socket.receive(20)).data, text)
            await socket.ping(b"!")
            await socket.send_bytes(b"\xff\0")
            self.assertEqual((await socket.receive(20)).data, b"\xff\0")
            await socket.send_str(denied)

        for compress in (0, 15):
            with self.subTest(compress=compress):
                code, reason = self.converse(proxy, url, talk, compress=compress)
                self.assertEqual((code, reason), (1008, "messages must not be deleted"))
        self.wait_until(lambda: origin.codes == [1008, 1008], f"the origin gets the Close frame: {origin.codes}", 5)
        self.assertNotIn(denied, origin.received)
        self.assertEqual(len(origin.received), 10)
        self.assertEqual(origin.heads[0]["accept-encoding"], "identity")
        records = self.records(proxy, 4)
        self.assertEqual(
            sorted((one["stage"], one["verdict"], one["outcome"], one["ruleId"]) for one in records),
            [("message", "deny", "message-denied", "chat/no-deletes")] * 2
            + [("request", "allow", "message-denied", "chat")] * 2,
        )
        exchange = next(one for one in records if one["stage"] == "request")
        ids = {one["requestId"] for one in records}
        self.assertIn(f"{exchange['requestId']}.client.6", ids)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as response:
            text = response.read().decode()
        for verdict, sender, number in (("allow", "client", 10), ("allow", "origin", 10), ("deny", "client", 2)):
            sample = f'egress_messages_total{{direction="{sender}",kind="websocket",verdict="{verdict}"}} {number}.0'
            self.assertIn(sample, text)

    def test_events_over_http2(self) -> None:
        origin = self.start_message_origin(self.tls())
        proxy = self.start_proxy(*self.trust, "--policy", str(self.write("policy.toml", POLICY)))
        url = f"https://127.0.0.1:{origin.port}/events"
        found = self.curl(proxy, "-sSN", "--http2", "-w", "%{http_version} %{exitcode}", url)
        self.assertEqual((found.returncode, found.stderr), (0, ""))
        self.assertTrue(found.stdout.endswith(": this event is secret\n\n2 0"), found.stdout)
        self.assertNotIn("SECRET", found.stdout)

    def test_service_of_a_policy_and_an_event_stream(self) -> None:
        origin = self.start_message_origin()
        port = free_port()
        arguments = plugin(
            *("egressauthz", "--listen", f"tcp:{port}:interface=127.0.0.1"),
            *("--policy", str(self.write("policy.toml", POLICY))),
        )
        service = Process(arguments, self.directory, "egressauthz", proxy_environment(), start=start_of({}))
        self.addCleanup(self.stop_cleanly, service)
        service.wait_for_port(port)
        proxy = self.start_proxy("--authz-url", f"http://127.0.0.1:{port}")
        found = self.curl(proxy, "-sSN", "--compressed", f"http://127.0.0.1:{origin.port}/events")
        self.assertEqual((found.returncode, found.stderr), (0, ""))
        expected = "".join(EVENTS[:3]) + ": this event is secret\n\n"
        self.assertEqual(found.stdout.replace("\r\n", "\n"), expected.replace("\r\n", "\n"))
        self.assertEqual(origin.heads[0]["accept-encoding"], "identity")
        records = {one["stage"]: one for one in self.records(proxy, 2)}
        message, exchange = records["message"], records["request"]
        self.assertEqual(
            (message["requestId"], message["ruleId"]), (f"{exchange['requestId']}.origin.3", "chat/no-secrets")
        )
        self.assertEqual((exchange["status"], exchange["outcome"]), (200, "message-denied"))

    def test_any_service(self) -> None:
        origin = self.start_message_origin()
        server = ThreadingHTTPServer(("127.0.0.1", 0), Decider)
        asked: list[dict[str, Any]] = []
        server.asked = asked  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        proxy = self.start_proxy("--authz-url", f"http://127.0.0.1:{server.server_port}")
        url = f"ws://127.0.0.1:{origin.port}/socket"

        def sending(*messages: str | bytes) -> Callable[[ClientWebSocketResponse], Awaitable[None]]:
            async def talk(socket: ClientWebSocketResponse) -> None:
                async def send(message: str | bytes) -> None:
                    await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

                *fine, last = messages
                for message in fine:
                    await send(message)
                for message in fine:
                    self.assertEqual((await socket.receive(20)).data, message)
                await send(last)

            return talk

        many = [f"message {number}" for number in range(200)]
        for last, code, reason in (
            ("deny", 1008, "this word is not allowed"),
            ("fail", 1013, "the authorization service sent an invalid response: 'allowed' is missing"),
            ("y" * 1001, 1009, "a WebSocket message is longer than 1000 bytes"),
        ):
            with self.subTest(code):
                self.assertEqual(self.converse(proxy, url, sending(*many, b"\xff", last)), (code, reason))
        exchange, *messages = asked[: 1 + 202]
        # Up to eight at the same time, so their order can change on the way.
        messages.sort(key=lambda one: one["message"]["sequence"])
        self.assertEqual([one["body"] for one in messages[:200]], many)
        first, binary = messages[0], messages[200]
        self.assertEqual(
            first["message"],
            {"kind": "websocket", "direction": "client", "type": "text", "sequence": 1, "ruleId": "sockets"},
        )
        self.assertEqual(first["requestId"], exchange["requestId"])
        self.assertEqual(
            (binary["body"], binary["bodyEncoding"], binary["message"]["type"]), ("/w==", "base64", "binary")
        )
