"""Tests for L{egress.runtime.deferred_call}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.deferred_call import call_for_deferred


class CallForDeferredTests(SynchronousTestCase):
    """Whatever the function does, the result is a Deferred."""

    def test_deferred(self) -> None:
        for result in (succeed(1), Deferred(), fail(ValueError())):
            with self.subTest(result=result):
                self.assertIs(call_for_deferred(lambda _, result=result: result, None), result)  # type: ignore[misc]
                result.addErrback(lambda _: None)

    def test_argument(self) -> None:
        self.assertEqual(self.successResultOf(call_for_deferred(lambda number: succeed(number + 1), 1)), 2)

    def test_plain_value(self) -> None:
        for value in (None, 1, ValueError()):
            with self.subTest(value=value):
                function: Any = lambda _, value=value: value  # noqa: E731
                self.assertIs(self.successResultOf(call_for_deferred(function, None)), value)

    def test_coroutine(self) -> None:
        async def function(number: int) -> int:
            return await succeed(number + 1)

        untyped: Any = function
        self.assertEqual(self.successResultOf(call_for_deferred(untyped, 1)), 2)

    def test_exception(self) -> None:
        """A plugin cannot stop the reactor either."""
        for kind in (ValueError, SystemExit):
            with self.subTest(kind=kind):

                def function(_: None, kind: type[BaseException] = kind) -> Deferred[None]:
                    raise kind

                self.failureResultOf(call_for_deferred(function, None), kind)
