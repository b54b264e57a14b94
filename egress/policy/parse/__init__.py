"""Policies from TOML. Pure."""
