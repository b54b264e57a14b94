"""The decoded content for authorization services that do not decode content themselves."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from egress.authz.wrapper import Wrapper
from egress.config.model import KIB
from egress.http.content_coding import Decoded, Steps, Undecodable, content_codings, decode, decoding
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.fair_shares import FairShares
from egress.model.request_preview import MAX_SHOWN
from egress.transport.fair_turns import RoundRobin

# The steps in the first turn, at most about a millisecond: most content is complete by then.
_STEPS_NOW: Final = 4

_TRUNCATED: Final = "only the beginning of its content is known"
_MEMBERS: Final = "its content has several gzip members or zstd frames, and some servers read only the first"
_MEMORY: Final = "the decoded content of other requests uses all memory (the operator can increase --body-memory)"


# More content is not decoded for a preview, which shows only its beginning.
_MAX_PREVIEWED: Final = 256 * KIB


def decoded_for_preview(request: DecisionRequest) -> bytes | None:
    """Return the content without its content codings; C{None} if it has none, is long, or cannot be decoded."""
    if not request.body or request.body_truncated or len(request.body) > MAX_SHOWN:
        return None
    try:
        codings = content_codings(request.headers)
        found = decode(request.body, codings, _MAX_PREVIEWED, lambda work: None) if codings else None
    except Undecodable:
        return None
    return None if found is None or found.has_members else found.content


class DecodingAuthorizer(Wrapper):
    """Adds the decoded content to authorization requests whose content has a content coding.

    Content is decoded in small steps, and clients share the turns of the reactor.  The decoded content uses memory
    until the decision.

    @param limit: the maximum decoded length, in bytes.
    @param memory: the maximum memory for all decoded contents, in bytes.
    """

    def __init__(self, clock: IReactorTime, authorizer: IAuthorizer, *, limit: int, memory: int) -> None:
        super().__init__(authorizer)
        self._turns = RoundRobin(clock)
        self._limit = limit
        self._memory = FairShares(memory)

    @property
    def held(self) -> int:
        """The memory of all decoded contents, in bytes."""
        return self._memory.held

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Decode the content, then forward the request; see L{IAuthorizer.decide}."""
        if not request.body or request.message is not None:
            # The fields of a request do not describe the messages of its exchange.
            return self._authorizer.decide(request)
        try:
            codings = content_codings(request.headers)
        except Undecodable as error:
            return self._forward(request, error.reason)
        if not codings:
            return self._authorizer.decide(request)
        if request.body_truncated:
            return self._forward(request, _TRUNCATED)
        steps = decoding(request.body, codings, self._limit)
        one = _Decoding(steps, request.client.limit_key, self._turns, self._memory)
        one.run(_STEPS_NOW)

        def release(result: Decision) -> Decision:
            one.release()
            return result

        return one.done.addCallback(lambda found: self._forward(request, found)).addBoth(release)

    def _forward(self, request: DecisionRequest, found: bytes | str) -> Deferred[Decision]:
        """Forward a request with its decoded content, or with the reason why there is none."""
        if isinstance(found, str):
            return self._authorizer.decide(attrs.evolve(request, undecodable=found))
        return self._authorizer.decide(attrs.evolve(request, decoded_body=found))


class _Decoding:
    """The decoding of one content.

    @ivar done: fires with the content, or with the reason why it is undecodable.
    """

    def __init__(self, steps: Steps, client: str, turns: RoundRobin, memory: FairShares) -> None:
        self.done: Deferred[bytes | str] = Deferred(lambda _: steps.close())
        self._steps = steps
        self._client = client
        self._turns = turns
        self._memory = memory
        self._held = 0

    def run(self, count: int = 1) -> None:
        """Take a number of steps now, and the others in later turns."""
        for _ in range(count):
            try:
                size = next(self._steps)
            except StopIteration as end:
                # After the end of a cancelled decoding, there is no result.
                if end.value is not None:
                    self._finish(end.value)
                return
            except Undecodable as error:
                self._fail(error.reason)
                return
            except Exception:  # noqa: BLE001 - a bug must end in a response
                self.done.errback()
                return
            if not self._memory.fits(self._client, size):
                self._fail(_MEMORY)
                return
            self._memory.take(self._client, size)
            self._held += size
        self._turns.later(self._client, self.run)

    def _finish(self, found: Decoded) -> None:
        if found.has_members:
            self._fail(_MEMBERS)
            return
        excess = self._held - len(found.content)
        self._memory.give_back(self._client, excess)
        self._held -= excess
        self.done.callback(found.content)

    def _fail(self, reason: str) -> None:
        self._steps.close()
        self.release()
        self.done.callback(reason)

    def release(self) -> None:
        """Release the memory."""
        self._memory.give_back(self._client, self._held)
        self._held = 0
