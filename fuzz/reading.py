"""What several targets share: the limits of heads, data in pieces, and the strict reading of what is forwarded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from egress.http.body import encode_chunk
from egress.http.events import End, RequestHead, ResponseHead
from egress.http.heads import HeadLimits, parse_request_head
from egress.http.hop_by_hop import encode_fields
from egress.http.upgrade import requested_upgrade
from egress.http.writers import encode_request, encode_response, forwarded_fields, forwarded_head, response_framing
from egress.model.authority import Authority, Origin
from egress.model.errors import ClientError
from tests.scorecard.messages import read_request, read_response

LIMITS: Final = HeadLimits(head=2000, fields=40, target=500)
# A written head has a space in each field, so it can be longer than the head that was read.
WIDER: Final = HeadLimits(head=4000, fields=40, target=500)
ORIGIN: Final = Origin("http", Authority("origin.test", 8080))
_GET: Final = parse_request_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS)


def pieces(data: bytes, seed: int, *, short: int = 7) -> Iterator[bytes]:
    """Split bytes into reads.

    @param short: the maximum size of most reads.
    """
    position, step = 0, seed
    while position < len(data):
        size = 1 + step % short + (step % 5 == 0) * 40
        yield data[position : position + size]
        position += size
        step = (step * 5 + 3) % 256


def joined(events: list[Any]) -> list[Any]:
    """Join consecutive content."""
    found: list[Any] = []
    for event in events:
        if type(event) is bytes and found and type(found[-1]) is bytes:
            found[-1] += event
        else:
            found.append(event)
    return found


def check_request(head: RequestHead, content: bytes, end: End | None) -> None:
    """The origin receives one request with one reading: the strict reader reads the authorized request."""
    try:
        fields = forwarded_fields(head, ORIGIN, requested_upgrade(head, ("tcp",)))
    except ClientError:
        return
    wire = encode_request(forwarded_head(head, b"/x", fields))
    chunked = (b"Transfer-Encoding", b"chunked") in fields
    if chunked:
        wire += (encode_chunk(content) if content else b"") + b"0\r\n%b\r\n" % encode_fields(
            end.trailers if end else ()
        )
    else:
        wire += content
    message, rest = read_request(wire)
    assert (message.content, message.complete, rest) == (content, True, b""), wire
    assert message.field(b"host") == b"origin.test:8080", wire
    assert message.start == (head.method.encode(), b"/x", b"HTTP/1.1"), wire


def check_response(head: ResponseHead, method: str, content: bytes, end: End) -> None:
    """The client receives one response with one reading."""
    framing = response_framing(head, _GET)
    wire = encode_response(head, _GET, framing, keep_alive=True)
    if (head.framing.has_body or content) and b"Transfer-Encoding: chunked" in wire.split(b"\r\n"):
        wire += (encode_chunk(content) if content else b"") + b"0\r\n%b\r\n" % encode_fields(end.trailers)
    else:
        wire += content
    message, rest = read_response(wire, method.encode(), False)
    assert (message.status, message.content, message.complete, rest) == (head.status, content, True, b""), wire


@implementer(ILogObserver)
class Unexpected:
    """Collects the exceptions that the code under test has only logged."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def __call__(self, event: Any) -> None:
        """Observe an event of the log."""
        if "log_failure" in event:
            self.found.append(event["log_failure"])

    def __enter__(self) -> Unexpected:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self)
        assert not self.found, self.found[0].getTraceback()
