"""A soak: a proxy under load for as long as one likes, while what it depends on is killed, stopped, slowed and broken.

It is C{python -m benchmarks.soak}, on Linux.  Every request has an id in its URL, or in its identity for a tunnel.  The
clients, the authorization service, the origins and the proxy's audit log each write down what they saw of it, and
L{benchmarks.soak.judge} joins the four.
"""
