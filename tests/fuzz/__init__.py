"""Tests of the fuzz targets, which also test the parsers."""
