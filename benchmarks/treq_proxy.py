"""A proxy that sends its authorization requests with treq's client, for L{benchmarks.instructions}.

python -m benchmarks.treq_proxy CLIENT egressproxy [OPTION...]

CLIENT is a name in L{CLIENTS}.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from functools import cached_property, partial
from http.cookiejar import CookieJar
from typing import Any, Final

from hyperlink import EncodedURL
from treq import content
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.interfaces import IStreamClientEndpoint as IEndpoint
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from egress.authz.remote import client
from egress.authz.remote.agent import MAX_CONNECTIONS, AgentRequest, KeepAliveAgent
from egress.authz.remote.messages import BytesProducer, PendingRequest
from egress.http.events import ResponseHead
from egress.runtime.build import build_name


class _ParsedUrl(EncodedURL):
    """A URL that was normalized before.  C{to_uri} and C{to_text} of its base class normalize it for each request."""

    @cached_property
    def _cached_text(self) -> str:
        text: str = super().to_text()
        return text

    def to_uri(self) -> _ParsedUrl:
        """Return this URL."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """Return the text of this URL, which has no password."""
        return self._cached_text


class _NoCookies(CookieJar):
    """Neither sends cookies nor stores them."""

    def add_cookie_header(self, request: object) -> None:
        """Do nothing."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Do nothing."""


@implementer(IAgent)
class _Agent:
    """The agent of the proxy below treq's client."""

    def __init__(self, agent: TreqAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See L{IAgent.request}."""
        return KeepAliveAgent.request(self._agent, method, uri, headers, bodyProducer)


class TreqAgent(KeepAliveAgent):
    """The agent of the proxy behind treq's client.

    The client gets the URL parsed and its cookie jar made once.  It follows no redirects, does not buffer the response,
    and does not look for the global reactor.
    """

    url_class: type[EncodedURL] = EncodedURL
    jar_class: type[CookieJar] = CookieJar

    def __init__(
        self, clock: IReactorTime, endpoint: IEndpoint, over_tls: bool = False, connections: int = MAX_CONNECTIONS
    ) -> None:
        super().__init__(clock, endpoint, over_tls, connections)
        self._reactor: Any = clock
        self._jar = self.jar_class()
        self._client = HTTPClient(_Agent(self), self._jar, lambda producer: producer)  # type: ignore[arg-type]
        # The method, the URL and the fields of the last request, and the head that they come from.
        self._last_head = b""
        self._last = ("", self.url_class(), Headers())

    def send(self, pending: PendingRequest) -> None:
        """See L{KeepAliveAgent.send}."""
        if isinstance(pending, AgentRequest):
            # The client sends it.
            super().send(pending)
            return
        head, _, body = pending.data.partition(b"\r\n\r\n")
        head = head.rpartition(b"\r\n")[0]
        if head != self._last_head:
            self._last_head, self._last = head, self._parsed(head)
        method, url, headers = self._last
        sending: Deferred[Any] = self._client.request(
            method,
            url,
            headers=headers,
            data=BytesProducer(body),  # type: ignore[arg-type]
            cookies=self._jar,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        pending.on_cancel = sending.cancel
        sending.addCallback(_read, pending).addErrback(pending.fail)

    def _parsed(self, head: bytes) -> tuple[str, EncodedURL, Headers]:
        """Parse the head of a request without its last field, which is the length."""
        first, *lines = head.decode("ascii").split("\r\n")
        method, path, _ = first.split(" ")
        headers, host = Headers(), ""
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "Host":
                host = value
            elif name != "Accept-Encoding":
                headers.addRawHeader(name, value)
        return method, self.url_class.from_text(f"http://{host}{path}").to_uri(), headers


class ReducedTreqAgent(TreqAgent):
    """The same without the work of treq's client that its own hooks can avoid: URL and cookies."""

    url_class = _ParsedUrl
    jar_class = _NoCookies


def _read(response: Any, pending: PendingRequest) -> Deferred[None]:
    # The response of treq is a wrapper of the agent's own response.
    head: ResponseHead = response.original.head
    reading: Deferred[bytes] = content(response)
    return reading.addCallback(partial(pending.succeed, head))


CLIENTS: Final[dict[str, type[KeepAliveAgent]]] = {
    "agent": KeepAliveAgent,
    "treq": TreqAgent,
    "reduced-treq": ReducedTreqAgent,
}


def main(arguments: Sequence[str]) -> None:
    """Run C{twist} with one of the clients.  A compiled module does not use the replaced name."""
    if build_name() != "pure":
        raise SystemExit("--treq compares clients of the pure build only")
    name, *rest = arguments
    vars(client)["KeepAliveAgent"] = CLIENTS[name]
    sys.argv[1:] = rest
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
