"""The tests, which mirror L{egress} path for path; what all of them need is set here."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings
from twisted.trial.unittest import SynchronousTestCase

# A machine that is busy with other things has not found a fault.
settings.register_profile("egress", deadline=None)
settings.load_profile("egress")


@contextmanager
def _named_row(case: SynchronousTestCase, row: object = "", **parameters: object) -> Iterator[None]:
    """Say in which row of a table a test failed: trial ignores what C{subTest} is given."""
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
