"""Blocking contacts with proxies, services and hosts, to observe them; each ends within its timeout."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs
from cryptography import x509

from egress.http.connect_handshake import ConnectHandshake
from egress.model.authority import DEFAULT_PORTS, PROXY_HOST, Authority, UpstreamProxy
from egress.model.errors import EgressError
from egress.socks.client_handshake import SocksHandshake

_MAX_HEAD: Final = 64 * 1024
_OWN: Final = "egressproxy;"
_DETAILS: Final = re.compile(r'details="([^"]*)"')


@attrs.frozen(kw_only=True)
class Contact:
    """What a server responded.

    @ivar error: why there is no response.
    @ivar status: the status code.
    @ivar egressproxy: whether the response is that of the proxy itself.
    @ivar ahead: by how many seconds the clock of the server is ahead of the clock of this machine.
    @ivar leaf: the certificate that the proxy presents for its own address.
    @ivar tunnel_status: the status code of the CONNECT to the proxy's own address.
    @ivar tunnel_error: why there is no TLS session in its tunnel.
    """

    error: str | None = None
    status: int | None = None
    egressproxy: bool = False
    ahead: float | None = None
    leaf: x509.Certificate | None = None
    tunnel_status: int | None = None
    tunnel_error: str | None = None


def proxy_contact(url: str, seconds: float) -> Contact:
    """Request the address to which the proxy itself responds.

    @param url: the URL of the proxy; it may contain credentials.
    @param seconds: the timeout of each step.
    """
    try:
        parts = urlsplit(url)
        authorization = _authorization(parts.username, parts.password)
        secure, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
        with _connected(host, port, secure, seconds) as stream:
            status, fields, ahead = _exchange(stream, f"GET http://{PROXY_HOST}/", PROXY_HOST, authorization)
        contact = Contact(status=status, egressproxy=fields.get("proxy-status", "").startswith(_OWN), ahead=ahead)
        if status != 200 or not contact.egressproxy or secure:
            # TLS inside TLS is not examined.
            return contact
        with _connected(host, port, secure, seconds) as stream:
            return _through_tunnel(stream, contact, authorization)
    except (OSError, ValueError) as error:
        return Contact(error=_words(error))


def _through_tunnel(stream: socket.socket, contact: Contact, authorization: bytes | None) -> Contact:
    """Open a tunnel to the proxy's own address, and get the certificate that the proxy presents."""
    target = f"{PROXY_HOST}:443"
    try:
        status, _, _ = _exchange(stream, f"CONNECT {target}", target, authorization)
        if status != 200:
            return attrs.evolve(contact, tunnel_status=status)
        with unverified().wrap_socket(stream, server_hostname=PROXY_HOST) as secured:
            data = secured.getpeercert(binary_form=True) or b""
        return attrs.evolve(contact, tunnel_status=status, leaf=x509.load_der_x509_certificate(data))
    except (OSError, ValueError) as error:
        return attrs.evolve(contact, tunnel_error=_words(error))


def upstream_contact(upstream: UpstreamProxy, seconds: float) -> Contact:
    """Contact an upstream proxy, through the proxy before it in a chain.

    It requests a tunnel to a host that does not exist: any response shows that the upstream proxy works. With SOCKS5,
    it only authenticates.
    """
    try:
        first, *others = upstream.hops
        with _connected(first.authority.host, first.authority.port, first.scheme == "https", seconds) as stream:
            hop, ends = first, stream
            for following in others:
                target = following.authority
                _shake_hands(
                    ends, SocksHandshake(hop, target) if hop.is_socks else ConnectHandshake(hop, target, _MAX_HEAD)
                )
                if following.scheme == "https":
                    if hop.scheme == "https":
                        # TLS inside TLS is not examined.
                        return Contact(status=200)
                    ends = unverified().wrap_socket(ends, server_hostname=following.authority.host)
                hop = following
            if hop.is_socks:
                _shake_hands(ends, SocksHandshake(hop, Authority(PROXY_HOST, 443)), login_only=True)
                return Contact()
            nowhere = f"{PROXY_HOST}:443"
            status, fields, ahead = _exchange(ends, f"CONNECT {nowhere}", nowhere, hop.authorization)
        return Contact(error=_reason_of_first(status, fields) if others else None, status=status, ahead=ahead)
    except EgressError as error:
        return Contact(error=error.reason)
    except (OSError, ValueError) as error:
        return Contact(error=_words(error))


