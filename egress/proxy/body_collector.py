"""Collects the content of one request in memory, for an authorizer that reads content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from egress.config.model import KIB
from egress.model.errors import ContentMemoryExhausted, EgressError, RequestTimeout
from egress.proxy.interfaces import IClientStream
from egress.proxy.memory_budget import Claim
from egress.proxy.request_body import RequestBody

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# Initial memory for content of unknown length; most content is shorter.
FIRST: Final = 256 * KIB


class BodyCollector:
    """Reads content while memory is available, and holds the memory until the exchange ends.

    Content with an announced length gets all its memory before it is read, so that content that was started can be
    completed. Content of unknown length starts with L{FIRST} bytes, then requests the maximum size. Without memory, the
    collector does not read from the client; the content timeout limits this wait as well.

    @param client: the client's key for per-client limits.
    """

    def __init__(self, context: ProxyContext, stream: IClientStream, content: RequestBody, client: str) -> None:
        self._context = context
        self._stream = stream
        self._content = content
        self._client = client
        self._claim: Claim | None = None
        self._expects_continue = False
        self._deadline = 0.0

    @property
    def wants_more(self) -> bool:
        """Whether there is memory to read more."""
        return self._claim is not None and self._claim.granted

    def begin(self, *, expects_continue: bool) -> None:
        """Read the content, now or as soon as memory is available."""
        limits, announced = self._context.limits, self._content.announced
        self._expects_continue = expects_continue
        self._deadline = self._context.clock.seconds() + limits.body_timeout
        size = min(limits.body, FIRST if announced is None else announced)
        self._claim = self._context.contents.claim(self._client, size, self._continue)
        if self._claim.granted:
            self._continue()
        else:
            self._watch()

    def _continue(self) -> None:
        if self._expects_continue:
            # The decision needs the content here. The origin still gets the expectation.
            self._expects_continue = False
            self._stream.send_continue()
        self._watch()
        self._stream.read_content()

    def _watch(self) -> None:
        remaining = max(0.0, self._deadline - self._context.clock.seconds())
        # While the client waits for the proxy, its silence is not a fault.
        self._stream.watch(min(self._context.limits.head_timeout, remaining) if self.wants_more else remaining)

    def take(self, data: bytes) -> None:
        """Store content."""
        content, claim = self._content, self._claim
        content.collect(data)
        if content.oversize:
            return
        if claim is not None and content.size >= claim.wanted and content.announced is None:
            claim.grow(self._context.limits.body)
        self._watch()

    def complete(self) -> None:
        """Release the memory that the content did not need."""
        if self._claim is not None and self._claim.granted:
            self._claim.shrink(min(self._content.size, self._claim.size))

    def expired(self) -> EgressError:
        """The error for content that was not collected in time."""
        if self.wants_more:
            return RequestTimeout("the content was not received in time")
        return ContentMemoryExhausted(
            "the content of other requests uses all memory for content (--body-memory); try again"
        )

    def drop(self) -> None:
        """Release all memory."""
        if self._claim is not None:
            self._claim.end()
