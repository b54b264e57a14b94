"""What became of a policy that is read again whenever its files change."""

from __future__ import annotations

import attrs


@attrs.frozen
class PolicyReads:
    """A policy and its files, as of now.

    @ivar rules: how many rules are in use.
    @ivar reads: how often they were read again, and used since.
    @ivar failures: how often what was in the files could not be used.
    @ivar current: whether what is in use is what is in the files.
    """

    rules: int
    reads: int = 0
    failures: int = 0
    current: bool = True
