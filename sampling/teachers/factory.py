"""Builds the teacher that a recipe names. What a kind needs is imported only when that kind is asked for."""

from __future__ import annotations

from pathlib import Path

from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.registry import TeacherBase


def make_teacher(settings: TeacherBase, *, base: Path) -> Teacher:
    """The teacher of `settings`; relative paths in it start at `base`. Loads no model yet.

    Raises MissingExtra, MissingKey or MissingFile.
    """
    return settings.make(base)
