"""The vocabulary of the proxy: frozen values and errors, without any I/O.

All other packages use this vocabulary, so no module here imports from a sibling package.
"""
