"""The limit of open file descriptors, and the connection limits that follow from it."""

from __future__ import annotations

import math

import attrs
from twisted.internet.selectreactor import SelectReactor

from egress.config.model import Limits

try:
    import resource
except ImportError:  # pragma: no cover - not on Windows
    resource = None  # type: ignore[assignment]

# The descriptors that every process needs besides connections: logs, listeners, pipes, connections to the authorizer.
RESERVED = 512


def raise_limit(reactor: object) -> None:
    """Raise the limit of open descriptors for this process and its children as far as the system permits.

    The soft limit is low in most systems for the sake of programs that use C{select(2)}.
    """
    if resource is None or isinstance(reactor, SelectReactor):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            # Some systems have a further limit, and reject values above it.
            return


def soft_limit() -> int | None:
    """Return how many descriptors this process may open; C{None} if there is no limit."""
    if resource is None:  # pragma: no cover - not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def hard_limit() -> int | None:
    """Return how many descriptors this process may open after L{raise_limit}; C{None} if there is no limit."""
    if resource is None:  # pragma: no cover - not on Windows
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def clamp_to(limits: Limits, descriptors: int | None) -> Limits:
    """Reduce the connection limits to fit the available descriptors.

    The limit per client is reduced in the same proportion as the total limit, so that one client cannot use all
    connections.

    Each client with a request in progress uses two connections, its own and the origin's.  If descriptors are scarce, a
    quarter is reserved for idle connections and everything else.
    """
    if descriptors is None:
        return limits
    roomy = descriptors - RESERVED - limits.pool_total
    tight = descriptors * 3 // 4
    connections = max(1, max(roomy, tight) // 2)
    pool_total = min(limits.pool_total, max(1, descriptors // 8)) if roomy < tight else limits.pool_total
    part = min(1.0, connections / limits.connections)
    return attrs.evolve(
        limits,
        connections=min(limits.connections, connections),
        connections_per_client=max(1, math.ceil(limits.connections_per_client * part)),
        pool_total=pool_total,
    )
