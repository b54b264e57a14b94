"""Tests for L{egress.authz.budgets.script}; C{tests.integration.test_budgets} runs the scripts in an engine."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.authz.budgets.script import InvalidReply, arguments_of, read_reply
from egress.authz.budgets.token_bucket import Operation, Outcome, Rate


class ScriptTests(SynchronousTestCase):
    """The arguments of the script, and its reply."""

    def test_arguments(self) -> None:
        operation = Operation(Rate(0.125, 8), -3, 1, 2, 5 * 10**15, 4 * 10**15, True)
        self.assertEqual(
            arguments_of([operation, Operation(Rate(2.0, 1))]),
            [
                *("0.125", "8", "-3", "1", "2", "5000000000000000", "4000000000000000", "1"),
                *("2.0", "1", "0", "0", "0", "0", "0", "0"),
            ],
        )

    def test_reply(self) -> None:
        one = Operation(Rate(2.0, 1))
        self.assertEqual(
            read_reply([1, 7, 2, 9, 3, 0, 8, 4], [one, one]), (True, 7, [Outcome(2, 9, 3), Outcome(0, 8, 4)])
        )
        self.assertEqual(read_reply([0, 7, 0, 9, 3], [one]), (False, 7, [Outcome(0, 9, 3)]))

    def test_invalid_reply(self) -> None:
        some: list[Any] = [None, 5, b"OK", [], [1, 7], [1, 7, 2, 9], [1, 7, 2, 9, 3, 4]]
        some += [[1, 7, 2, b"9", 3], [1, 7, -2, 9, 3]]
        for reply in some:
            self.assertRaises(InvalidReply, read_reply, reply, [Operation(Rate(2.0, 1))])
