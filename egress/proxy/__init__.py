"""The client side of the proxy, on Twisted: listeners, sessions, exchanges and tunnels.

An L{egress.proxy.client_session.HttpSession} reads requests. An L{egress.proxy.exchange.Exchange} authorizes each
request and forwards an allowed one from its client stream to an origin stream (L{egress.proxy.interfaces},
L{egress.upstream.interfaces}). This package does not know rules, or how an authorizer decides.
"""
