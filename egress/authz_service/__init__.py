"""The policy decision point: the embedded policy as an authorization service.

The term is that of XACML and AuthZEN: what decides, apart from what enforces, which is a proxy.
"""
