"""Transports: extensions of Twisted's TCP, TLS and HTTP transports."""
