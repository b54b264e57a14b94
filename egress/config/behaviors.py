"""Settings of a proxy that choose one of several behaviors."""

from __future__ import annotations

import enum


class Mode(enum.Enum):
    """The effect of a decision.

    @cvar ENFORCE: only allowed requests are forwarded.
    @cvar OBSERVE: denied requests are forwarded as well, and recorded as requests that would have been denied; a
        request that the address guard refuses is not forwarded.
    """

    ENFORCE = "enforce"
    OBSERVE = "observe"


class OversizeBody(enum.Enum):
    """The handling of a request whose content exceeds the body limit, if the authorizer inspects contents.

    @cvar REFUSE: the request is rejected with 413, and no part of it is forwarded.
    @cvar TRUNCATE: the authorizer decides on the beginning of the content, with a flag (contract: C{bodyTruncated}).
    """

    REFUSE = "refuse"
    TRUNCATE = "truncate"


class Resolve(enum.Enum):
    """The time at which the name of a destination is resolved.

    @cvar AFTER: after a request is allowed, or when its authorizer needs addresses; a denied name is not resolved.
    @cvar BEFORE: before the authorization request, which contains the addresses.
    """

    AFTER = "after"
    BEFORE = "before"


class AuditFailure(enum.Enum):
    """The behavior while the audit log cannot be written.

    @cvar CONTINUE: requests are decided and forwarded; the lost records are counted.
    @cvar DENY: no request is forwarded until a record can be written again.
    """

    CONTINUE = "continue"
    DENY = "deny"
