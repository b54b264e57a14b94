"""Transports: what the proxy needs beyond Twisted's own."""
