"""Calls of functions that return a Deferred, most often one that has fired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


def call_for_deferred(function: Callable[[_Argument], Deferred[_Result]], argument: _Argument) -> Deferred[_Result]:
    """Call a function that may raise, return a plain value, or be a coroutine, instead of returning a Deferred.

    The result is that of C{maybeDeferred}, which takes four times as long for a function that returns a Deferred.

    @param function: the function.
    @param argument: its argument.
    """
    try:
        result: Any = function(argument)
    except BaseException:  # noqa: BLE001 - as in maybeDeferred: whatever a plugin raises fails only this call
        return fail(Failure())  # type: ignore[no-untyped-call]
    called: Deferred[_Result] = result if isinstance(result, Deferred) else maybeDeferred(_same, result)
    return called


def _same(result: Any) -> Any:
    return result
