"""egressproxy: an egress proxy that puts every outbound request to an authorizer.

The way of a request: C{egress.proxy.client_session} reads it from the client, C{egress.proxy.exchange} has it checked
by the address guard and decided by an L{egress.interfaces.IAuthorizer}, and forwards what was allowed through
C{egress.upstream.pool} and C{egress.upstream.connector}.  C{egress.service} puts the parts together.
"""

from __future__ import annotations

__version__ = "0.2.0"
__all__ = ["__version__"]
