"""Tests for L{egress.observability.collectors}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authz_failure import Questions
from egress.observability.metrics import Metrics

QUESTIONS = Questions(
    under_way=3,
    waiting=2,
    outages={"timeout": 5, "connection": 0},
    refused={"overload": 1, "open": 7},
    states={"closed": False, "open": True},
    opened=4,
)


class QuestionsCollectorTests(SynchronousTestCase):
    """Numbers as they are when somebody looks."""

    def test_numbers(self) -> None:
        metrics = Metrics()
        metrics.watch_questions(lambda: QUESTIONS, lambda: 6)
        lines = metrics.render()[0].decode("utf-8").splitlines()
        self.assertEqual(
            [line for line in lines if line.startswith("egress_authorizer_")],
            [
                "egress_authorizer_questions 3.0",
                "egress_authorizer_waiting 2.0",
                'egress_authorizer_breaker{state="closed"} 0.0',
                'egress_authorizer_breaker{state="open"} 1.0',
                'egress_authorizer_outages_total{kind="timeout"} 5.0',
                'egress_authorizer_outages_total{kind="connection"} 0.0',
                'egress_authorizer_refused_total{reason="overload"} 1.0',
                'egress_authorizer_refused_total{reason="open"} 7.0',
                "egress_authorizer_breaker_opened_total 4.0",
                "egress_authorizer_retries_total 6.0",
            ],
        )

    def test_without_retries(self) -> None:
        metrics = Metrics()
        metrics.watch_questions(lambda: QUESTIONS, None)
        self.assertNotIn(b"retries", metrics.render()[0])

    def test_nothing_is_told_without_questions(self) -> None:
        self.assertNotIn(b"egress_authorizer", Metrics().render()[0])
