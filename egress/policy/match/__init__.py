"""Matching a request against conditions. Pure."""
