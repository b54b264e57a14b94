"""egressproxy: an egress proxy that authorizes every outbound request.

How a request flows: C{egress.proxy.client_session} reads it from the client.  C{egress.proxy.exchange} has the address
guard check it and an L{egress.interfaces.IAuthorizer} decide it, and forwards allowed requests through
C{egress.upstream.pool} and C{egress.upstream.connector}.  C{egress.service} is the composition root.
"""

from __future__ import annotations

__version__ = "0.2.0"
__all__ = ["__version__"]
