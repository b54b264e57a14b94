"""Statistics of an authorizer, of its cache, and of policy reloads."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class AuthorizerStats:
    """Current statistics of the authorization requests to an authorizer.

    @ivar in_flight: the number of authorization requests in flight.
    @ivar queued: the number of queued authorization requests.
    @ivar failures: the number of failures, by kind.
    @ivar rejected: the number of authorization requests that were rejected before they were sent, by reason.
    @ivar states: the states of the circuit breaker; the current state is true.
    @ivar opened: how often the circuit breaker opened.
    """

    in_flight: int
    queued: int
    failures: Mapping[str, int]
    rejected: Mapping[str, int]
    states: Mapping[str, bool]
    opened: int


@attrs.frozen
class CacheStats:
    """Current statistics of the decision cache.

    @ivar hits: the number of authorization requests for which a cached decision was reused.
    @ivar misses: the number of authorization requests that were sent to the authorizer.
    @ivar stale: the number of authorization requests for which an expired decision was reused because the authorizer
        failed.
    @ivar shared: the number of authorization requests that shared the response to an identical one in flight.
    @ivar entries: the number of cached decisions.
    """

    hits: int
    misses: int
    stale: int
    shared: int
    entries: int


@attrs.frozen(kw_only=True)
class SharedCacheStats:
    """Current statistics of the decision cache that replicas share.

    @ivar hits: the number of authorization requests for which a decision of a replica was reused.
    @ivar misses: the number of authorization requests that were sent to the authorizer.
    @ivar stale: the number of authorization requests for which an expired decision was reused because the authorizer
        failed.
    @ivar waited: the number of authorization requests that waited for a call of another replica.
    @ivar failed: the number of lookups and changes that failed.
    @ivar rejected: the number of values that no holder of the secret wrote.
    """

    hits: int
    misses: int
    stale: int
    waited: int
    failed: int
    rejected: int


@attrs.frozen(kw_only=True)
class BudgetStats:
    """Current statistics of budgets.

    @ivar buckets: the number of buckets that the process knows.
    @ivar exhausted: the number of requests and transfers that an exhausted budget ended.
    @ivar unavailable: the number of requests that were denied because a budget could not be counted.
    @ivar alone: the number of requests that were counted without the shared state, although there is one.
    @ivar failed: the number of commands to the shared state that failed.
    """

    buckets: int
    exhausted: int
    unavailable: int
    alone: int
    failed: int


@attrs.frozen
class PolicyInUse:
    """The policy that is in use.

    @ivar digest: the SHA-256 of its text, in hexadecimal.
    @ivar loaded: seconds since the epoch at which it was loaded.
    @ivar rules: the id and the verdict of each rule, and of the default.
    """

    digest: str
    loaded: float
    rules: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class PolicyReloadStats:
    """Current statistics of a policy and its files.

    @ivar rules: the number of rules in use.
    @ivar reads: the number of successful reloads.
    @ivar failures: the number of failed reloads.
    @ivar current: whether the policy in use matches the files.
    """

    rules: int
    reads: int = 0
    failures: int = 0
    current: bool = True


@attrs.frozen(kw_only=True)
class SpoolStats:
    """The state of the spool of an audit store.

    @ivar reached: whether the server of the audit store was reached by the last attempt.
    @ivar records: the number of records that wait.
    @ivar size: their size, in bytes.
    @ivar oldest: the time of the oldest one, in seconds since the epoch; C{None} if none waits.
    """

    reached: bool
    records: int
    size: int
    oldest: float | None
