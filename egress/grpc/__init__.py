"""gRPC and gRPC-Web: which requests are calls, and their messages, statuses and deadlines.

Source: C{PROTOCOL-HTTP2.md} and C{PROTOCOL-WEB.md} of the gRPC project.
"""
