"""Relays that move bytes between two connections without interpreting them."""