def _reason_of_first(status: int, fields: dict[str, str]) -> str | None:
    """The reason why the first proxy of a chain cannot reach the second one.

    This proxy tells it inside the tunnel, where programs can read it. The second one, if it is this proxy, responds to
    its own name.

    @return: C{None} if the second one responds.
    """
    told = fields.get("proxy-status", "")
    if status < 400 or status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED or not told.startswith(_OWN):
        return None
    details = _DETAILS.search(told)
    return f"status {status}" if details is None else details[1]


def _shake_hands(
    stream: socket.socket, handshake: ConnectHandshake | SocksHandshake, *, login_only: bool = False
) -> None:
    """Open a tunnel.

    @param login_only: whether to stop once the upstream proxy has accepted the credentials.
    @raise EgressError: if the upstream proxy refuses the tunnel.
    """
    stream.sendall(handshake.request())
    while True:
        data = stream.recv(4096)
        if not data:
            raise ValueError(f"{handshake.upstream.authority} closed the connection")
        if handshake.receive(data) is not None:
            return
        if login_only and isinstance(handshake, SocksHandshake) and handshake.logged_in:
            return
        output = handshake.take_output()
        if output:
            stream.sendall(output)


def server_contact(url: str, seconds: float) -> Contact:
    """Send a HEAD request without credentials, to compare the clocks.  Any response has a C{Date}."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        with _connected(host, port, parts.scheme == "https", seconds) as stream:
            status, _, ahead = _exchange(stream, f"HEAD {parts.path or '/'}", parts.netloc.rpartition("@")[2], None)
        return Contact(status=status, ahead=ahead)
    except (OSError, ValueError) as error:
        return Contact(error=_words(error))


def accepts(host: str, port: int, seconds: float) -> bool:
    """Tell whether a host accepts a TCP connection, and it is not the proxy that does.

    A gateway or a sandbox can redirect connections to the proxy, which responds to a request that any server rejects.
    """
    try:
        with socket.create_connection((host, port), seconds) as stream:
            try:
                _, fields, _ = _exchange(stream, "GET /", PROXY_HOST, None)
            except (OSError, ValueError):
                return True
    except OSError:
        return False
    return not fields.get("proxy-status", "").startswith(_OWN)


def _connected(host: str, port: int, secure: bool, seconds: float) -> socket.socket:
    with ExitStack() as opened:
        stream = opened.enter_context(socket.create_connection((host, port), seconds))
        if secure:
            stream = opened.enter_context(unverified().wrap_socket(stream, server_hostname=host))
        opened.pop_all()
    return stream


def unverified() -> ssl.SSLContext:
    """Return a context for connections that carry no secret: it is the clients that must trust the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(name: str | None, password: str | None) -> bytes | None:
    if name is None:
        return None
    credentials = f"{unquote(name)}:{unquote(password or '')}".encode()
    return b"Basic " + base64.b64encode(credentials)


def _exchange(
    stream: socket.socket, line: str, host: str, authorization: bytes | None
) -> tuple[int, dict[str, str], float | None]:
    """Send a request, and read the head of the response.

    @return: the status code, the fields, and by how many seconds the clock of the server is ahead.
    """
    credentials = b"" if authorization is None else b"Proxy-Authorization: %b\r\n" % authorization
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: egress-doctor\r\n".encode("latin-1")
    stream.sendall(b"%b%bConnection: close\r\n\r\n" % (head, credentials))
    received = b""
    while b"\r\n\r\n" not in received:
        # One byte at a time after a CONNECT would be slow; a server sends nothing more until the client speaks.
        data = stream.recv(4096)
        if not data or len(received) > _MAX_HEAD:
            raise ValueError("the server did not respond with HTTP")
        received += data
    now = time.time()
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdecimal():
        raise ValueError("the server did not respond with HTTP")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(rest[:3]), fields, _ahead(fields.get("date"), now)


def _ahead(date: str | None, now: float) -> float | None:
    if date is None:
        return None
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return None
    if told.tzinfo is None:
        told = told.replace(tzinfo=timezone.utc)
    # The field has whole seconds.
    ahead = (told - datetime.fromtimestamp(now, timezone.utc)).total_seconds()
    return 0.0 if -1.0 <= ahead <= 1.0 else ahead


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no response in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
