"""Whole runs: config < run < stages < planning < flows."""
