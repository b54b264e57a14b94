"""All cases, in the order of the page."""

from __future__ import annotations

from tests.scorecard import contents, framing, http2, identity, lines, places, replies
from tests.scorecard.cases import Case

CASES: tuple[Case, ...] = (
    *framing.CASES,
    *lines.CASES,
    *identity.CASES,
    *replies.CASES,
    *http2.CASES,
    *places.CASES,
    *contents.CASES,
)
