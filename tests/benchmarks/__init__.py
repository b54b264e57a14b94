"""Tests of the computations in the benchmarks.  The measurements themselves are not tested."""
