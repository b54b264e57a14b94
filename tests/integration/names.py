"""A DNS server that records its queries."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.names import dns

TYPES = {"A": dns.A, "AAAA": dns.AAAA}


class NameServer:
    """Responds from a table, over UDP, and over TCP when the response does not fit.

    @param names: the addresses of names, in lower case; C{None} for a name without a response.  Other names do not
        exist.
    @ivar queries: the names and types of queries over UDP, in order.
    @ivar over_tcp: the same, over TCP.
    """

    def __init__(self, names: Mapping[str, Sequence[str] | None], host: str = "127.0.0.1") -> None:
        self.names = dict(names)
        self.queries: list[tuple[str, str]] = []
        self.over_tcp: list[tuple[str, str]] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Use one port number for both: a free TCP port is nearly always free for UDP, too.
        while True:
            self._tcp = socket.create_server((host, 0), family=family)
            self.port = int(self._tcp.getsockname()[1])
            self._udp = socket.socket(family, socket.SOCK_DGRAM)
            try:
                self._udp.bind((host, self.port))
            except OSError:
                self.close()
            else:
                break
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def asked(self, name: str) -> bool:
        """Return whether there was any query for a name."""
        return any(name.lower() == found.lower() for found, _ in [*self.queries, *self.over_tcp])

    def close(self) -> None:
        """Stop responding."""
        self._tcp.close()
        self._udp.close()

    def _serve_udp(self) -> None:
        while True:
            try:
                data, peer = self._udp.recvfrom(65536)
            except OSError:
                return
            answer = self._answer(data, self.queries)
            if answer is not None:
                if len(answer) > 512:
                    message = dns.Message()
                    message.fromStr(data)
                    message.answer = message.trunc = message.recAv = 1
                    answer = message.toStr()
                self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                data = stream.read(int.from_bytes(stream.read(2), "big"))
                answer = self._answer(data, self.over_tcp)
                if answer is not None:
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, data: bytes, queries: list[tuple[str, str]]) -> bytes | None:
        message = dns.Message()
        message.fromStr(data)
        (query,) = message.queries
        name = query.name.name.decode("latin-1")
        kind = next((word for word, number in TYPES.items() if number == query.type), str(query.type))
        queries.append((name, kind))
        message.answer, message.recAv = 1, 1
        if name.lower() not in self.names:
            message.rCode = dns.ENAME
            return message.toStr()
        addresses = self.names[name.lower()]
        if addresses is None:
            return None
        for text in addresses:
            payload: Any = dns.Record_AAAA(text) if ":" in text else dns.Record_A(text)
            if query.type == payload.TYPE:
                message.answers.append(dns.RRHeader(query.name.name, query.type, payload=payload, ttl=60))
        return message.toStr()
