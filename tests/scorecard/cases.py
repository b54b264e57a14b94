"""What a case is, and what must become of it."""

from __future__ import annotations

import attrs

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# What the second request of a kept connection is answered with.
FRESH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh"


@attrs.frozen
class Must:
    """What may become of a case.

    @ivar statuses: it may be refused with one of these.
    @ivar closed: the connection may be closed without an answer.
    @ivar forwarded: so many requests may reach the origin, each well framed and as it was decided on.  For an answer:
        it may reach the client, well framed and as the answer to its own request.
    @ivar then: with one of these, what comes behind it is refused.
    @ivar cut: an answer may be broken off, so that the client sees that something is missing.
    """

    statuses: tuple[int, ...] = ()
    closed: bool = False
    forwarded: int | None = None
    then: tuple[int, ...] = ()
    cut: bool = False

    def __str__(self) -> str:
        words = [str(status) for status in self.statuses]
        words += ["closed"] if self.closed else []
        words += ["cut"] if self.cut else []
        if self.forwarded is not None:
            times = f" ×{self.forwarded}" if self.forwarded > 1 else ""
            then = f", then {' or '.join(map(str, self.then))}" if self.then else ""
            words.append(f"well framed{times}{then}")
        return " or ".join(words)


def refuse(*statuses: int) -> Must:
    """Nothing of it reaches the origin."""
    return Must(statuses=statuses or (400,))


def close() -> Must:
    """Nothing of it reaches the origin, and there is nobody to answer."""
    return Must(closed=True)


def forward(count: int = 1, *then: int) -> Must:
    """It goes on, well framed.

    @param then: with what the request behind it may be refused.
    """
    return Must(forwarded=count, then=then)


def cut() -> Must:
    """The answer is broken off, or refused if nothing of it was sent."""
    return Must(statuses=(502,), cut=True)


@attrs.frozen
class Case:
    """One thing that a client, or an origin, does.

    In all bytes C{<origin>} is the authority of an origin that speaks HTTP, C{<secure>} that of one that speaks TLS,
    C{<other>} and C{<other-secure>} those of a second host with both; C{<port>} is the port of the first.

    @ivar about: what it is, in a few words.
    @ivar sent: what the client sends, each part after the answer to the one before.
    @ivar tunnel: the authority to CONNECT to first.
    @ivar server_name: that of a TLS session inside the tunnel; C{None}: there is no TLS.
    @ivar early: what is sent with the CONNECT, in one packet.
    @ivar answer: what the origin answers to the first request; later ones are answered with L{FRESH}.
    @ivar then_closes: whether the origin closes behind it.
    @ivar reply: whether the case is about the answer.
    @ivar certificate: which certificate the TLS origin shows.
    @ivar apart: whether each part is sent over a client connection of its own, by the same client or by another one of
        the same address: no connection to an origin may carry two of them.
    @ivar guarded: whether no loopback address is open, as it is for every user.
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


GET = b"GET http://<origin>/ HTTP/1.1\r\nHost: <origin>\r\n\r\n"
# The authorizer denies every URL with this word: whoever gets such a request to the origin has smuggled it.
SMUGGLED = b"GET http://<origin>/smuggled HTTP/1.1\r\nHost: <origin>\r\n\r\n"
FORBIDDEN_WORD = "smuggled"
# What follows a 101: no client gets it that was not to.
UNASKED = b"leaked"


def get(target: bytes = b"http://<origin>/", *lines: bytes, host: bytes | None = b"<origin>") -> bytes:
    """A GET, with more lines in its head."""
    first = [b"GET %b HTTP/1.1" % target] + ([b"Host: " + host] if host is not None else [])
    return b"\r\n".join([*first, *lines, b"", b""])


def post(content: bytes, *lines: bytes) -> bytes:
    """A POST; the lines of its head say how long its content is."""
    return b"\r\n".join([b"POST http://<origin>/ HTTP/1.1", b"Host: <origin>", *lines, b"", content])


def chunked(content: bytes) -> bytes:
    """A POST with content that is chunked, or nearly."""
    return post(content, b"Transfer-Encoding: chunked")


def raw(sent: bytes, group: str, id: str, about: str, must: Must) -> Case:  # noqa: A002
    """A case of one packet on the proxy's port."""
    return Case(id, group, about, must, (sent,))
