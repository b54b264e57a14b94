"""Inputs of real clients and origins, as public bug reports describe them, with the expected results.

Each module covers one subject and names the reports in its docstring.
"""
