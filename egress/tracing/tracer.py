"""The begin of the traces of exchanges."""

from __future__ import annotations

from collections.abc import Callable
from os import urandom

from egress.model.decision import Headers
from egress.model.trace import ExchangeTrace, trace_context
from egress.tracing.sampler import Sampler


class Tracer:
    """Begins the trace of each exchange, or continues the trace of its client.

    @param sampler: which traces are exported.
    @param propagates: whether origins receive the context.
    @param random: returns random bytes.
    """

    def __init__(self, sampler: Sampler, *, propagates: bool, random: Callable[[int], bytes] = urandom) -> None:
        self._sampler = sampler
        self._propagates = propagates
        self._random = random

    def begin(self, headers: Headers) -> ExchangeTrace:
        """Begin the trace of an exchange.

        @param headers: the header fields of the request.
        """
        parent = trace_context(headers)
        trace_id = self._new_id(16) if parent is None else parent.trace_id
        sampled = self._sampler.samples(parent, trace_id)
        return ExchangeTrace(parent, trace_id, self.new_span_id, sampled=sampled, propagates=self._propagates)

    def new_span_id(self) -> str:
        """Make the id of a span."""
        return self._new_id(8)

    def _new_id(self, size: int) -> str:
        while True:
            made = self._random(size)
            # An id of zeros means that there is none.
            if any(made):
                return made.hex()
