"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc
from typing import Final

# Python's own number is 700.  Almost no garbage of a request is in a cycle.
YOUNG_OBJECTS: Final = 5_000


def spare_started_objects() -> None:
    """Exempt all objects that exist after the start from garbage collection, and collect others less often.

    These are some 90,000 objects, most of them modules, classes and functions.  Examining them takes up to 60 ms, in
    which the process does not serve, and this happens after a few thousand connections.  Objects that are not in a
    cycle are freed as before.
    """
    gc.freeze()
    # The other thresholds count collections.
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
