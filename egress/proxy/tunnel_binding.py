"""The identity of a session's client, and the authority that a tunnel binds its requests to."""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Container
from os import urandom
from typing import Final

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address

from egress.http.events import RequestHead
from egress.http.proxy_authorization import Basic, parse_credentials
from egress.http.request_target import RequestTarget, TargetForm, parse_request_target
from egress.model.authority import DEFAULT_PORTS, PROXY_HOST, Authority, Origin
from egress.model.decision import ClientIdentity
from egress.model.errors import BadRequest, EgressError, MisdirectedRequest, ProxyAddressed, ServerNameMismatch
from egress.model.quote import quoted
from egress.transport.tcp import below_tls
from egress.transport.tls_layer import TLS_LAYERS

# struct ucred of Linux: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("iII")

# The address of a client that the system does not identify.
UNKNOWN: Final = "unknown"


@attrs.frozen
class Peer:
    """The peer of a client connection, as far as the system identifies it.

    @ivar address: the client's address in authorization requests and records: an IP address, C{unix-uid-N} for a
        process of that user on a UNIX socket, or C{unknown}.
    @ivar port: the TCP port, otherwise 0.
    @ivar process: distinguishes clients without an IP address: by process where the system identifies it, otherwise by
        connection; empty with an IP address.
    """

    address: str
    port: int
    process: bytes = b""


def peer_of(transport: object) -> Peer:
    """Identify the peer of a client connection.

    @param transport: the connection's transport, with or without TLS layers.
    """
    address = transport.getPeer()  # type: ignore[attr-defined]
    if isinstance(address, (IPv4Address, IPv6Address)):
        # A listener for IPv6 and IPv4 has clients with IPv4-mapped addresses (RFC 4291 section 2.5.5.2).
        return Peer(address.host.removeprefix("::ffff:") if "." in address.host else address.host, address.port)
    user, process = _process_of(getattr(below_tls(transport), "socket", None))
    if not process:
        # Only the connection distinguishes this client from others.
        return Peer(UNKNOWN if user is None else f"unix-uid-{user}", 0, urandom(16))
    return Peer(f"unix-uid-{user}", 0, b"%d %d" % (user or 0, process))


def _process_of(sock: socket.socket | None) -> tuple[int | None, int]:
    """Query Linux for the user and process behind a UNIX socket (SO_PEERCRED, unix(7)).

    @return: the user, C{None} if unknown; and the process, 0 if unknown or in another namespace.
    """
    # Not hasattr(), which the compiler evaluates for the system that compiles.
    option = getattr(socket, "SO_PEERCRED", None)
    if sock is None or option is None:
        return None, 0
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None, 0
    process, user, _ = _CREDENTIALS.unpack(data)
    return user, process


def client_identity(peer: Peer, proxy_authorization: bytes | None) -> ClientIdentity:
    """Identify a client by its address and the name that it claims.

    Nothing is verified: the name is a label for the authorizer and the audit log.
    """
    credentials = parse_credentials(proxy_authorization) if proxy_authorization else None
    name = credentials.name if isinstance(credentials, Basic) else None
    return identified(peer, name or None, proxy_authorization)


def identified(peer: Peer, name: str | None, *proofs: bytes | None) -> ClientIdentity:
    """Identify a client by its address and a verified name.

    @param proofs: the credentials that were presented; only clients with the same credentials share origin connections.
    @param peer: the peer of the connection.
    @param name: the verified name; C{None} if there is none.
    """
    digests = [hashlib.sha256(proof).digest() for proof in (peer.process, *proofs) if proof]
    return ClientIdentity(peer.address, peer.port, name, b"".join(digests))


def server_name_error(transport: object, authority: Authority) -> ServerNameMismatch | None:
    """Compare the server name of a finished TLS handshake with the authority of the CONNECT (RFC 6066 section 3).

    @param transport: the TLS transport of the session.
    @param authority: the authority of the CONNECT.
    """
    handle = transport.getHandle() if isinstance(transport, TLS_LAYERS) else None
    name = handle.get_servername() if isinstance(handle, SSL.Connection) else None
    if name is None:
        return None
    text = name.decode("latin-1").lower().removesuffix(".")
    if text == authority.host:
        return None
    return ServerNameMismatch(f"the TLS server name is {quoted(text)}, but the tunnel is for {authority}")


