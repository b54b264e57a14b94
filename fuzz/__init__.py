"""Fuzzing: one target for each parser of what strangers send (C{tox run -e fuzz}).

Targets (L{fuzz.targets}) are plain functions of bytes, so that tests and Hypothesis run them as well; L{fuzz.__main__}
has atheris run them.  C{fuzz/corpus/} has a few inputs for each to begin with, and what was once found.
"""
