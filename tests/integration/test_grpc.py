"""gRPC clients and servers of grpcio, over intercepted TLS."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any
from unittest import mock

import grpc
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from tests.grpc.descriptor_sets import descriptor_set, user
from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.peers import GOOD, Origins
from tests.integration.processes import free_port

SERVICE = "users.v1.Users"
POLICY = f"""
version = 1
[[rules]]
name = "no-deletions"
action = "deny"
reason = "{{grpc}} is not for test runs: 100 %"
grpc = {{ method = "Delete*" }}
[[rules]]
name = "get-alice"
action = "allow"
grpc = {{ service = "{SERVICE}", method = "Get", fields = {{ name = "alice" }} }}
[[rules]]
name = "calls"
action = "allow"
grpc = {{ service = "{SERVICE}", method = ["Echo", "Watch", "Upload", "Chat", "Slow"] }}
"""
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
MIB = 1024 * 1024
SECONDS = 20.0


class Server(grpc.GenericRpcHandler):
    """A service whose messages are bytes.

    @ivar began: an entry for each call of C{Slow}.
    @ivar ended: an entry for each call of C{Slow} that ended before its response, with its remaining time.
    """

    def __init__(self, origins: Origins) -> None:
        self.began: queue.Queue[None] = queue.Queue()
        self.ended: queue.Queue[float | None] = queue.Queue()
        certificate, key = (
            next(path for path in sorted(origins.directory.glob(f"{GOOD}*.pem")) if ("key" in path.name) is is_key)
            for is_key in (False, True)
        )
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[self], options=SIZES)
        self.port = self._server.add_secure_port(f"{GOOD}:{free_port()}", credentials)
        self.clear_port = self._server.add_insecure_port(f"{GOOD}:{free_port()}")
        self._server.start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop(0).wait()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method."""
        return {
            "Get": grpc.unary_unary_rpc_method_handler(self.echo),
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            "Upload": grpc.stream_unary_rpc_method_handler(self.upload),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
        }.get(details.method.rpartition("/")[2])

    def echo(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """Return the message, with the metadata C{x-id} as trailers."""
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", metadata.get("x-id", "")),))
        if message == b"missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "not here: \xe9")
        return message

    def watch(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Return five messages."""
        for number in range(5):
            yield message + b"%d" % number

    def upload(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Return all messages joined."""
        return b",".join(messages)

    def chat(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Return each message before the client sends the next."""
        for message in messages:
            yield message.upper()

    def slow(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """Wait until the client gives up."""
        over = threading.Event()
        context.add_callback(over.set)
        remaining = context.time_remaining()
        self.began.put(None)
        over.wait(SECONDS)
        self.ended.put(remaining)
        return b""


class GrpcTests(IntegrationTestCase):
    """Calls through the proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Server(self.origins)
        self.addCleanup(self.server.stop)

    def start(self, *options: str) -> Proxy:
        """Start a proxy with the policy."""
        types = self.directory / "users.binpb"
        types.write_bytes(descriptor_set())
        policy = ("--policy", str(self.write("policy.toml", POLICY)), "--grpc-descriptors", str(types))
        return self.start_proxy(*(options or policy))

    def channel(self, proxy: Proxy, *, tls: bool = True) -> Any:
        """Connect a client."""
        credentials = grpc.ssl_channel_credentials(proxy.ca.read_bytes())
        # Clients read the variable when they connect.
        patch = mock.patch.dict(os.environ, {"grpc_proxy": proxy.url})
        patch.start()
        self.addCleanup(patch.stop)
        if tls:
            channel = grpc.secure_channel(f"{GOOD}:{self.server.port}", credentials, options=SIZES)
        else:
            channel = grpc.insecure_channel(f"{GOOD}:{self.server.clear_port}", options=SIZES)
        self.addCleanup(channel.close)
        return channel

    def failure(self, call: Any, *arguments: Any, **options: Any) -> Any:
        """Return the error of a call."""
        return self.assertRaises(grpc.RpcError, call, *arguments, timeout=options.pop("timeout", SECONDS), **options)

    def details(self, error: Any) -> error_details_pb2.ErrorInfo:
        """Return the details of a status."""
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        self.assertEqual(status.code, error.code().value[0])
        info = error_details_pb2.ErrorInfo()
        self.assertTrue(status.details[0].Unpack(info))
        self.assertEqual(info.domain, "egressproxy")
        return info

    def test_without_tls(self) -> None:
        """HTTP/2 with prior knowledge inside CONNECT, and towards the origin."""
        proxy = self.start()
        channel = self.channel(proxy, tls=False)
        echo = channel.unary_unary(f"/{SERVICE}/Echo")
        for message in (b"hello", bytes(MIB)):
            self.assertEqual(echo(message, timeout=SECONDS), message)
        chat = channel.stream_stream(f"/{SERVICE}/Chat")
        self.assertEqual(list(chat(iter((b"a", b"b")), timeout=SECONDS)), [b"A", b"B"])
        error = self.failure(channel.unary_unary(f"/{SERVICE}/Delete"), b"")
        self.assertIs(error.code(), grpc.StatusCode.PERMISSION_DENIED)
        records = self.records(proxy, 4)
        start = f"http://{GOOD}:{self.server.clear_port}/{SERVICE}/"
        self.assertEqual({record["url"].removeprefix(start) for record in records}, {"Echo", "Chat", "Delete"})

    def test_calls(self) -> None:
        """All kinds of calls through one proxy, and the errors of servers."""
        proxy = self.start()
        channel = self.channel(proxy)
        self.kinds_of_calls(proxy, channel)
        self.deadline_and_cancellation(proxy, channel)
        self.origin_without_a_server(proxy)

    def kinds_of_calls(self, proxy: Proxy, channel: Any) -> None:
        """All kinds of calls, with metadata, errors of the server, large messages, and denials."""
        path = f"/{SERVICE}/"

        echo = channel.unary_unary(f"{path}Echo")
        message, call = echo.with_call(b"hello", timeout=SECONDS, metadata=(("x-id", "7"),))
        self.assertEqual(message, b"hello")
        self.assertEqual(dict(call.initial_metadata())["x-first"], "1")
        self.assertEqual(dict(call.trailing_metadata())["x-last"], "7")
        large = os.urandom(4 * MIB)
        self.assertEqual(echo(large, timeout=SECONDS), large)
        self.assertEqual(echo(b"z" * MIB, timeout=SECONDS, compression=grpc.Compression.Gzip), b"z" * MIB)
        error = self.failure(echo, b"missing")
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.NOT_FOUND, "not here: \xe9"))

        self.assertEqual(
            list(channel.unary_stream(f"{path}Watch")(b"m", timeout=SECONDS)), [b"m%d" % number for number in range(5)]
        )
        pieces = [os.urandom(MIB) for _ in range(4)]
        self.assertEqual(channel.stream_unary(f"{path}Upload")(iter(pieces), timeout=SECONDS), b",".join(pieces))

        # Each message is sent after the response to the one before.
        sent: queue.Queue[bytes | None] = queue.Queue()
        answers = channel.stream_stream(f"{path}Chat")(iter(sent.get, None), timeout=SECONDS)
        for message in (b"a", b"b", b"c"):
            sent.put(message)
            self.assertEqual(next(answers), message.upper())
        sent.put(None)
        self.assertEqual(list(answers), [])

        error = self.failure(channel.unary_unary(f"{path}DeleteAll"), b"")
        self.assertIs(error.code(), grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(error.details(), f"{SERVICE}/DeleteAll is not for test runs: 100 %")
        info = self.details(error)
        self.assertEqual((info.reason, info.metadata["ruleId"]), ("DENIED", "no-deletions"))

        get = channel.unary_unary(f"{path}Get")
        self.assertEqual(get(user(name="alice"), timeout=SECONDS), user(name="alice"))
        self.assertEqual(
            get(user(name="alice"), timeout=SECONDS, compression=grpc.Compression.Gzip), user(name="alice")
        )
        error = self.failure(get, user(name="bob"))
        self.assertIs(error.code(), grpc.StatusCode.PERMISSION_DENIED)

        records = self.records(proxy, 11)
        found = [(record["grpc"]["method"], record["grpc"]["status"]) for record in records]
        self.assertEqual(
            found,
            [
                *(("Echo", "OK"), ("Echo", "OK"), ("Echo", "OK"), ("Echo", "NOT_FOUND")),
                *(("Watch", "OK"), ("Upload", "OK"), ("Chat", "OK")),
                *(("DeleteAll", "PERMISSION_DENIED"), ("Get", "OK"), ("Get", "OK"), ("Get", "PERMISSION_DENIED")),
            ],
        )
        self.assertEqual(records[7]["requestId"], info.metadata["requestId"])
        self.assertEqual({record["grpc"]["service"] for record in records}, {SERVICE})

    def deadline_and_cancellation(self, proxy: Proxy, channel: Any) -> None:
        """The server learns the deadline, and the end of the call."""
        before = len(proxy.records())
        slow = channel.unary_unary(f"/{SERVICE}/Slow")
        error = self.failure(slow, b"", timeout=0.5)
        self.assertIs(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        remaining = self.server.ended.get(timeout=SECONDS)
        assert remaining is not None
        # Clients round the time up.
        self.assertLess(remaining, 0.55)
        call = slow.future(b"")
        self.server.began.get(timeout=SECONDS)
        self.server.began.get(timeout=SECONDS)
        call.cancel()
        # Without a deadline, the remaining time is a very long one, or unknown.
        self.assertGreater(self.server.ended.get(timeout=SECONDS) or 1e9, 1e6)
        self.records(proxy, before + 2)

    def test_authorizer_unavailable(self) -> None:
        proxy = self.start("--authz-url", f"http://127.0.0.1:{free_port()}")
        error = self.failure(self.channel(proxy).unary_unary(f"/{SERVICE}/Echo"), b"")
        self.assertIs(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("authorization service", error.details())
        self.assertEqual(self.details(error).reason, "AUTHORIZER_UNAVAILABLE")

    def test_streams_with_an_authorization_service(self) -> None:
        """The service decides before the messages of a stream, which may depend on the responses."""
        url, _ = self.start_authz_service()
        channel = self.channel(self.start("--authz-url", url))
        sent: queue.Queue[bytes | None] = queue.Queue()
        answers = channel.stream_stream(f"/{SERVICE}/Chat")(iter(sent.get, None), timeout=SECONDS)
        sent.put(b"a")
        self.assertEqual(next(answers), b"A")
        sent.put(None)
        self.assertEqual(list(answers), [])

    def origin_without_a_server(self, proxy: Proxy) -> None:
        """The status of an origin that cannot be reached."""
        self.server.stop()
        error = self.failure(self.channel(proxy).unary_unary(f"/{SERVICE}/Echo"), b"")
        self.assertIs(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.details(error).reason, "ORIGIN_UNREACHABLE")
