"""Scorers: what looks at an attempt and says accepted, rejected or unscored. Each kind is one module."""
