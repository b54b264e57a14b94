"""HTTP/1 without I/O: it parses bytes into events and encodes heads to bytes.

Nothing here uses a transport, a clock or the reactor. L{egress.proxy} passes data to these objects and acts on the
events.
"""
