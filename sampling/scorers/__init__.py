"""Scorers: what looks at an attempt and says accepted, rejected or unscored. Each kind is one module."""

from stillroom.sampling.scorers.base import ScorerBase, ScorerSettings, scorers

__all__ = ["ScorerBase", "ScorerSettings", "scorers"]
