"""All cases, in the order of the page."""

from __future__ import annotations

from tests.scorecard import (
    balanced,
    contents,
    framing,
    http2,
    http2_connections,
    http2_listeners,
    identity,
    lines,
    places,
    replies,
    socks,
)
from tests.scorecard.cases import Case

CASES: tuple[Case, ...] = (
    *framing.CASES,
    *lines.CASES,
    *identity.CASES,
    *replies.CASES,
    *http2.CASES,
    *http2_connections.CASES,
    *http2_listeners.CASES,
    *socks.CASES,
    *balanced.CASES,
    *places.CASES,
    *contents.CASES,
)
