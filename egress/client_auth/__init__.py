"""Who the proxy's clients are, where not everybody may send requests.

L{egress.client_auth.htpasswd} and L{egress.client_auth.certificate_names} are pure; L{egress.client_auth.authenticator}
checks what clients send without holding up others.
"""
