"""The gRPC call of an exchange, and its result, for the audit record."""

from __future__ import annotations

import attrs


@attrs.frozen
class GrpcResult:
    """The call of a gRPC request.

    @ivar service: the full name of the service.
    @ivar method: the name of the method.
    @ivar status: the name of the status that the client received, as in C{"PERMISSION_DENIED"}; C{None} if it is
        unknown.
    """

    service: str
    method: str
    status: str | None
