"""Tests for L{egress.tracing.sampler}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.trace import TraceContext
from egress.tracing.sampler import DEFAULT, NAMES, Sampler, sampler

LOW, HIGH = "f" * 16 + "0" * 15 + "1", "0" * 15 + "1" + "f" * 16
YES, NO = (TraceContext("a" * 32, "b" * 16, sampled) for sampled in (True, False))


class SamplerTests(SynchronousTestCase):
    """The samplers of the specification."""

    def test_table(self) -> None:
        for name, argument, expected in (
            ("always_on", "", "11 11 11"),
            ("always_off", "", "00 00 00"),
            ("traceidratio", "", "11 11 11"),
            ("traceidratio", "0.5", "10 10 10"),
            ("traceidratio", "0", "00 00 00"),
            ("traceidratio", "1", "11 11 11"),
            ("parentbased_always_on", "", "11 11 00"),
            ("parentbased_always_off", "", "00 11 00"),
            ("parentbased_traceidratio", "0.5", "10 11 00"),
        ):
            with self.subTest(name, argument=argument):
                made = sampler(name, argument)
                found = " ".join(
                    "".join(str(int(made.samples(parent, trace_id))) for trace_id in (LOW, HIGH))
                    for parent in (None, YES, NO)
                )
                self.assertEqual(found, expected)

    def test_default(self) -> None:
        self.assertEqual(sampler(DEFAULT, ""), Sampler())

    def test_invalid(self) -> None:
        for name, argument, text in (
            ("jaeger_remote", "", f"choose {', '.join(NAMES[:-1])} or {NAMES[-1]}"),
            ("traceidratio", "x", "the ratio of OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1"),
            ("parentbased_traceidratio", "1.1", "the ratio of OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1"),
            ("traceidratio", "-0.1", "the ratio of OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1"),
            ("traceidratio", "nan", "the ratio of OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1"),
        ):
            with self.subTest(name, argument=argument):
                self.assertEqual(str(self.assertRaises(ValueError, sampler, name, argument)), text)
