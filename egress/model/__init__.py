"""The vocabulary of the proxy: frozen values and errors, and the queues that several packages use, without any I/O.

All other packages use this vocabulary, so no module here imports from a sibling package.
"""
