"""Stillroom distils what a large language model can do into a small one that its user owns."""

__version__ = "0.1.0"
