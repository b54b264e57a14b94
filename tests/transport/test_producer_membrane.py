"""Tests for L{egress.transport.producer_membrane}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.transport.producer_membrane import ProducerMembrane


class _Producer:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class ProducerMembraneTests(SynchronousTestCase):
    """The producer sees each change once."""

    def test_calls(self) -> None:
        producer = _Producer()
        membrane = ProducerMembrane(producer)
        membrane.resumeProducing()
        for _ in range(2):
            membrane.pauseProducing()
        for _ in range(2):
            membrane.resumeProducing()
        membrane.pauseProducing()
        membrane.stopProducing()
        self.assertEqual(producer.calls, ["pause", "resume", "pause", "stop"])
