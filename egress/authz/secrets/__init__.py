"""Secrets for decisions that name them."""
