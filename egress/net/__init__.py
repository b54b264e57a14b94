"""Twisted I/O: what listens, connects, reads and writes.

A L{egress.net.server.HttpSession} reads requests; each becomes an L{egress.net.exchange.Exchange}, which asks the
authorizer and sends what was allowed over an L{egress.net.origin.OriginConnection}.  Nothing here knows rules, or how
an authorizer comes to its decisions.
"""
