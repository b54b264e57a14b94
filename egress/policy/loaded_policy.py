"""The policy that a process uses, as other processes see it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from egress.policy.source_text import SourceText


@attrs.frozen
class LoadedPolicy:
    """The policy that a process uses.

    @ivar name: the name of the policy in logs.
    @ivar digest: its digest (L{egress.policy.rules.RuleSet.digest}).
    @ivar loaded: the time at which it was loaded, in seconds since the epoch.
    """

    name: str
    digest: str
    loaded: float

    def to_json(self) -> dict[str, Any]:
        """Serialize the object for L{from_json}."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LoadedPolicy:
        """Parse an object of another process of this proxy."""
        return cls(**document)


def texts_to_json(texts: Sequence[SourceText]) -> list[list[str]]:
    """Serialize the texts of a policy for L{texts_from_json}."""
    return [[text.where, base64.b64encode(text.packed).decode("ascii"), text.digest] for text in texts]


def texts_from_json(document: Sequence[Sequence[str]]) -> tuple[SourceText, ...]:
    """Parse the texts of a policy of another process of this proxy."""
    return tuple(SourceText(where, base64.b64decode(packed), digest) for where, packed, digest in document)
