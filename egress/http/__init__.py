"""HTTP/1 without I/O: bytes in, events out, and heads back to bytes.

Nothing here knows a transport, a clock or the reactor; L{egress.proxy} feeds these objects and acts on what they say.
"""
