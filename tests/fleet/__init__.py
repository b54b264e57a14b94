"""A fleet under faults: replicas behind HAProxy, with Redis, PostgreSQL and an authorization service, which are killed.

Run it with C{python -m tests.fleet}, on Linux.  Every request has an id in its query, and every connection has a source
address of its own.  The clients, HAProxy, the authorization service, the origin, the audit logs of the replicas and the
audit store each record what they observe, and L{tests.fleet.judge} joins these observations.

A further kind of shared state has three places: its actions in L{tests.fleet.schedule},
its observations in L{tests.fleet.observations}, and a check in C{CHECKS} of L{tests.fleet.judge}.
"""
