"""Tests of what the benchmarks compute.  What they measure is nobody's test."""
