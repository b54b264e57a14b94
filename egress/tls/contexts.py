"""What the TLS contexts of both legs have in common."""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL

# Old pyOpenSSL does not name it.
_NO_RENEGOTIATION: Final[int] = getattr(SSL, "OP_NO_RENEGOTIATION", 0)
# <openssl/ssl.h>; no pyOpenSSL names it, and each turns it on.
_PARTIAL_WRITE: Final = 1


def tls_context(method: int) -> SSL.Context:
    """Make a context: TLS from 1.2 on, without what has weaknesses, and thrifty.

    @param method: C{SSL.TLS_SERVER_METHOD} or C{SSL.TLS_CLIENT_METHOD}.
    """
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    # After a renegotiation the other side could have another certificate than the one that was judged.
    context.set_options(SSL.OP_NO_COMPRESSION | _NO_RENEGOTIATION)
    # Idle kept connections are many, and their buffers the larger part of what each costs.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    if hasattr(context, "clear_mode"):
        # One call encrypts all that it is given, not one record of 16 KiB; memory takes what a socket might not.
        context.clear_mode(_PARTIAL_WRITE)
    # Towards clients resumption is by ticket, under keys that one context alone has, so no session moves to another
    # host's; towards origins there is none, since nothing is verified in a resumed session.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context
