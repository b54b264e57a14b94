"""Threads for tests: there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure


class WithoutThreads:
    """What a reactor has of threads; whatever is for one is run at once."""

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(
        self, told: Callable[[bool, Any], object], call: Callable[..., Any], *arguments: Any, **named: Any
    ) -> None:
        try:
            result = call(*arguments, **named)
        except Exception:
            told(False, Failure())
        else:
            told(True, result)

    def callFromThread(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        call(*arguments, **named)
