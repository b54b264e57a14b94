"""Checks of a policy. Pure."""
