"""Whole runs: one YAML and one README with a measured result each, and the runner."""
