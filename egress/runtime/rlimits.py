"""How many descriptors the system grants, and what may be done with them."""

from __future__ import annotations

import math

import attrs
from twisted.internet.selectreactor import SelectReactor

from egress.config.model import Limits

try:
    import resource
except ImportError:  # pragma: no cover - not on Windows
    resource = None  # type: ignore[assignment]

# What every process has open besides connections: logs, listening sockets, pipes, connections to the authorizer.
RESERVED = 512


def raise_limit(reactor: object) -> None:
    """Have the system grant this process, and those that it starts, as many descriptors as it may.

    The lower of the two limits is low in most systems for the sake of programs that use C{select(2)}.
    """
    if resource is None or isinstance(reactor, SelectReactor):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            # Some systems have a further limit, and refuse what is above it.
            return


def soft_limit() -> int | None:
    """How many descriptors this process may have open; C{None} where there is no limit."""
    if resource is None:  # pragma: no cover - not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def clamp_to(limits: Limits, descriptors: int | None) -> Limits:
    """Lower the numbers of connections to what the descriptors allow.

    The limit for one client falls in the same proportion as the one for all, so that one client still cannot take all.

    Each client takes two while a request of it is under way, its own and its origin's.  Where it gets tight, a
    quarter is left for connections that are kept, and for everything else.
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
