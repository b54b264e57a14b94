"""Tests for L{egress.model.trace}."""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from egress.model.trace import ExchangeTrace, TraceContext, trace_context

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


def parse(parent: str | bytes, *states: str) -> TraceContext | None:
    value = parent if isinstance(parent, bytes) else parent.encode("utf-8")
    return trace_context(
        ((b"Host", b"a"), (b"TraceParent", value), *((b"tracestate", each.encode("utf-8")) for each in states))
    )


class TraceparentTests(SynchronousTestCase):
    """C{traceparent} is parsed as strictly as the specification says."""

    def test_valid(self) -> None:
        self.assertEqual(parse(VALID), TraceContext(TRACE, SPAN, True))
        for flags, sampled in (("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)):
            with self.subTest(flags):
                self.assertEqual(parse(f"00-{TRACE}-{SPAN}-{flags}"), TraceContext(TRACE, SPAN, sampled))

    def test_later_versions(self) -> None:
        for value in (f"01-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-", f"cc-{TRACE}-{SPAN}-01-what-the-future-has"):
            with self.subTest(value):
                self.assertEqual(parse(value), TraceContext(TRACE, SPAN, True))

    def test_invalid(self) -> None:
        for value in (
            "",
            "00",
            f" {VALID}",
            f"{VALID} ",
            f"{VALID}\n",
            f"{VALID}-",
            f"{VALID}-more",
            f"{VALID}{VALID}",
            f"ff-{TRACE}-{SPAN}-01",
            f"0-{TRACE}-{SPAN}-01",
            f"000-{TRACE}-{SPAN}-01",
            f"01-{TRACE}-{SPAN}-01.more",
            f"00-{TRACE.upper()}-{SPAN}-01",
            f"00-{TRACE}-{SPAN.upper()}-01",
            f"00-{TRACE}-{SPAN}-0A",
            f"00-{TRACE}-{SPAN}-1",
            f"00-{TRACE}-{SPAN}-001",
            f"00-{TRACE}-{SPAN}",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE[1:]}-{SPAN}-01",
            f"00-{TRACE}0-{SPAN}-01",
            f"00-{TRACE}-{SPAN[1:]}-01",
            f"00_{TRACE}_{SPAN}_01",
            f"00-{TRACE[:-1]}\u0660-{SPAN}-01",
            b"\xff" * 55,
        ):
            with self.subTest(value):
                self.assertIsNone(parse(value))

    def test_none_and_several(self) -> None:
        self.assertIsNone(trace_context(((b"Host", b"a"), (b"tracestate", b"a=1"))))
        self.assertIsNone(trace_context(((b"traceparent", VALID.encode()),) * 2))


class TracestateTests(SynchronousTestCase):
    """C{tracestate} is passed on if all of it is valid."""

    def state(self, *states: str) -> str:
        context = parse(VALID, *states)
        assert context is not None
        return context.state

    def test_valid(self) -> None:
        for states, expected in (
            ((), ""),
            (("",), ""),
            (("a=1",), "a=1"),
            (("a=1", "b=2"), "a=1,b=2"),
            (("a=1 , \tb=2,,c=x y",), "a=1,b=2,c=x y"),
            (("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            (("fw529a3039@dt=FfkV/a_b*c-d",), "fw529a3039@dt=FfkV/a_b*c-d"),
            ((",".join(f"k{number}=v" for number in range(32)),), ",".join(f"k{number}=v" for number in range(32))),
        ):
            with self.subTest(states):
                self.assertEqual(self.state(*states), expected)

    def test_invalid(self) -> None:
        for states in (
            ("a",),
            ("a=",),
            ("=1",),
            ("a =1",),
            ("A=1",),
            ("1a=1",),
            ("a=1=2",),
            ("a@=1",),
            ("a@b@c=1",),
            ("a=1", "a=2"),
            ("a=\u00e4",),
            ("a=1\x01",),
            ("a=" + "x" * 257,),
            (",".join(f"k{number}=v" for number in range(33)),),
            (",".join(f"k{number}={'v' * 200}" for number in range(6)),),
        ):
            with self.subTest(states):
                self.assertEqual(self.state(*states), "")

    def test_fields(self) -> None:
        parent = (b"traceparent", VALID.encode())
        self.assertEqual(TraceContext(TRACE, SPAN, True).fields, (parent,))
        self.assertEqual(TraceContext(TRACE, SPAN, True, "a=1").fields, (parent, (b"tracestate", b"a=1")))
        self.assertEqual(TraceContext(TRACE, SPAN, False).fields[0][1][-3:], b"-00")


class ExchangeTraceTests(SynchronousTestCase):
    """Each message of an exchange has its own span."""

    def trace(self, parent: TraceContext | None, *, propagates: bool = True) -> ExchangeTrace:
        numbers = count(1)
        return ExchangeTrace(parent, TRACE, lambda: f"{next(numbers):016x}", sampled=True, propagates=propagates)

    def test_messages(self) -> None:
        trace = self.trace(TraceContext(TRACE, SPAN, True, "a=1"))
        fields = [trace.begin_decision(), trace.begin_decision(), trace.begin_attempt()]
        for number, (parent, state) in enumerate(fields, 2):
            self.assertEqual(parent, (b"traceparent", f"00-{TRACE}-{number:016x}-01".encode()))
            self.assertEqual(state, (b"tracestate", b"a=1"))
        self.assertEqual((trace.span_id, trace.decisions), (f"{1:016x}", [f"{2:016x}", f"{3:016x}"]))
        self.assertEqual(trace.attempts, [f"{4:016x}"])

    def test_without_parent(self) -> None:
        self.assertEqual([name for name, _ in self.trace(None).begin_decision()], [b"traceparent"])

    def test_not_propagated(self) -> None:
        trace = self.trace(None, propagates=False)
        self.assertEqual(trace.begin_attempt(), ())
        self.assertEqual(len(trace.attempts), 1, "the span has an id in any case")
        self.assertNotEqual(trace.begin_decision(), ())
