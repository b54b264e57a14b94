"""The policy that a process uses, as other processes see it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from egress.model.policy_use import PolicyUse
from egress.policy.rules import RuleSet
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


def use_of(rules: RuleSet, time: float, source: str, author: str = "") -> PolicyUse | None:
    """Return the entry of a policy for the history of policies; C{None} if it has no text, or is not loaded yet.

    @param time: the time, in seconds since the epoch.
    @param source: where the policy came from.
    @param author: who wrote it, if that is known.
    """
    if rules.policy_version is None or not rules.is_loaded:
        return None
    return PolicyUse(
        time=time,
        version=rules.policy_version,
        digest=rules.digest,
        source=source.encode("utf-8", "backslashreplace").decode("utf-8"),
        author=author,
        texts=json.dumps(texts_to_json(rules.texts)),
    )


def texts_to_json(texts: Sequence[SourceText]) -> list[list[str]]:
    """Serialize the texts of a policy for L{texts_from_json}."""
    return [[text.where, base64.b64encode(text.packed).decode("ascii"), text.digest] for text in texts]


def texts_from_json(document: Sequence[Sequence[str]]) -> tuple[SourceText, ...]:
    """Parse the texts of a policy of another process of this proxy."""
    return tuple(SourceText(where, base64.b64decode(packed), digest) for where, packed, digest in document)
