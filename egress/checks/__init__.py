"""Checks of a proxy and its machine: facts, and findings with the line that fixes them."""
