"""Secrets that decisions name."""