@attrs.frozen
class TunnelBinding:
    """The binding of a session inside a tunnel.

    @ivar origin: the destination of every request of the session.
    @ivar client: the client that opened the tunnel.
    @ivar refusal: the error of a refused tunnel, which every request inside it gets as its response.
    @ivar refusal_id: the id of the decision that refused the tunnel.
    """

    origin: Origin
    client: ClientIdentity
    refusal: EgressError | None = None
    refusal_id: str = ""

    def target_of(self, head: RequestHead) -> RequestTarget:
        """Parse a request target, and check that it names the tunnel's authority.

        @raise MisdirectedRequest: if it names another authority.
        @raise EgressError: the error of the tunnel, if it was refused.
        @raise BadRequest: if the target is malformed, or opens a tunnel inside the tunnel.
        """
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)
        target, named_authorities = _named_by(head, self.origin.scheme)
        authority = self.origin.authority
        for other in named_authorities:
            if other != authority:
                raise MisdirectedRequest(f"the request is for {other}, but the tunnel is for {authority}")
        return target

    def destination_of(self, head: RequestHead) -> tuple[RequestTarget, Origin]:
        """Return the target and the origin of a request; see L{target_of}."""
        return self.target_of(head), self.origin


@attrs.frozen
class AddressBinding:
    """The binding of an HTTP session on a redirected connection, of which only the original address is known.

    A request names its host. The proxy resolves that name itself, so the request cannot reach another host than the
    authorized one.

    @ivar origin: the original destination.
    @ivar client: the client.
    """

    origin: Origin
    client: ClientIdentity

    def destination_of(self, head: RequestHead) -> tuple[RequestTarget, Origin]:
        """Return the target and the origin of a request.

        @raise MisdirectedRequest: if it names another port, or another address.
        @raise BadRequest: if the target is malformed, or opens a tunnel.
        """
        target, named_authorities = _named_by(head, self.origin.scheme)
        original = self.origin.authority
        authority = named_authorities[0] if named_authorities else original
        for other in named_authorities:
            if other != authority:
                raise MisdirectedRequest(f"the request is for {other} and for {authority}")
        if authority.port != original.port or (authority.ip is not None and authority != original):
            raise MisdirectedRequest(f"the request is for {authority}, but the connection is for {original}")
        return target, Origin.of(self.origin.scheme, authority)


Binding = TunnelBinding | AddressBinding
"""What determines the destination of requests, except on a listener for clients that know the proxy."""


def _named_by(head: RequestHead, scheme: str) -> tuple[RequestTarget, list[Authority]]:
    """Parse the target of a request in a tunnel, and return every authority that it names."""
    # An absolute URL is as valid here as a path (RFC 9112 section 3.2.2).
    target = parse_request_target(head.method, head.target, DEFAULT_PORTS)
    if target.form is TargetForm.AUTHORITY:
        raise BadRequest("a tunnel inside a tunnel is not supported")
    if target.scheme not in (None, scheme):
        raise MisdirectedRequest(f"the request is for {target.scheme}, but the tunnel carries {scheme}")
    named_authorities = [] if target.authority is None else [target.authority]
    if head.host is not None:
        named_authorities.append(Authority.parse(head.host.decode("latin-1"), DEFAULT_PORTS[scheme], bare_ipv6=True))
    return target, named_authorities


def destination_of(
    binding: Binding | None, head: RequestHead, schemes: Container[str]
) -> tuple[RequestTarget, Origin | None]:
    """Parse the target of a request and determine its origin.

    @param binding: C{None} on the listening port.
    @param head: the head of the request.
    @param schemes: the URL schemes that the listening port accepts.
    @return: the target, and its origin; C{None} for a CONNECT, which opens a tunnel.
    @raise EgressError: if the target is malformed, or names another authority than the tunnel's.
    """
    if binding is not None:
        return binding.destination_of(head)
    target = parse_request_target(head.method, head.target, schemes)
    return target, None if target.form is TargetForm.AUTHORITY else named_origin(target)


def named_origin(target: RequestTarget) -> Origin:
    """The origin that a request on the listening port names.

    @raise BadRequest: if it names no origin, like a request to an origin server.
    """
    if target.authority is None or target.scheme is None:
        raise BadRequest(
            "this is a proxy: it accepts requests for http://... URLs and CONNECT; configure it as http_proxy and "
            "https_proxy of your client"
        )
    return Origin.of(target.scheme, target.authority)


def require_other_host(origin: Origin) -> None:
    """Check that a request is not for the name of the proxy itself.

    @raise ProxyAddressed: if it is.
    """
    if origin.authority.host == PROXY_HOST:
        raise ProxyAddressed(f"the request went through egressproxy, which responds to {PROXY_HOST} itself")


def target_for_log(binding: Binding | None, head: RequestHead) -> str:
    """The requested URL for the audit record; the target may be malformed."""
    target = head.target.decode("utf-8", "replace")
    return f"{binding.origin}{target}" if binding is not None and target.startswith("/") else target
