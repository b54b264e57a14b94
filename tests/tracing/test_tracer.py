"""Tests for L{egress.tracing.tracer}."""

from __future__ import annotations

from itertools import chain, repeat

from twisted.trial.unittest import SynchronousTestCase

from egress.model.trace import TraceContext
from egress.tracing.sampler import Sampler
from egress.tracing.tracer import Tracer

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


class TracerTests(SynchronousTestCase):
    """An exchange continues the trace of its client, or begins one."""

    def test_continued(self) -> None:
        trace = Tracer(Sampler(), propagates=True).begin(((b"traceparent", f"00-{TRACE}-{SPAN}-01".encode()),))
        self.assertEqual((trace.trace_id, trace.parent), (TRACE, TraceContext(TRACE, SPAN, True)))
        self.assertTrue(trace.sampled)
        self.assertNotEqual(trace.begin_attempt(), ())

    def test_not_sampled_by_the_client(self) -> None:
        trace = Tracer(Sampler(), propagates=False).begin(((b"traceparent", f"00-{TRACE}-{SPAN}-00".encode()),))
        self.assertFalse(trace.sampled)
        self.assertEqual(trace.begin_attempt(), ())

    def test_new(self) -> None:
        tracer = Tracer(Sampler(), propagates=False)
        first, second = tracer.begin(()), tracer.begin(((b"traceparent", b"invalid"),))
        self.assertEqual((first.parent, second.parent), (None, None))
        self.assertRegex(first.trace_id + first.span_id, r"^[0-9a-f]{48}$")
        self.assertEqual(len({first.trace_id, second.trace_id}), 2)
        self.assertEqual(len({first.span_id, second.span_id}), 2)

    def test_no_id_of_zeros(self) -> None:
        values = chain((bytes(16), b"\1" * 16, bytes(8), bytes(8)), repeat(b"\2" * 8))
        trace = Tracer(Sampler(), propagates=False, random=lambda size: next(values)).begin(())
        self.assertEqual((trace.trace_id, trace.span_id), ("01" * 16, "02" * 8))
