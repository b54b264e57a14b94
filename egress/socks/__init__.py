"""SOCKS5 without I/O (RFC 1928, RFC 1929): it parses the messages of clients and servers, and writes them.

Nothing here uses a transport, a clock or the reactor. L{egress.proxy.socks_session} accepts SOCKS clients, and
L{egress.upstream} connects through SOCKS proxies.
"""
