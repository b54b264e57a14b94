"""The vocabulary of the proxy: frozen values and errors, without any I/O.

Everything else in :mod:`egress` speaks in these terms, so nothing here may import from a sibling package.
"""
