"""Both sides of TLS: the CA and leaf certificates for clients, and the trust in origins.

L{egress.tls.issuer} is pure, L{egress.tls.ca_store} stores the CA in a directory, L{egress.tls.host_contexts} serves
intercepted hosts, and L{egress.tls.origin_trust} verifies origins, the authorization service and an C{https} upstream
proxy.
"""
