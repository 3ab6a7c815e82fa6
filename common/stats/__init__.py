"""Intervals, the bootstrap, significance tests."""
