"""A client of a proxy in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.address import IPv4Address

from egress.http.events import End, ResponseHead
from egress.http.readers import ResponseReader
from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.decision import Headers
from egress.testing.origin import LIMITS, field
from egress.testing.reactor import MemoryReactor
from egress.testing.tls import TlsEnd
from egress.testing.transport import MemoryTransport
from egress.tls.issuer import CertificateAuthority

_ADDRESS: Final = IPv4Address("TCP", "127.0.0.1", 54321)
_PROXY_FIELD: Final = "proxy-authorization"


@attrs.frozen
class ClientResponse:
    """The response that a client received.

    @ivar status: the status code.
    @ivar headers: the header fields.
    @ivar body: the content.
    """

    status: int
    headers: Headers
    body: bytes

    def field(self, name: str) -> str | None:
        """Return the values of a header field, joined by commas; C{None} without the field."""
        return field(self.headers, name)

    def json(self) -> Any:
        """Parse the content as JSON, such as a problem document of the proxy."""
        return json.loads(self.body)


class PendingResponse:
    """One request of a client, and its response.

    @ivar response: the response, when it is complete.
    @ivar failure: the reason why there will be no response; C{None} without a failure.
    """

    def __init__(self, transport: MemoryTransport, request: _Request) -> None:
        self.response: ClientResponse | None = None
        self.failure: str | None = None
        self._transport = transport
        self._request = request
        self._stream: MemoryTransport | TlsEnd = transport
        self._tls: TlsEnd | None = None
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        if request.tunnel is None:
            self._expect(request.method)
            transport.feed(request.encoded())
        else:
            self._expect("CONNECT")
            transport.feed(request.connect())

    @property
    def is_over(self) -> bool:
        """Whether there is a response, or a failure."""
        return self.response is not None or self.failure is not None

    def result(self) -> ClientResponse:
        """Return the response.

        @raise AssertionError: if there is none, with the reason.
        """
        if self.response is None:
            raise AssertionError(self.failure or "there is no response yet: let time pass, or complete the decision")
        return self.response

    def disconnect(self) -> None:
        """Close the connection, as a client that does not wait."""
        self.failure = "the client disconnected"
        self._transport.lose()

    def step(self) -> bool:
        """Process the data that has arrived; see L{egress.testing.reactor.End}."""
        if self.is_over:
            return False
        if self._tls is not None and self._stream is not self._tls:
            return self._shake(self._tls)
        data = self._stream.take()
        if data:
            self._reader.receive(data)
            self._read()
        elif self._transport.disconnected or self._transport.write_closed:
            self._ended()
        else:
            return False
        return True

    def _expect(self, method: str) -> None:
        self._reader = ResponseReader(LIMITS)
        self._reader.expect(method)

    def _read(self) -> None:
        while not self.is_over and (event := self._reader.next_event()) is not None:
            if isinstance(event, End):
                self._complete()
            elif not isinstance(event, ResponseHead):
                self._body.append(event)
            elif event.status == 200 and self._request.tunnel is not None and self._tls is None:
                self._start_tls()
                return
            elif event.status >= 200 or event.status == 101:
                self._head = event
                if event.status == 101:
                    self._complete()

    def _complete(self) -> None:
        assert self._head is not None  # it precedes the content
        self.response = ClientResponse(self._head.status, self._head.headers, b"".join(self._body))
        self._transport.end()

    def _start_tls(self) -> None:
        connection = SSL.Connection(self._request.context, None)
        connection.set_connect_state()
        assert self._request.tunnel is not None
        if self._request.tunnel.ip is None:
            connection.set_tlsext_host_name(self._request.tunnel.host.encode("ascii"))
        self._tls = TlsEnd(self._transport, connection)

    def _shake(self, tls: TlsEnd) -> bool:
        """Continue the handshake, and send the request after it."""
        before = tls.moved
        try:
            if tls.try_handshake():
                self._stream = tls
                self._expect(self._request.method)
                tls.feed(self._request.encoded())
        except SSL.Error as error:
            self.failure = f"the TLS handshake with the proxy failed: {error}"
            self._transport.end()
        else:
            if self._transport.disconnected:
                self.failure = "the proxy closed the connection in the TLS handshake"
        return tls.moved != before

    def _ended(self) -> None:
        if self._reader.receive_eof() is not None:
            self._complete()
        else:
            self.failure = "the proxy closed the connection before its response was complete"


@attrs.frozen(kw_only=True)
class _Request:
    """A request to send.

    @ivar tunnel: the authority of the CONNECT; C{None} for a plain request.
    """

    method: str
    target: str
    host: str
    fields: Mapping[str, str]
    body: bytes
    tunnel: Authority | None
    context: SSL.Context

    def encoded(self) -> bytes:
        names = {name.lower() for name in self.fields}
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if "host" not in names:
            lines.append(f"Host: {self.host}")
        lines += [
            f"{name}: {value}"
            for name, value in self.fields.items()
            if self.tunnel is None or name.lower() != _PROXY_FIELD
        ]
        if self.body and "content-length" not in names:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body

    def connect(self) -> bytes:
        """Return the CONNECT, with the credentials for the proxy."""
        lines = [f"CONNECT {self.tunnel} HTTP/1.1", f"Host: {self.tunnel}"]
        lines += [f"{name}: {value}" for name, value in self.fields.items() if name.lower() == _PROXY_FIELD]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class MemoryClient:
    """A client that sends each request on a connection of its own.

    An C{https} URL is requested in a tunnel, with the TLS of OpenSSL, as by a real client.

    @param reactor: the reactor of the proxy.
    @param port: the port on which the proxy listens.
    @param ca: the CA of the proxy, which the client trusts; C{None}: it trusts no CA.
    @param address: the address of the client.
    """

    def __init__(
        self,
        reactor: MemoryReactor,
        port: int,
        ca: CertificateAuthority | None = None,
        address: IPv4Address = _ADDRESS,
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._address = address
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_verify(SSL.VERIFY_PEER)
        store = self._context.get_cert_store()
        if ca is not None and store is not None:
            store.add_cert(crypto.X509.from_cryptography(ca.certificate))

    def send(
        self, method: str, url: str, fields: Mapping[str, str] | None = None, body: bytes = b""
    ) -> PendingResponse:
        """Send a request, and process everything that does not need time.

        @param method: the method.
        @param url: the URL; with only a path, the request is for the listener itself.
        @param fields: the header fields; C{Host} and C{Content-Length} are added if they are missing.
        @param body: the content.
        """
        parts = urlsplit(url)
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        host = parts.netloc.rpartition("@")[2]
        tunnel = Authority.parse(host, DEFAULT_PORTS["https"]) if parts.scheme == "https" else None
        request = _Request(
            method=method,
            target=path if tunnel is not None or not parts.scheme else url,
            host=host or f"127.0.0.1:{self._port}",
            fields=fields or {},
            body=body,
            tunnel=tunnel,
            context=self._context,
        )
        pending: list[PendingResponse] = []

        def end(transport: MemoryTransport) -> PendingResponse:
            pending.append(PendingResponse(transport, request))
            return pending[0]

        self._reactor.connect(self._port, end, self._address)
        self._reactor.settle()
        return pending[0]

    def request(
        self, method: str, url: str, fields: Mapping[str, str] | None = None, body: bytes = b""
    ) -> ClientResponse:
        """Send a request, and return its response; see L{send}.

        @raise AssertionError: if there is no response yet.
        """
        return self.send(method, url, fields, body).result()
