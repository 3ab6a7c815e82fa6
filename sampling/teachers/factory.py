"""Builds the teacher that a recipe names. What a kind needs is imported only when that kind is asked for."""

from __future__ import annotations

from pathlib import Path

from stillroom.common.run_async import run_async
from stillroom.sampling.teachers.base import Teacher
from stillroom.sampling.teachers.registry import TeacherBase, TeacherSettings


def make_teacher(settings: TeacherBase, *, base: Path) -> Teacher:
    """The teacher of `settings`; relative paths in it start at `base`. Loads no model yet.

    Raises MissingExtra, MissingKey or MissingFile.
    """
    return settings.make(base)


def identity_of(settings: TeacherSettings, base: Path) -> str:
    """The identity of the teacher that `settings` describe. Raises as `make_teacher` does."""
    teacher = make_teacher(settings, base=base)
    try:
        return teacher.identity
    finally:
        run_async(teacher.close())
