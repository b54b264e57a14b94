"""Twisted I/O: what listens, connects, reads and writes.

A L{egress.proxy.client_session.HttpSession} reads requests; each becomes an L{egress.proxy.exchange.Exchange}, which
asks the authorizer and sends what was allowed over an L{egress.upstream.origin_connection.OriginConnection}.  Nothing
here knows rules, or how an authorizer comes to its decisions.
"""
