"""Both sides of TLS: the CA under which the proxy answers its clients, and whom it trusts as a client itself.

L{egress.ca.issuer} is pure, L{egress.ca.store} keeps the CA in a directory, L{egress.ca.contexts} serves intercepted
hosts, and L{egress.ca.trust} verifies origins, the authorization service and an C{https} upstream proxy.
"""
