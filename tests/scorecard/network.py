"""Runs a case over TCP: a client that sends exactly its bytes, origins that accept all bytes, and any proxy."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.scorecard.cases import Case
from tests.scorecard.http2_wire import ACKNOWLEDGED, OPENING
from tests.scorecard.judge import Arrival, Question, Seen, seen_by
from tests.scorecard.questions import Questions
from tests.scorecard.socks_wire import Conversation
from tests.scorecard.surroundings import Ports, Script, certificate

# Timeouts in seconds: for a response, for more of it, for the end of the connection, and for a message of SOCKS.
_ANSWER, _MORE, _END, _REPLY = 6.0, 0.4, 5.0, 1.5


# The ports of all cases that run. A port is unique for one address, but the decisions about a case are found by port.
_ports: set[int] = set()
_ports_lock = threading.Lock()


def _listening(host: str) -> socket.socket:
    """Listen on a port that no other case has, on any address."""
    while True:
        found = socket.create_server((host, 0))
        with _ports_lock:
            if found.getsockname()[1] not in _ports:
                _ports.add(found.getsockname()[1])
                return found
        found.close()


class _Connection:
    """One connection to an origin, with its own thread."""

    def __init__(self, origin: _Listener, sock: socket.socket) -> None:
        self.data = b""
        self._origin = origin
        self.sock = sock
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        script, given = self._origin.script, 0
        with suppress(OSError):
            self.sock.settimeout(30)
            if self._origin.context is not None:
                self.sock = self._origin.context.wrap_socket(self.sock, server_side=True)
            while data := self.sock.recv(1 << 16):
                self.data += data
                for answer in script.due(self.data, given):
                    given += 1
                    self.sock.sendall(answer)
                    if script.ends(answer):
                        self.sock.close()
                        return
        with suppress(OSError):
            self.sock.close()


class _Listener:
    """One port of an origin."""

    script: Script

    def __init__(self, case: Case, host: str, context: ssl.SSLContext | None) -> None:
        self.switches = case.answer.startswith(b"HTTP/1.1 101")
        self.tls = context is not None
        self.context = context
        self.connections: list[_Connection] = []
        self._socket = _listening(host)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.append(_Connection(self, self._socket.accept()[0]))

    def arrivals(self) -> list[Arrival]:
        """The observations for the judge."""
        return [Arrival(self.port, self.tls, one.data, self.switches) for one in self.connections if one.data]

    def stop(self) -> None:
        """Close all sockets."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        _ports.discard(self.port)
        for one in self.connections:
            with suppress(OSError):
                one.sock.close()


