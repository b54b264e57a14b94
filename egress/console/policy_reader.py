"""The policy that decides, and the policy in its files, as the console reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import attrs

from egress.admin.api import Unanswered
from egress.config.model import ConfigError
from egress.console.page import Refused
from egress.console.sources import ConsoleSources
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.learn.audit_reader import AuditLine, LineFault, read_entry
from egress.policy.loaded_policy import LoadedPolicy
from egress.policy.parse.load import PolicyError, load_policy, load_texts
from egress.policy.rule_words import RuleText, rules_in_words
from egress.policy.rules import RuleSet
from egress.policy.source_text import SourceText
from egress.resources import read_descriptors
from egress.store.filter_language import Condition, Equals, Filter

MAX_RECORDS: Final = 10_000
"""The maximum number of records that are evaluated against a policy: each takes some 0.1 ms."""


@attrs.frozen
class FilePolicy:
    """The policy in the files, if it is not the policy that decides.

    @ivar rules: the policy; C{None} if it is not valid.
    @ivar error: the error in it, with the file and the line; empty if it is valid.
    """

    rules: RuleSet | None
    error: str = ""


@attrs.frozen(kw_only=True)
class PolicyState:
    """The policy that decides.

    @ivar in_use: the policy of each process; the first one is described.
    @ivar rules: the rules.
    @ivar words: the rules in words, in order.
    @ivar changed: the policy in the files; C{None} if it is the same, or if there are no files.
    """

    in_use: tuple[LoadedPolicy, ...]
    rules: RuleSet
    words: Sequence[RuleText] = attrs.field(repr=False)
    changed: FilePolicy | None = None

    @property
    def loaded(self) -> LoadedPolicy:
        """The policy that is described."""
        return self.in_use[0]

    @property
    def agreeing(self) -> int:
        """The number of processes that use it."""
        return sum(each.digest == self.loaded.digest for each in self.in_use)


class PolicyReader:
    """Reads the policies.

    @param sources: the data of the console.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources
        self._known: PolicyState | None = None

    async def state(self) -> PolicyState | None:
        """Return the policy that decides; C{None} if something else decides.

        @raise Unanswered: if no worker responds.
        """
        in_use = await self._sources.policies.in_use()
        if not in_use:
            if self._sources.config.authz_url is None and self._sources.config.workers > 1:
                raise Unanswered("no worker responds: reload the page in a moment")
            return None
        loaded = in_use[0]
        known = self._known
        # A reload reads the types of gRPC messages again, also if the policy is the same.
        is_known = known is not None and known.loaded == loaded
        texts = () if is_known else await self._texts(loaded)
        file, descriptors = self._sources.policy_file, self._sources.config.grpc_descriptors

        def read() -> PolicyState:
            # To parse thousands of rules takes a second.
            if known is not None and is_known:
                rules, words = known.rules, known.words
            else:
                rules = _typed(load_texts(texts, loaded.name), descriptors)
                words = rules_in_words(rules)
            changed = changed_policy(file, rules.texts, descriptors)
            return PolicyState(in_use=tuple(in_use), rules=rules, words=words, changed=changed)

        self._known = await self._sources.in_thread(read)
        return self._known

    async def shown(self) -> PolicyState | None:
        """Return the policy that decides, for a page; see L{state}.

        @raise Refused: if it cannot be shown now.
        """
        try:
            return await self.state()
        except Unanswered as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"The policy is not known now: {error}.") from error
        except PolicyError as error:
            # A file that the policy includes is read again only if it was not part of the policy.
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"The policy cannot be shown: {error.reason}.") from error

    async def _texts(self, loaded: LoadedPolicy) -> Sequence[SourceText]:
        return await self._sources.policies.texts(loaded.digest)

    async def recorded(self, since: float) -> list[AuditLine] | None:
        """Return the newest records that have a decision, the oldest first.

        @param since: the time of the oldest one, in seconds since the epoch.
        @return: at most L{MAX_RECORDS}; C{None} without an audit store.
        """
        reads = self._sources.reads
        if reads is None:
            return None
        records = await reads.search(Filter(since=since), MAX_RECORDS)
        return await self._sources.in_thread(lambda: lines_of(records))

    async def record(self, identifier: str) -> Mapping[str, Any] | None:
        """Return the record of a request; C{None} if there is none."""
        reads = self._sources.reads
        if reads is None:
            return None
        given = Filter(conditions=(Condition("id", (Equals(identifier),), negated=False),))
        records = await reads.search(given, 1)
        return records[0] if records else None


def lines_of(records: Sequence[Mapping[str, Any]]) -> list[AuditLine]:
    """Return the records that have a decision, the oldest first."""
    return [line for line in map(line_of, reversed(records)) if line is not None]


def line_of(record: Mapping[str, Any]) -> AuditLine | None:
    """Return a record as an audit line; C{None} if it has no decision."""
    try:
        return read_entry(record)
    except LineFault:
        return None


def changed_policy(
    file: Path | None, texts: Sequence[SourceText], descriptors: Sequence[Path] = ()
) -> FilePolicy | None:
    """Return the policy in the files if it is not that of the texts.

    @param file: the main file; C{None}: the policy has no file.
    @param texts: the texts that are in use.
    @param descriptors: the descriptor sets with the types of gRPC messages.
    """
    if file is None or (texts[0].where == str(file) and all(map(_is_same, texts))):
        return None
    try:
        return FilePolicy(with_descriptors(load_policy(file), read_descriptors(descriptors)))
    except PolicyError as error:
        return FilePolicy(None, error.reason)
    except ConfigError as error:
        return FilePolicy(None, str(error))


def _typed(rules: RuleSet, descriptors: Sequence[Path]) -> RuleSet:
    """Return the policy in use with the types of gRPC messages, which the proxy has read at its last reload."""
    try:
        return with_descriptors(rules, read_descriptors(descriptors))
    except (ConfigError, PolicyError):
        # The files have changed after the reload: conditions on fields are then unknown.
        return rules


def _is_same(text: SourceText) -> bool:
    try:
        content = Path(text.where).read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return False
    return SourceText.of(text.where, content).digest == text.digest
