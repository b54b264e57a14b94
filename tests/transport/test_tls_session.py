"""Tests for L{egress.transport.tls_session}."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.transport.idle_buffers import IDLE_SECONDS, IdleBuffers
from egress.transport.tls_session import WRITE_BYTES, DirectSession, TlsSession, is_unexpected_end, session_of
from tests.transport.tls import client_context, leaves


def _exchange(one: SSL.Connection, other: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(1 << 16))


def connections() -> tuple[SSL.Connection, SSL.Connection]:
    """A client and a server before their handshake."""
    client = SSL.Connection(client_context(), None)
    client.set_connect_state()
    server = SSL.Connection(leaves().context_for(Authority("origin.test", 443)), None)
    server.set_accept_state()
    return client, server


def connected() -> tuple[SSL.Connection, SSL.Connection]:
    """A client and a server after their handshake; the client has not read the session tickets."""
    client, server = connections()
    for one, other in 2 * ((client, server), (server, client)):
        with contextlib.suppress(SSL.WantReadError):
            one.do_handshake()
        _exchange(one, other)
    return client, server


class TlsSessionTests(SynchronousTestCase):
    """Both kinds of session do the same."""

    def sessions(self) -> Iterator[tuple[SSL.Connection, TlsSession]]:
        """A client, and a session of the server, for each kind."""
        for kind in (TlsSession, DirectSession):
            with self.subTest(kind.__name__):
                client, server = connected()
                yield client, kind(server)

    def test_the_bindings_of_this_release(self) -> None:
        """A release of pyOpenSSL without these bindings would cost the proxy much of its speed."""
        self.assertIs(type(session_of(connected()[1])), DirectSession)

    def test_other_bindings(self) -> None:
        other: Any = object()
        self.assertIs(type(session_of(other)), TlsSession)

    def test_decrypt(self) -> None:
        for client, session in self.sessions():
            client.send(b"hello")
            data = client.bio_read(1 << 16)
            self.assertEqual(session.decrypt(data[:9], False), b"")
            self.assertEqual(session.decrypt(data[9:], False), b"hello")
            client.send(b"one")
            self.assertEqual(session.decrypt(client.bio_read(1 << 16), True), b"one")
            client.send(b"two, ")
            client.send(b"three")
            self.assertEqual(session.decrypt(client.bio_read(1 << 16), False), b"two, three")
            self.assertEqual((session.ended, session.failure), (False, None))

    def test_decrypt_data_that_openssl_has(self) -> None:
        for client, session in self.sessions():
            client.send(b"hello")
            session.connection.bio_write(client.bio_read(1 << 16))
            self.assertEqual(session.decrypt(b"", False), b"hello")
            self.assertEqual(session.decrypt(b"", False), b"")

    def test_bulk(self) -> None:
        """More than the shared buffer contains, in both directions, and in pieces that end within records."""
        content = bytes(range(256)) * 3000
        for client, session in self.sessions():
            client.sendall(content)
            data = client.bio_read(1 << 20)
            self.assertEqual(session.decrypt(data[:-70000], False) + session.decrypt(data[-70000:], False), content)
            for start in (0, 1000):
                received = b""
                session.position = start
                while session.position < len(content):
                    client.bio_write(session.encrypt(content, session.position))
                    with contextlib.suppress(SSL.WantReadError):
                        while True:
                            received += client.recv(1 << 16)
                self.assertEqual(received, content[start:])

    def test_encrypt(self) -> None:
        for client, session in self.sessions():
            for start in (0, 2):
                client.bio_write(session.encrypt(b"hello", start))
                self.assertEqual((session.position, session.blocked, session.failure), (5, False, None))
                self.assertEqual(client.recv(100), b"hello"[start:])
            session.encrypt(bytes(WRITE_BYTES + 1), 0)
            self.assertEqual(session.position, WRITE_BYTES)

    def test_output(self) -> None:
        for client, session in self.sessions():
            self.assertEqual(session.output(), b"")
            session.connection.shutdown()
            alert = session.output()
            client.bio_write(alert)
            self.assertRaises(SSL.ZeroReturnError, client.recv, 100)

    def test_long_output(self) -> None:
        """A read of the output that is smaller than the output."""
        for client, server in (connected(), connected()):
            session = TlsSession(server)
            server.sendall(bytes(1000))
            client.bio_write(session.output(100))
            self.assertEqual(client.recv(2000), bytes(1000))

    def test_closing_alert(self) -> None:
        for client, session in self.sessions():
            client.send(b"last words")
            client.shutdown()
            self.assertEqual(session.decrypt(client.bio_read(1 << 16), False), b"last words")
            self.assertEqual((session.ended, session.failure), (True, None))

    def test_invalid_record(self) -> None:
        for client, session in self.sessions():
            client.send(b"words")
            data = client.bio_read(1 << 16)
            self.assertEqual(session.decrypt(data + b"nonsense, and enough of it to be a head", False), b"words")
            self.assertFalse(session.ended)
            assert session.failure is not None
            self.assertFalse(is_unexpected_end(session.failure))
            self.assertGreater(len(session.output()), 0, "an alert")
            session.encrypt(b"more", 0)
            self.assertEqual(session.position, 0, "OpenSSL sends nothing after an error")

    def test_changed_record(self) -> None:
        """Content that another party has changed is not passed on."""
        for client, session in self.sessions():
            client.send(b"words")
            data = bytearray(client.bio_read(1 << 16))
            data[-1] ^= 1
            self.assertEqual(session.decrypt(bytes(data), True), b"")
            self.assertIsNotNone(session.failure)

    def test_end_without_an_alert(self) -> None:
        for _, session in self.sessions():
            session.connection.bio_shutdown()
            self.assertEqual(session.decrypt(b"", False), b"")
            assert session.failure is not None
            self.assertTrue(is_unexpected_end(session.failure))

    def test_no_cycle_after_a_failure(self) -> None:
        """The memory of a failed session is released immediately, and not by the garbage collector."""
        for kind in (TlsSession, DirectSession):
            with self.subTest(kind.__name__):
                server = connected()[1]
                session = kind(server)
                server.bio_shutdown()
                session.decrypt(b"", False)
                self.assertIsNotNone(session.failure)
                kept = weakref.ref(server)
                gc.disable()
                self.addCleanup(gc.enable)
                del server, session
                self.assertIsNone(kept())

    def test_encryption_during_the_handshake(self) -> None:
        for kind in (TlsSession, DirectSession):
            with self.subTest(kind.__name__):
                session = kind(connections()[1])
                self.assertEqual(session.encrypt(b"early", 0), b"")
                self.assertEqual((session.position, session.blocked, session.failure), (0, True, None))

    def test_freed_buffers(self) -> None:
        """A session works as before, within a record as well, until its closing alert."""
        content = bytes(range(256)) * 1000
        for client, session in self.sessions():
            for data in (b"hello", content):
                client.sendall(data)
                sent = client.bio_read(1 << 20)
                received = session.decrypt(sent[:1000], False)
                self.assertTrue(session.free_buffers())
                received += session.decrypt(sent[1000:], False)
                self.assertEqual(received, data)
                client.bio_write(session.encrypt(data[:WRITE_BYTES], 0))
                self.assertTrue(session.free_buffers())
                answer = b""
                with contextlib.suppress(SSL.WantReadError):
                    while True:
                        answer += client.recv(1 << 16)
                self.assertEqual(answer, data[:WRITE_BYTES])
            client.shutdown()
            session.decrypt(client.bio_read(1 << 16), False)
            self.assertEqual((session.ended, session.failure), (True, None))
            session.connection.shutdown()
            client.bio_write(session.output())
            self.assertRaises(SSL.ZeroReturnError, client.recv, 100)

    def test_end_after_freed_buffers(self) -> None:
        for _, session in self.sessions():
            session.free_buffers()
            session.connection.bio_shutdown()
            self.assertEqual(session.decrypt(b"", False), b"")
            assert session.failure is not None
            self.assertTrue(is_unexpected_end(session.failure))

    def test_buffers_with_data(self) -> None:
        """Data that OpenSSL has received, or has to send, is not lost."""
        client, server = connected()
        session = DirectSession(server)
        client.send(b"hello")
        server.bio_write(client.bio_read(1 << 16))
        self.assertFalse(session.free_buffers())
        self.assertEqual(session.decrypt(b"", False), b"hello")
        server.send(b"answer")
        self.assertFalse(session.free_buffers())
        client.bio_write(session.output())
        self.assertEqual(client.recv(100), b"answer")
        self.assertTrue(session.free_buffers())

    def test_growing_buffers(self) -> None:
        """They are freed some time after a large read or write, not after a small one."""
        clock = Clock()
        for read, written, wanted in ((10, 10, 0), (9000, 10, 1), (10, 9000, 1), (9000, 9000, 1)):
            with self.subTest(read=read, written=written):
                idle = IdleBuffers(clock.seconds)
                client, server = connected()
                session = session_of(server, idle)
                for _ in range(2):
                    client.send(bytes(read))
                    self.assertEqual(session.decrypt(client.bio_read(1 << 16), True), bytes(read))
                    client.bio_write(session.encrypt(bytes(written), 0))
                    self.assertEqual(len(idle), wanted)
                if wanted:
                    clock.advance(IDLE_SECONDS)
                    idle.add(session_of(connected()[1]))
                    self.assertEqual(len(idle), 1, "the other one")
                    client.send(bytes(read))
                    self.assertEqual(session.decrypt(client.bio_read(1 << 16), True), bytes(read))
                    session.encrypt(bytes(written), 0)
                    self.assertEqual(len(idle), 2)

    def test_after_a_handshake(self) -> None:
        """Its buffers are worth freeing, once."""
        idle = IdleBuffers(lambda: 0.0)
        session = session_of(connected()[1], idle)
        session.grow()
        session.grow()
        self.assertEqual(len(idle), 1)

    def test_unexpected_ends(self) -> None:
        for error, wanted in (
            (SSL.SysCallError(-1, "Unexpected EOF"), True),
            (SSL.SysCallError(104, "ECONNRESET"), False),
            (SSL.Error([("SSL routines", "", "unexpected eof while reading")]), True),
            (SSL.Error([("SSL routines", "", "bad record type")]), False),
            (SSL.Error([]), True),
            (SSL.Error(), True),
        ):
            with self.subTest(error):
                self.assertIs(is_unexpected_end(error), wanted)
