"""The tests, which mirror L{egress} path for path, and settings that apply to all of them."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

from tests import durations

# Timeouts must not fail on a busy machine.
settings.register_profile("egress", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("egress")


@contextmanager
def _named_row(case: SynchronousTestCase, row: object = "", **parameters: object) -> Iterator[None]:
    """Name the row of a table in which a test failed: trial ignores the arguments of C{subTest}."""
    try:
        yield
    except unittest.SkipTest:
        raise
    except Exception as error:
        words = [str(row)] if row != "" else []
        words += [f"{name}={value!r}" for name, value in parameters.items()]
        what = str(error) if isinstance(error, case.failureException) else f"{type(error).__name__}: {error}"
        raise case.failureException(f"[{', '.join(words)}] {what}") from error


SynchronousTestCase.subTest = _named_row  # type: ignore[assignment]
durations.record()
