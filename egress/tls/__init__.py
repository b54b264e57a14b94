"""Both sides of TLS: the CA under which the proxy answers its clients, and whom it trusts as a client itself.

L{egress.tls.issuer} is pure, L{egress.tls.ca_store} keeps the CA in a directory, L{egress.tls.host_contexts} serves
intercepted hosts, and L{egress.tls.origin_trust} verifies origins, the authorization service and an C{https} upstream
proxy.
"""
