"""The definition of a case and of its expected outcome."""

from __future__ import annotations

import enum

import attrs

from tests.scorecard.http2_wire import Frame

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# The response to the second request of a connection.
FRESH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh"


class Listener(enum.Enum):
    """The kind of the listener to which the client connects.

    @cvar HTTP: HTTP.
    @cvar SOCKS: SOCKS5 and HTTP.
    @cvar SOCKS_LOGIN: the same, for clients with a name and a password.
    @cvar BALANCED: HTTP after a header of the PROXY protocol.
    @cvar STRANGER: the same, and the client is not one of the load balancers.
    @cvar HTTP2: HTTP, and HTTP/2 with prior knowledge.
    """

    HTTP = "HTTP"
    SOCKS = "SOCKS5"
    SOCKS_LOGIN = "SOCKS5 with a name and a password"
    BALANCED = "the PROXY protocol"
    STRANGER = "the PROXY protocol, for other load balancers"
    HTTP2 = "HTTP and HTTP/2 without TLS"


@attrs.frozen
class Must:
    """The outcomes that a case permits.

    @ivar statuses: the proxy may reject the request with one of these: a status code of HTTP, or a reply of SOCKS as
        L{tests.scorecard.socks_wire} names it.
    @ivar closed: the proxy may close the connection without a response.
    @ivar forwarded: this number of requests may reach the origin, each well framed and authorized.  For a response: it
        may reach the client, well framed and as the response to its own request.
    @ivar then: the proxy rejects the data after it with one of these.
    @ivar cut: a response may be truncated, so that the client can detect the missing part.
    """

    statuses: tuple[int | str, ...] = ()
    closed: bool = False
    forwarded: int | None = None
    then: tuple[int, ...] = ()
    cut: bool = False

    def __str__(self) -> str:
        words = [str(status) for status in self.statuses]
        words += ["closed"] if self.closed else []
        words += ["truncated"] if self.cut else []
        if self.forwarded is not None:
            times = f" ×{self.forwarded}" if self.forwarded > 1 else ""
            then = f", then {' or '.join(map(str, self.then))}" if self.then else ""
            words.append(f"well framed{times}{then}")
        return " or ".join(words)


def refuse(*statuses: int | str) -> Must:
    """No byte of the request reaches the origin."""
    return Must(statuses=statuses or (400,))


def close() -> Must:
    """No byte reaches the origin, and the proxy sends no response."""
    return Must(closed=True)


def forward(count: int = 1, *then: int) -> Must:
    """The proxy forwards it, well framed.

    @param then: the statuses with which the proxy may reject the next request.
    """
    return Must(forwarded=count, then=then)


def cut() -> Must:
    """The response is truncated, or rejected if no byte of it was sent."""
    return Must(statuses=(502,), cut=True)


@attrs.frozen
class Case:
    """One behavior of a client or an origin.

    In all bytes C{<origin>} is the authority of an origin that speaks HTTP, C{<secure>} that of one that speaks TLS,
    C{<other>} and C{<other-secure>} those of a second host with both; C{<port>} is the port of the first.
    In messages of SOCKS, C{<port-16>} and C{<secure-port-16>} are ports as two octets.

    @ivar about: a short description.
    @ivar sent: the parts that the client sends, each after the response to the previous one.
    @ivar tunnel: the authority to CONNECT to first.
    @ivar server_name: the server name of the TLS session inside the tunnel; C{None} for no TLS.
    @ivar early: the data that is sent in one packet with the CONNECT.
    @ivar answer: the response of the origin to the first request; later requests get L{FRESH}.
    @ivar then_closes: whether the origin closes the connection after it.
    @ivar reply: whether the case tests the response.
    @ivar certificate: the name of the certificate that the TLS origin presents.
    @ivar apart: whether each part is sent over a separate client connection, by the same client or by another client of
        the same address: no connection to an origin may carry two of them.
    @ivar http2: the frames that the client sends instead, in parts, on an HTTP/2 connection: inside TLS, with prior
        knowledge in a tunnel, or to the listener.
    @ivar guarded: whether all loopback addresses are closed, as in the default configuration.
    @ivar by_content: whether the decision depends on the content.
    @ivar one_reading: whether each server reads the same permitted value in the content, which has another fault.
    @ivar listener: the listener to which the client connects.
    @ivar socks: the messages of a SOCKS client, each after the response to the previous one. They take the place of a
        CONNECT.
    @ivar client: the address of the client, as the authorizer must see it.
    """

    id: str
    group: str
    about: str
    must: Must
    sent: tuple[bytes, ...] = ()
    tunnel: bytes | None = None
    server_name: str | None = None
    early: bytes = b""
    answer: bytes = OK
    then_closes: bool = False
    reply: bool = False
    certificate: str = "good"
    guarded: bool = False
    apart: bool = False
    http2: tuple[tuple[Frame, ...], ...] = ()
    by_content: bool = False
    one_reading: bool = False
    listener: Listener = Listener.HTTP
    socks: tuple[bytes, ...] = ()
    client: str | None = None


# The name and the password of a client, which some listeners require.
SOCKS_CLIENT = (b"ci", b"scorecard")

GET = b"GET http://<origin>/ HTTP/1.1\r\nHost: <origin>\r\n\r\n"
# The authorizer denies every URL with this word.  Such a request at the origin was smuggled.
SMUGGLED = b"GET http://<origin>/smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n"
FORBIDDEN_WORD = "smuggled"
# The data after a 101.  No client may receive it without an authorized upgrade.
UNASKED = b"leaked"


def get(target: bytes = b"http://<origin>/", *lines: bytes, host: bytes | None = b"<origin>") -> bytes:
    """A GET with additional lines in its head."""
    first = [b"GET %b HTTP/1.1" % target] + ([b"Host: " + host] if host is not None else [])
    return b"\r\n".join([*first, *lines, b"", b""])


def post(content: bytes, *lines: bytes) -> bytes:
    """A POST; the lines of its head define the length of its content."""
    return b"\r\n".join([b"POST http://<origin>/ HTTP/1.1", b"Host: <origin>", *lines, b"", content])


def chunked(content: bytes) -> bytes:
    """A POST with chunked content, or with malformed chunked content."""
    return post(content, b"Transfer-Encoding: chunked")


def raw(sent: bytes, group: str, id: str, about: str, must: Must) -> Case:  # noqa: A002
    """A case of one packet to the port of the proxy."""
    return Case(id, group, about, must, (sent,))
