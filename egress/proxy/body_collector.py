"""The content of one request on its way into memory, for an authorizer that looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egress.config.model import KIB
from egress.model.errors import ContentMemoryExhausted, EgressError, RequestTimeout
from egress.proxy.memory_budget import Claim
from egress.proxy.request_body import RequestBody

if TYPE_CHECKING:
    from egress.proxy.client_session import HttpSession
    from egress.proxy.context import ProxyContext

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# What a content of unknown length takes of the common memory at first; most are shorter.
FIRST: Final = 256 * KIB


class BodyCollector:
    """Reads content while there is memory for it, and holds that memory until the end of the exchange.

    A content that is announced gets the memory for all of it before any of it is read, so that those that were begun
    can be completed.  One of unknown length begins with L{FIRST} bytes and then asks for all that a content may take.
    While there is no memory, the client is not read from; the time for the content bounds that, too.

    @param client: as per-client limits count clients.
    """

    def __init__(self, parts: ProxyContext, session: HttpSession, content: RequestBody, client: str) -> None:
        self._parts = parts
        self._session = session
        self._content = content
        self._client = client
        self._claim: Claim | None = None
        self._expects_continue = False
        self._until = 0.0

    @property
    def wants_more(self) -> bool:
        """Whether there is memory to read on."""
        return self._claim is not None and self._claim.granted

    def begin(self, *, expects_continue: bool) -> None:
        """Read the content, now or as soon as there is memory."""
        limits, announced = self._parts.limits, self._content.announced
        self._expects_continue = expects_continue
        self._until = self._parts.clock.seconds() + limits.body_timeout
        size = min(limits.body, FIRST if announced is None else announced)
        self._claim = self._parts.contents.claim(self._client, size, self._go_on)
        if self._claim.granted:
            self._go_on()
        else:
            self._watch()

    def _go_on(self) -> None:
        if self._expects_continue:
            # The content is needed here, for the decision.  The origin is still asked whether it wants it.
            self._expects_continue = False
            self._session.write(CONTINUE)
        self._watch()
        self._session.advance()

    def _watch(self) -> None:
        left = max(0.0, self._until - self._parts.clock.seconds())
        # While it waits for us, it cannot be blamed for being silent.
        self._session.watch(min(self._parts.limits.head_timeout, left) if self.wants_more else left)

    def take(self, data: bytes) -> None:
        """Keep content."""
        content, claim = self._content, self._claim
        content.collect(data)
        if content.oversize:
            return
        if claim is not None and content.size >= claim.wanted and content.announced is None:
            claim.grow(self._parts.limits.body)
        self._watch()

    def complete(self) -> None:
        """Give back what the content did not take."""
        if self._claim is not None and self._claim.granted:
            self._claim.shrink(min(self._content.size, self._claim.size))

    def expired(self) -> EgressError:
        """Say why the content is not there in time."""
        if self.wants_more:
            return RequestTimeout("the content was not sent in time")
        return ContentMemoryExhausted(
            "the contents of other requests take all the memory that there is for contents (--body-memory): try again"
        )

    def drop(self) -> None:
        """Give everything back."""
        if self._claim is not None:
            self._claim.end()
