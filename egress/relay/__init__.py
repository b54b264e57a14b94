"""Relays between two transports, for bytes that the proxy does not read."""
