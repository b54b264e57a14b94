"""The authorization service: the embedded policy as a policy decision point (PDP).

The term is from XACML and AuthZEN: a PDP makes the decisions, and a policy enforcement point, here the proxy, enforces
them.
"""
