"""Who the proxy's clients are, where not everybody may send requests.

L{egress.clients.secrets} and L{egress.clients.certificates} are pure; L{egress.clients.gate} checks what clients send
without holding up others.
"""
