"""Tests of the fuzz targets, and by them of the parsers."""
