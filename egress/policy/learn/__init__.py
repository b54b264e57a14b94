"""Policies from traffic. Pure."""
