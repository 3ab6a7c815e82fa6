"""Scorers of the first path: those that need the rooms above the core."""
