"""The client side of a CONNECT handshake with an upstream proxy (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import re

from egress.model.authority import Authority, UpstreamHop
from egress.model.errors import EgressError, OriginProtocolError, UpstreamRefused, UpstreamUnreachable
from egress.model.quote import quoted
from egress.model.route import Route

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")


def refusal_by_upstream(upstream: UpstreamHop, status: int, reason: bytes) -> UpstreamRefused:
    """The error for a refusal by the upstream proxy, with its status code."""
    status_text = f"{status} {quoted(reason)}" if reason else str(status)
    hint = "; check the credentials in --upstream-proxy" if status == 407 else ""
    return UpstreamRefused(
        f"the upstream proxy {upstream.authority} refused the connection with {status_text}{hint}", status
    )


def error_of_challenge(route: Route, reason: bytes) -> EgressError:
    """The error for a response with status 407 to a request.

    Only a proxy that reads the requests may send it (RFC 9110 section 15.5.8). Inside a tunnel, or without an upstream
    proxy, it is from the origin. A client that responds to it would use its credentials for this proxy.
    """
    if route.absolute_form and route.upstream is not None:
        return refusal_by_upstream(route.upstream, 407, reason)
    return OriginProtocolError(f"{route.origin.authority} responded with 407, which only a proxy may send")


class ConnectHandshake:
    """Opens a tunnel through an upstream proxy.

    Send L{request}, then pass the received data to L{receive} until it returns the bytes that follow the response.

    @ivar upstream: the upstream proxy.
    """

    def __init__(self, upstream: UpstreamHop, authority: Authority, head_limit: int) -> None:
        self.upstream = upstream
        self._authority = authority
        self._limit = head_limit
        self._buffer = b""

    def request(self) -> bytes:
        """The CONNECT request. It contains the upstream proxy's credentials and nothing of the client's request."""
        target = str(self._authority).encode("ascii")
        head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (target, target)
        if self.upstream.authorization is not None:
            head += b"Proxy-Authorization: %b\r\n" % self.upstream.authorization
        return head + b"\r\n"

    def take_output(self) -> bytes:
        """The further messages to send: there are none."""
        return b""

    def receive(self, data: bytes) -> bytes | None:
        """Process data from the upstream proxy.

        @return: once the tunnel is established, the data after the response; C{None} while the response is incomplete.
        @raise UpstreamRefused: if the status is not 2xx.
        @raise UpstreamUnreachable: if it is not an HTTP/1 response.
        """
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) >= self._limit or not self._buffer.startswith(b"HTTP/1."[: len(self._buffer)]):
                    raise self._not_http()
                return None
            if end + 4 > self._limit:
                # A complete head over the limit is rejected like one that exceeds it while it is received.
                raise self._not_http()
            line = self._buffer[: self._buffer.index(b"\r\n")]
            match = _STATUS_LINE.fullmatch(line)
            if match is None:
                raise self._not_http()
            status = int(match[1])
            rest = self._buffer[end + 4 :]
            if status >= 200:
                break
            self._buffer = rest
        if status >= 300:
            raise refusal_by_upstream(self.upstream, status, match[2] or b"")
        return rest

    def _not_http(self) -> UpstreamUnreachable:
        return UpstreamUnreachable(
            f"the upstream proxy {self.upstream.authority} did not respond to the CONNECT with HTTP/1"
        )
