"""Fuzzing: one target for each parser of untrusted bytes (C{tox run -e fuzz}).

Targets (L{fuzz.targets}) are plain functions of bytes, so tests and Hypothesis can run them as well.  L{fuzz.__main__}
runs them with atheris.  C{fuzz/corpus/} contains initial inputs for each target, and inputs that found errors.
"""
