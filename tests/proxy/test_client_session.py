"""Tests for L{egress.proxy.client_session}."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost

from egress.config.model import Limits
from egress.http.body import MAX_CHUNKS, encode_chunk
from egress.model.errors import AuthorizerUnavailable
from egress.observability.audit_log import audit_line
from egress.proxy.client_auth import ClientAuthPolicy
from egress.proxy.http1_stream import Http1Stream
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.transport.fair_turns import PIECES
from egress.transport.lingering_close import LINGER_BYTES, LINGER_SECONDS
from tests.proxy.fakes import ProxyTestCase, allow, broken, content_of, deny, request, response, session_of, status_of
from tests.proxy.test_client_auth import FakeAuthenticator
from tests.untyped import untyped


class KeepAliveTests(ProxyTestCase):
    """Several requests on one connection, each with its own decision."""

    def test_two_sequential_requests(self) -> None:
        for path in ("/a", "/b"):
            self.client.feed(request(url=f"http://origin.test{path}"))
            self.origin.feed(response(path.encode()))
            self.assertTrue(self.client.take().endswith(path.encode()))
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["http://origin.test/a", "http://origin.test/b"]
        )
        self.assertEqual(len(self.dialer.origins), 1, "the second request uses the same connection")
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])
        self.assertFalse(self.client.disconnecting)
        self.assertTrue(self.client.no_delay)

    def test_pipelined_requests_are_processed_one_at_a_time(self) -> None:
        self.client.feed(b"".join(request(url=f"http://origin.test/{n}") for n in range(3)))
        self.assertEqual(len(self.authorizer.asked), 1, "no request is authorized before its turn")
        self.assertTrue(self.client.paused)
        for n in range(3):
            self.assertIn(b"GET /%d HTTP/1.1\r\n" % n, self.origin.take())
            self.origin.feed(response(b"%d" % n))
        answers = self.client.take()
        self.assertEqual([answers.count(b"\r\n\r\n%d" % n) for n in range(3)], [1, 1, 1])
        self.assertEqual(len(self.authorizer.asked), 3)
        self.assertFalse(self.client.paused)

    def test_each_pipelined_request_gets_its_own_decision(self) -> None:
        self.authorizer.answers = [allow(), deny("no second"), allow()]
        self.client.feed(b"".join(request(url=f"http://origin.test/{n}") for n in range(3)))
        self.origin.feed(response(b"first"))
        self.assertIn(b"GET /2 ", self.origin.take())
        self.assertNotIn(b"GET /1 ", self.origin.written)
        self.origin.feed(response(b"third"))
        answers = self.client.take()
        self.assertEqual(
            [answers.index(part) for part in (b"first", b"no second", b"third")],
            sorted(answers.index(part) for part in (b"first", b"no second", b"third")),
        )
        self.assertEqual(self.outcomes(), ["forwarded", "denied", "forwarded"])

    def one_turn(self) -> None:
        """Run one turn of the reactor; jobs that wait for the next turn use up their time."""
        self.patch(self.proxy.parts.turns, "_time_slice", -1.0)
        due: list[Any] = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
        for call, func in [(call, call.func) for call in due]:
            call.cancel()
            func()

    def test_one_pipelined_request_in_each_turn(self) -> None:
        self.authorizer.answers = [deny() for _ in range(3)]
        self.client.protocol.dataReceived(request() * 3)
        self.assertEqual(len(self.records), 1)
        self.assertTrue(self.client.paused, "reading is paused while requests are buffered")
        self.one_turn()
        self.assertEqual(len(self.records), 2)
        self.one_turn()
        self.assertEqual(len(self.records), 3)
        self.assertFalse(self.client.paused)

    def test_another_client_is_served_between_pipelined_requests(self) -> None:
        self.authorizer.answers = [deny("one"), deny("other"), deny("two")]
        other = self.connect()
        self.client.protocol.dataReceived(request() * 2)
        other.protocol.dataReceived(request())
        self.assertEqual([record.reason for record in self.records], ["one", "other"])
        self.clock.advance(0)
        self.assertEqual(len(self.records), 3)

    def test_turns_use_the_key_of_per_client_limits(self) -> None:
        """IPv6 clients count by /64, whatever name or port they have; also for data from their origins."""
        waiting = self.proxy.parts.turns._waiting  # noqa: SLF001 - nothing else shows for whom a job waits
        self.authorizer.answers = [*(deny() for _ in range(6)), allow()]
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            self.connect(address).protocol.dataReceived(request() * 2)
        counts = {client: len(jobs) for client, jobs in waiting.items()}
        self.assertEqual(counts, {"2001:db8::/64": 2, "2001:db8:0:1::/64": 1})
        self.clock.advance(0)
        self.assertEqual(list(waiting), [])
        self.connect("2001:db8::3").feed(request())
        self.origin.protocol.dataReceived(b"HTTP/1.1 102 Processing\r\n\r\n" * 50)
        self.assertEqual(list(waiting), ["2001:db8::/64"])

    def test_tiny_chunks_wait_for_their_turn(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked"))
        self.origin.take()
        self.client.protocol.dataReceived(b"1\r\na\r\n" * 1000 + b"0\r\n\r\n")
        self.assertEqual(self.origin.take().count(b"a" * MAX_CHUNKS), PIECES)
        self.assertTrue(self.client.paused)
        self.clock.advance(0)
        self.assertTrue(self.origin.take().endswith(b"a\r\n0\r\n\r\n"))
        self.assertFalse(self.client.paused)

    def test_waiting_requests_of_a_lost_client_are_dropped(self) -> None:
        self.authorizer.answers = [deny() for _ in range(3)]
        self.client.protocol.dataReceived(request() * 3)
        self.client.lose()
        self.clock.advance(0)
        self.assertEqual(len(self.records), 1)

    def test_waiting_requests_at_shutdown(self) -> None:
        self.authorizer.answers = [deny() for _ in range(3)]
        self.client.protocol.dataReceived(request() * 3)
        self.proxy.parts.sessions.draining = True
        drained = self.proxy.parts.sessions.drain()
        self.clock.advance(0)
        self.assertEqual(len(self.records), 2)
        self.assertIn(b"Connection: close\r\n", self.client.written)
        self.successResultOf(drained)

    @given(st.lists(st.integers(1, 60), max_size=30), st.lists(st.integers(0, 3), max_size=8))
    @settings(max_examples=100, deadline=None)
    def test_any_split_of_the_input(self, cuts: list[int], kinds: list[int]) -> None:
        self.build()
        self.authorizer.needs_body = True
        chunks = b"".join(encode_chunk(b"a") for _ in range(200)) + b"0\r\n\r\n"
        upload = request("POST", "http://origin.test/", "Transfer-Encoding: chunked") + chunks
        parts = (request(), request("POST", body=b"x" * 300), upload, b"\r\n" + request(url="/none"))
        data = b"".join(parts[kind] for kind in kinds)
        self.authorizer.answers = [deny() for _ in kinds]
        at = 0
        for cut in [*cuts, len(data)]:
            self.client.feed(data[at : at + cut])
            at += cut
        outcomes = ["bad-request" if kind == 3 else "denied" for kind in kinds]
        self.assertEqual(self.outcomes(), outcomes)
        self.assertEqual([record.bytes_sent for record in self.records], [0] * len(kinds))
        self.assertFalse(self.client.disconnecting or self.client.paused)
        contents = [asked.body and len(asked.body) for asked in self.authorizer.asked]
        self.assertEqual(contents, [(None, 300, 200)[kind] for kind in kinds if kind < 3])
        self.client.lose()

    def test_many_pipelined_denials_do_not_exhaust_the_stack(self) -> None:
        self.authorizer.answers = [deny() for _ in range(2000)]
        self.client.feed(request() * 2000)
        self.assertEqual(len(self.records), 2000)

    def test_no_further_request_while_the_client_does_not_read(self) -> None:
        self.authorizer.answers = [deny() for _ in range(3)]
        self.client.choke()
        self.client.feed(request() * 3)
        self.assertEqual(self.records, [])
        self.assertTrue(self.client.paused)
        self.client.unchoke()
        self.assertEqual(len(self.records), 3)

    def test_connection_close_is_honoured(self) -> None:
        self.client.feed(request("GET", "http://origin.test/", "Connection: close"))
        self.origin.feed(response())
        self.assertIn(b"Connection: close\r\n", self.client.written)
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.client.aborted)

    def test_an_http10_client_gets_the_connection_closed(self) -> None:
        self.client.feed(request(version="1.0"))
        self.origin.feed(response())
        self.assertTrue(self.client.disconnected)

    def test_an_http10_client_may_ask_for_keep_alive(self) -> None:
        self.client.feed(request("GET", "http://origin.test/", "Proxy-Connection: keep-alive", version="1.0"))
        self.origin.feed(response())
        self.assertIn(b"Connection: keep-alive\r\n", self.client.take())
        self.assertFalse(self.client.disconnecting)

    def test_an_idle_connection_is_closed(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        self.clock.advance(74)
        self.assertFalse(self.client.disconnecting)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"], "without a request nothing is recorded")

    def test_a_connection_without_a_request_is_closed(self) -> None:
        self.clock.advance(30)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.client.written, b"")
        self.assertEqual(self.records, [])


MARK = "hunter2"

# Malformed or unusual URLs with a password, which must not be logged. "{}" is an authority or similar.
MARKED_URLS = (
    *(f"http://u:{MARK}@{{}}/", f"http://{MARK}@{{}}/", f"http://u:{MARK}@{{}}", f"http://u:{MARK}@@{{}}/"),
    *(f"http://u:{MARK}/x@{{}}/", f"http://u:x/{MARK}@{{}}/", f"http://u:{MARK}?x@{{}}/", f"http://u:x?{MARK}@{{}}/"),
    *(
        f"http://u:{MARK}#x@{{}}/",
        f"http://u:x#{MARK}@{{}}/",
        f"http://u:{MARK}\\\\@{{}}/",
        f"http://u:x\\\\{MARK}@{{}}/",
    ),
    *(f"http://u:[{MARK}@{{}}/", f"http://[u:{MARK}@{{}}/", f"http://u:{MARK}%40{{}}/", f"http://u:{MARK}:x@{{}}:x/"),
    *(f"http:/u:{MARK}@{{}}/", f"http:u:{MARK}@{{}}/", f"//u:{MARK}@{{}}/", f"u:{MARK}@{{}}", f"u:{MARK}@{{}}/a"),
    *(f"ftp://u:{MARK}@{{}}/", f"://u:{MARK}@{{}}/", f"http://u:{MARK}@", f"http://u:{MARK}@/"),
    *(f"https://u:{MARK}@{{}}/", f"wss://u:{MARK}@{{}}/", f"HTTP://u:{MARK}@{{}}:99999/", f"http://u:{MARK}@{{}}:x/"),
    *(f"http://u:\xff{MARK}@{{}}/", f"http://u:{MARK}@\xff/", f"http://u:{MARK}@a..b/", f"http://u:{MARK}@1.2.3.4.5/"),
    *(
        f"http://u:{MARK}@[::1/",
        f"http://u:{MARK}@256.1.1.1/",
        f"http://u:{MARK}@b\u00fc_x/",
        f"http://u:9{MARK}/@{{}}/",
    ),
)


class PasswordTests(ProxyTestCase):
    """The password of a malformed URL appears in no reason, response or audit record."""

    def check(self, sent: bytes) -> None:
        self.client.feed(sent)
        for wire in self.dialer.origins:
            self.assertNotIn(MARK.encode(), wire.written.split(b" ", 2)[-1], sent)
            wire.feed(response())
        self.assertTrue(self.records, sent)
        self.assertNotIn(MARK.encode(), self.client.take(), sent)
        for record in self.records:
            self.assertNotIn(MARK, record.reason, sent)
            self.assertNotIn(MARK.encode(), audit_line(record), sent)

    def test_on_the_listening_port(self) -> None:
        for url in MARKED_URLS:
            for method in ("GET", "CONNECT", "OPTIONS", "G(T"):
                with self.subTest(url, method=method):
                    self.setUp()
                    self.check(
                        f"{method} {url.format('origin.test')} HTTP/1.1\r\nHost: origin.test\r\n\r\n".encode("latin-1")
                    )

    def test_inside_a_tunnel(self) -> None:
        for url in MARKED_URLS:
            if url.startswith("/"):
                continue  # in a tunnel this is a path, and is forwarded
            for host in ("origin.test", "other.test"):
                with self.subTest(url, host=host):
                    self.setUp()
                    self.client.feed(b"CONNECT origin.test:80 HTTP/1.1\r\n\r\n")
                    self.client.take()
                    self.check(f"GET {url.format(host)} HTTP/1.1\r\nHost: origin.test\r\n\r\n".encode("latin-1"))

    def test_in_host(self) -> None:
        for value in (
            f"u:{MARK}@origin.test",
            f"{MARK}@",
            f"u:{MARK}",
            f"[{MARK}",
            f"{MARK}..b",
            f"u:{MARK}/x@b",
            f"{MARK} a",
        ):
            with self.subTest(value):
                self.setUp()
                self.client.feed(b"CONNECT origin.test:80 HTTP/1.1\r\n\r\n")
                self.client.take()
                self.check(f"GET / HTTP/1.1\r\nHost: {value}\r\n\r\n".encode())

    def test_in_other_fields(self) -> None:
        for field in (
            *(f"Proxy-Authorization: Basic {MARK}!", f"Content-Length: {MARK}", f"Transfer-Encoding: {MARK}"),
            *(f"Expect: {MARK}\r\n {MARK}", f"{MARK} : a", f"{MARK}", f"Host: u:{MARK}@b"),
        ):
            with self.subTest(field):
                self.setUp()
                self.check(f"POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n".encode())


class FaultTests(ProxyTestCase):
    """Requests that are never forwarded."""

    def refused(self, data: bytes, status: int, outcome: str) -> dict[str, object]:
        self.client.feed(data)
        self.assertEqual(status_of(self.client.written), status)
        self.assertEqual(self.outcomes(), [outcome])
        self.assertEqual(self.authorizer.asked, [])
        self.assertEqual(self.dialer.checked, [])
        problem: dict[str, object] = json.loads(content_of(self.client.take()))
        self.assertEqual(problem["decisionId"], self.records[0].request_id)
        return problem

    def test_garbage(self) -> None:
        self.refused(b"\x16\x03\x01\x02\x00\x01", 400, "bad-request")
        self.assertTrue(self.client.disconnected)

    def test_a_request_for_an_origin_server(self) -> None:
        problem = self.refused(request(url="/index.html"), 400, "bad-request")
        self.assertIn("this is a proxy", str(problem["reason"]))
        self.assertFalse(self.client.disconnecting, "the connection stays open")
        self.assertEqual((self.records[0].method, self.records[0].url), ("GET", "/index.html"))

    def test_an_https_url(self) -> None:
        self.refused(request(url="https://origin.test/"), 400, "invalid-target")

    def test_an_invalid_host(self) -> None:
        self.refused(request(url="http://x..y/"), 400, "invalid-target")

    def test_a_head_over_the_limit(self) -> None:
        self.refused(request("GET", "http://origin.test/", "X: " + "x" * 70000), 431, "head-too-large")
        self.assertEqual(self.records[0].client.address, "198.51.100.7")

    def test_a_target_over_the_limit(self) -> None:
        self.refused(request(url="http://origin.test/" + "x" * 17000), 414, "target-too-long")

    def test_an_unsupported_version(self) -> None:
        self.refused(request(version="2.0"), 505, "version-not-supported")

    def test_the_content_of_a_rejected_request_is_read_to_its_end(self) -> None:
        self.client.polite = False
        self.refused(request("POST", "/x", body=b"x" * 100)[:-50], 400, "bad-request")
        self.assertFalse(self.client.disconnecting)
        self.client.feed(b"x" * 49)
        self.assertFalse(self.client.disconnecting)
        self.client.feed(b"x")
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.client.aborted)
        self.assertEqual(len(self.records), 1)

    def test_a_slow_head_times_out(self) -> None:
        self.clock.advance(20)
        self.client.feed(b"GET http://origin.test/ HT")
        for _ in range(3):
            self.clock.advance(9)
            self.client.feed(b"T")
        self.assertEqual(self.client.written, b"")
        self.clock.advance(3)
        self.clock.advance(0)
        self.assertEqual(status_of(self.client.written), 408)
        self.assertEqual(self.outcomes(), ["request-timeout"])
        self.assertTrue(self.client.disconnected)

    def test_a_slow_second_head_times_out(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        self.client.feed(b"GET ")
        self.clock.advance(30)
        self.assertEqual(self.outcomes(), ["forwarded", "request-timeout"])

    def test_garbage_after_a_request(self) -> None:
        self.client.feed(request() + b"\x00\x00\r\n\r\n")
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded", "bad-request"])
        self.assertTrue(self.client.disconnected)


class DenialTests(ProxyTestCase):
    """The connection after a response that the proxy generates."""

    def test_a_denial_keeps_the_connection(self) -> None:
        self.authorizer.answers = [deny("because")]
        self.client.feed(request())
        answer = self.client.take()
        self.assertEqual(status_of(answer), 403)
        self.assertIn(b"Connection: keep-alive\r\n", answer)
        self.assertIn(b"Proxy-Status: egressproxy; error=http_request_denied", answer)
        problem = json.loads(content_of(answer))
        self.assertEqual((problem["reason"], problem["stage"], problem["decisionId"]), ("because", "authz", "id-1"))
        self.client.feed(request())
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertEqual(self.outcomes(), ["denied", "forwarded"])

    def test_a_denied_head_request_gets_no_content(self) -> None:
        self.authorizer.answers = [deny()]
        self.client.feed(request("HEAD"))
        self.assertEqual(content_of(self.client.take()), b"")

    def test_a_client_that_prefers_text_gets_text(self) -> None:
        self.authorizer.answers = [deny("because")]
        self.client.feed(request("GET", "http://origin.test/", "Accept: text/plain"))
        self.assertIn(b"Content-Type: text/plain", self.client.written)

    def linger(self) -> None:
        """Have an incomplete request denied."""
        self.client.polite = False
        self.authorizer.needs_body = False
        self.authorizer.answers = [deny()]
        self.client.feed(request("POST", "http://origin.test/", "Content-Length: 100000000"))
        self.assertIn(b"Connection: close\r\n", self.client.written)
        self.assertFalse(self.client.disconnecting)

    def test_unread_content_is_discarded_for_a_limited_time(self) -> None:
        self.linger()
        self.client.feed(b"x" * 1000)
        self.clock.advance(LINGER_SECONDS)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["denied"])
        self.assertEqual(self.dialer.dialled, [])

    def test_unread_content_is_discarded_up_to_a_limit(self) -> None:
        self.linger()
        for _ in range(16):
            self.client.feed(b"x" * (LINGER_BYTES // 16))
        self.assertFalse(self.client.disconnecting)
        self.client.feed(b"x")
        self.assertTrue(self.client.aborted)

    def test_content_received_before_the_decision(self) -> None:
        self.authorizer.needs_body = False
        decision = self.authorizer.pending()
        self.client.feed(request("POST", "http://origin.test/", "Content-Length: 1000") + b"x" * 1000)
        self.assertTrue(self.client.paused)
        decision.callback(deny())
        # Otherwise a TLS layer, which waits for the client's end, could not read it.
        self.assertFalse(self.client.paused)
        self.assertTrue(self.client.write_closed)

    def test_malformed_content_after_the_response_closes(self) -> None:
        self.authorizer.needs_body = False
        self.authorizer.answers = [deny()]
        self.client.feed(request("POST", "http://origin.test/", "Transfer-Encoding: chunked"))
        self.client.feed(b"nonsense\r\n")
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["denied"])

    def test_data_after_the_close_is_not_buffered(self) -> None:
        # Over TLS, data still arrives while the proxy waits for the closing alert.
        self.client.feed(request("GET", "/", "Connection: close"))
        session = session_of(self.client)
        session.dataReceived(b"x" * 1000)
        self.assertEqual(session._reader.buffered, 0)  # noqa: SLF001


class CloseTests(ProxyTestCase):
    """Clients that disconnect, and the shutdown of the proxy."""

    def test_a_half_closed_client_gets_its_response(self) -> None:
        self.client.feed(request())
        self.client.end()
        self.assertFalse(self.client.disconnecting)
        self.origin.feed(response(b"late"))
        self.assertTrue(self.client.take().endswith(b"late"))
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_a_half_closed_client_gets_pipelined_responses(self) -> None:
        self.client.feed(request() + request())
        self.client.end()
        self.origin.feed(response(b"one"))
        self.origin.feed(response(b"two"))
        self.assertTrue(self.client.take().endswith(b"two"))
        self.assertTrue(self.client.disconnected)

    def test_a_denial_after_a_half_close(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.client.end()
        decision.callback(deny())
        self.clock.advance(0)
        self.assertIn(b"Connection: close\r\n", self.client.written)
        self.assertTrue(self.client.disconnected)

    def test_a_half_close_inside_content(self) -> None:
        self.client.feed(request("POST", "http://origin.test/", "Content-Length: 10"))
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["client-disconnected"])
        self.assertEqual(self.dialer.dialled, [])

    def test_a_half_close_between_requests(self) -> None:
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.records, [])

    def test_write_connection_lost_is_ignored(self) -> None:
        session_of(self.client).writeConnectionLost()
        session_of(self.client).stopProducing()
        self.assertFalse(self.client.disconnecting)

    def test_writing_to_a_lost_client(self) -> None:
        session = session_of(self.client)
        self.client.lose()
        session.write(b"x")
        session.close()
        session.pause_reading()
        session.resume_reading()
        self.assertEqual(self.client.written, b"")

    def test_a_close_times_out(self) -> None:
        self.client.choke()
        session_of(self.client).close()
        self.clock.advance(self.proxy.limits.idle_timeout)
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)

    def test_draining_closes_an_idle_connection(self) -> None:
        self.client.feed(request())
        self.origin.feed(response())
        self.proxy.parts.sessions.draining = True
        drained = self.proxy.parts.sessions.drain()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.successResultOf(drained)
        session_of(self.client).drain()

    def test_draining_waits_for_a_first_request(self) -> None:
        """A client that has just connected is not cut before the proxy has read its request."""
        self.proxy.parts.sessions.draining = True
        drained = self.proxy.parts.sessions.drain()
        self.clock.advance(FIRST_REQUEST_SECONDS / 2)
        self.client.feed(request())
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.successResultOf(drained)

    def test_draining_waits_briefly(self) -> None:
        self.proxy.parts.sessions.draining = True
        drained = self.proxy.parts.sessions.drain()
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.successResultOf(drained)

    def test_draining_lets_an_exchange_finish(self) -> None:
        self.client.feed(request())
        self.proxy.parts.sessions.draining = True
        drained = self.proxy.parts.sessions.drain()
        self.assertNoResult(drained)
        self.origin.feed(response())
        self.assertIn(b"Connection: close\r\n", self.client.written)
        self.successResultOf(drained)

    def test_remaining_sessions_are_aborted_after_draining(self) -> None:
        self.client.feed(request())
        self.proxy.parts.sessions.abort()
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["client-disconnected"])


class IdentityTests(ProxyTestCase):
    """The identity of a client."""

    def test_the_name_in_the_credentials_is_unverified(self) -> None:
        value = base64.b64encode(b"runner-7:secret").decode()
        self.client.feed(request("GET", "http://origin.test/", f"Proxy-Authorization: Basic {value}"))
        client = self.authorizer.asked[0].client
        self.assertEqual((client.address, client.port, client.identity), ("198.51.100.7", 40000, "runner-7"))
        self.assertNotIn(b"Proxy-Authorization", self.origin.written)
        self.assertNotIn((b"Proxy-Authorization", f"Basic {value}".encode()), self.authorizer.asked[0].headers)

    def test_the_name_may_change_from_request_to_request(self) -> None:
        for name in ("one", "two"):
            value = base64.b64encode(name.encode() + b":x").decode()
            self.client.feed(request("GET", "http://origin.test/", f"Proxy-Authorization: Basic {value}"))
            self.origin.feed(response())
        self.assertEqual([asked.client.identity for asked in self.authorizer.asked], ["one", "two"])
        self.assertEqual(len(self.dialer.origins), 2, "the clients share no connection")


class InternalErrorTests(ProxyTestCase):
    """An internal error ends one connection; no client hangs, and every request is recorded."""

    def test_an_authorizer_that_raises(self) -> None:
        for pooled in (False, True):
            with self.subTest(pooled=pooled):
                self.authorizer.answers = [broken]
                dialled = len(self.dialer.dialled)
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), 503)
                self.assertEqual(self.outcomes()[-1], "authorizer-unavailable")
                self.assertEqual(len(self.dialer.dialled), dialled)
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
                self.client.feed(request())
                self.origin.feed(response())
                self.client.take()

    def test_an_authorizer_that_raises_on_content(self) -> None:
        self.authorizer.answers = [broken]
        self.client.feed(request("POST", body=b"abc"))
        self.assertEqual(status_of(self.client.take()), 503)
        self.assertEqual(self.dialer.dialled, [])
        self.flushLoggedErrors(RuntimeError)

    def test_an_authorizer_with_invalid_results(self) -> None:
        from egress.model.decision import Decision

        nonsense: list[object] = [None, True, "allow"]
        nonsense += untyped(Decision, "allow", "x", "y") + untyped(Decision, allow().verdict, None, "y")
        for answer in nonsense:
            with self.subTest(repr(answer)):
                self.authorizer.answers = [lambda answer=answer: answer]
                self.client.feed(request())
                self.assertEqual(status_of(self.client.take()), 503)
        self.assertEqual(self.outcomes(), ["authorizer-unavailable"] * len(nonsense))
        self.assertEqual({record.verdict for record in self.records}, {"unavailable"})
        self.assertEqual(self.dialer.dialled, [])

    def test_an_authorizer_that_fails_as_its_contract_allows(self) -> None:
        self.authorizer.answers = [AuthorizerUnavailable("it is down")]
        self.client.feed(request())
        self.assertEqual(status_of(self.client.written), 503)
        self.assertIn(b"it is down", self.client.written)
        self.assertEqual(self.records[0].decided_by, "script")
        self.assertFalse(self.client.disconnecting)

    def test_a_dialer_that_raises(self) -> None:
        self.patch(self.dialer, "check", broken)
        self.client.feed(request())
        self.assertEqual(status_of(self.client.take()), 500)
        self.assertEqual(self.outcomes(), ["internal-error"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_error_in_the_session(self) -> None:
        authenticator = FakeAuthenticator()
        self.patch(authenticator, "check", broken)
        client = self.proxy.client(auth_policy=ClientAuthPolicy(authenticator))
        client.feed(request())
        self.assertEqual(status_of(client.written), 500)
        self.assertTrue(client.disconnecting or client.disconnected)
        self.assertEqual(self.outcomes(), ["internal-error"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        client.lose()

    def test_an_error_after_the_end_of_an_exchange_aborts_the_connection(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(request())

        self.patch(Http1Stream, "fail", broken)
        decision.callback(deny())
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["denied"])
        self.flushLoggedErrors(RuntimeError)

    def test_an_error_in_an_error_response(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(request())
        self.patch(Http1Stream, "fail", broken)
        decision.errback(AuthorizerUnavailable("down"))
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["authorizer-unavailable"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_broken_client_connection(self) -> None:
        self.client.feed(request())
        self.client.lose(ConnectionLost())
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-disconnected"])
        self.assertTrue(self.origin.disconnected)


class LimitTests(ProxyTestCase):
    """The configured limits apply."""

    def setUp(self) -> None:
        self.build(limits=Limits(head_timeout=1.0, idle_timeout=2.0))

    def test_head_timeout(self) -> None:
        self.client.feed(b"G")
        self.clock.advance(1)
        self.assertEqual(self.outcomes(), ["request-timeout"])
