"""The use of a policy version: an entry of the history of policies."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class PolicyUse:
    """A policy that came into use, or that an administrator wrote.

    @ivar time: the time, in seconds since the epoch.
    @ivar version: the version that decisions name.
    @ivar digest: the complete digest.
    @ivar source: where the policy came from: a file, a URL, or the console.
    @ivar author: who wrote it; empty: the source does not tell.
    @ivar node: the name of the machine; empty if the store belongs to one machine.
    @ivar texts: the texts (L{egress.policy.loaded_policy.texts_to_json}) as JSON; empty: another entry has them.
    """

    time: float
    version: str
    digest: str
    source: str
    author: str = ""
    node: str = ""
    texts: str = attrs.field(default="", repr=False)
