"""Authentication of the proxy's clients.

L{egress.client_auth.htpasswd} and L{egress.client_auth.certificate_names} are pure; L{egress.client_auth.authenticator}
checks credentials without blocking other clients.
"""