def _context(name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        shown = certificate(name)
        file.write(shown.certificate_pem + shown.key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class _Client:
    """The client."""

    def __init__(self, port: int, ca: Path) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.received = b""
        self.closed = False
        self._ca = ca

    def send(self, data: bytes) -> None:
        """Send data; ignore an error of the connection."""
        with suppress(OSError):
            self.socket.sendall(data)

    def listen(self, first: float, more: float) -> None:
        """Receive data, with a timeout for the first part and one for each later part."""
        patience, deadline = first, time.monotonic() + _ANSWER
        while not self.closed and time.monotonic() < deadline:
            self.socket.settimeout(patience)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.received += data
            self.closed = not data
            patience = more

    def receive_until(self, enough: Callable[[bytes], bool]) -> None:
        """Receive no more data than needed, so that TLS can begin after it.

        @param enough: returns whether the received data is complete.
        """
        self.socket.settimeout(_REPLY)
        while not self.closed and not enough(self.received):
            try:
                data = self.socket.recv(1)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.received += data
            self.closed = not data

    def secure(self, server_name: str, protocols: list[str]) -> bool:
        """Start TLS and trust the CA of the proxy.  The cases check the name.

        @param protocols: the protocols to offer.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self._ca)
        if protocols:
            context.set_alpn_protocols(protocols)
        self.socket.settimeout(_ANSWER)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname=server_name)
        except OSError:
            self.closed = True
            return False
        return True

    def end(self) -> None:
        """Close the sending direction, and wait for the other side to close."""
        if self.closed:
            return
        with suppress(OSError):
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.settimeout(_END)
                self.socket = self.socket.unwrap()
                self.closed = True
            else:
                self.socket.shutdown(socket.SHUT_WR)


class Stage:
    """The listeners of one case."""

    def __init__(self, case: Case, questions: Questions) -> None:
        context = _context(case.certificate)
        listeners = [_Listener(case, host, tls) for host in ("127.0.0.1", "127.0.0.2") for tls in (None, context)]
        self.listeners = listeners
        self.ports = Ports(*(listener.port for listener in listeners))
        self.case = self.ports.of(case)
        script = Script(self.case)
        for listener in listeners:
            listener.script = script
        self._questions = questions
        # Earlier cases can have had the same ports.
        self._asked_before = len(questions.asked())

    def play(self, port: int, ca: Path) -> Seen:
        """Run the case against a proxy."""
        before = self.case.sent[:-1] if self.case.apart else ()
        clients = [_Client(port, ca) for _ in range(len(before) + 1)]
        client = clients[-1]
        try:
            if self._begin(client):
                client.received += b"".join(map(self._before, clients, before))
                self._talk(client)
        finally:
            for one in clients:
                one.socket.close()
        arrivals = [arrival for listener in self.listeners for arrival in listener.arrivals()]
        return seen_by(self.case, client.received, client.closed, tuple(arrivals), self._asked())

    def _asked(self) -> tuple[Question, ...]:
        ports = [listener.port for listener in self.listeners]
        asked = self._questions.asked()[self._asked_before :]
        return tuple(one for one in asked if any(f":{port}" in one.url for port in ports))

    def _begin(self, client: _Client) -> bool:
        case = self.case
        if case.socks:
            return self._negotiate(client) and self._secure(client)
        return (case.tunnel is None or self._connect(client, case.tunnel)) and self._secure(client)

    def _negotiate(self, client: _Client) -> bool:
        messages = self.case.socks
        for number, message in enumerate(messages, 1):
            client.send(message)
            expected = number if number < len(messages) else None
            client.receive_until(lambda data: _is_answered(Conversation(data), expected))  # noqa: B023
        conversation = Conversation(client.received)
        if conversation.over and not conversation.refusal:
            return True
        client.end()
        client.listen(_END, _END)
        return False

    def _connect(self, client: _Client, authority: bytes) -> bool:
        case = self.case
        client.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority) + case.early)
        client.socket.settimeout(_ANSWER)
        while b"\r\n\r\n" not in client.received:
            data = client.socket.recv(1 if case.server_name is not None else 1 << 16)
            if not data:
                client.closed = True
                return False
            client.received += data
        head, _, rest = client.received.partition(b"\r\n\r\n")
        if b" 200" not in head.split(b"\r\n")[0]:
            client.listen(_MORE, _MORE)
            return False
        client.received = rest
        return True

    def _secure(self, client: _Client) -> bool:
        case = self.case
        if case.server_name is not None and not client.secure(case.server_name, ["h2"] if case.http2 else []):
            return False
        if case.http2:
            client.send(OPENING)
            client.listen(_ANSWER, _MORE)
            client.send(ACKNOWLEDGED)
        return True

    def _before(self, client: _Client, part: bytes) -> bytes:
        """Send a part as another client, which stays connected.

        @return: the bytes that it received.
        """
        client.send(part)
        client.listen(1.5, _MORE)
        return client.received

    def _talk(self, client: _Client) -> None:
        for number, part in enumerate(self.case.sent[-1:] if self.case.apart else self.case.sent):
            if client.closed:
                return
            client.send(part)
            # A slow proxy can still be busy with the first frames.
            client.listen(_ANSWER if number and self.case.http2 else 1.5, _MORE)
        if not self.case.sent:
            client.listen(1.5, _MORE)
        client.end()
        client.listen(_END, _END)

    def stop(self) -> None:
        """Close all sockets."""
        for listener in self.listeners:
            listener.stop()


def _is_answered(conversation: Conversation, count: int | None) -> bool:
    """Whether a SOCKS client has this number of messages; C{None}: whether the conversation is over."""
    return conversation.over or (count is not None and conversation.count >= count)


def play(case: Case, questions: Questions, port: int, ca: Path) -> tuple[Case, Seen]:
    """Run a case against a proxy.

    @return: the case with its ports, and the observations.
    """
    stage = Stage(case, questions)
    try:
        return stage.case, stage.play(port, ca)
    finally:
        stage.stop()
