"""The rows that students learn from, and their tokens."""
