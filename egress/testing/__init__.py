"""A proxy in memory, for the tests of applications that embed the proxy.

L{MemoryProxy} is a whole proxy with its origins and clients.  An application that starts the proxy itself runs on a
L{MemoryReactor}.  No test opens a socket, and time passes only when a test says so.
"""

from egress.testing.authorizer import RecordingAuthorizer, RecordingSink
from egress.testing.client import ClientResponse, MemoryClient, PendingResponse
from egress.testing.origin import MemoryOrigin, OriginRequest, OriginResponse
from egress.testing.origin_ca import OriginCa
from egress.testing.proxy import MemoryProxy
from egress.testing.reactor import MemoryReactor
from egress.testing.resolver import FixedResolver

__all__ = [
    "ClientResponse",
    "FixedResolver",
    "MemoryClient",
    "MemoryOrigin",
    "MemoryProxy",
    "MemoryReactor",
    "OriginCa",
    "OriginRequest",
    "OriginResponse",
    "PendingResponse",
    "RecordingAuthorizer",
    "RecordingSink",
]
