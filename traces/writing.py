"""The writing of files, under its old name: it is `stillroom.sampling.writing`, where every room may use it."""

from __future__ import annotations

from stillroom.sampling.writing import remove, replaced, storable

__all__ = ["remove", "replaced", "storable"]
