"""A soak test: a proxy under load, while faults are injected into its dependencies.

Run it with C{python -m benchmarks.soak}, on Linux.  Every request has an id in its URL; a tunnel has it in its
identity.  The clients, the authorization service, the origins and the audit log of the proxy each record their
observations of the request, and L{benchmarks.soak.judge} joins them.
"""
