"""What a recipe can name, at the end of `stillroom run --help` and of its page in the docs.

The names come from the registries, so a new kind is listed as soon as its module is there. They are loaded when the
help is shown, not when the command line is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from stillroom.common.registry import Registry


class RunCommand(TyperCommand):
    """A command whose help ends with the kinds."""

    @property
    def epilog(self) -> str:
        """A line for each part of a recipe, and one for the kinds of recipe."""
        lines = [f"{where}: {', '.join(found)}" for where, found in kinds().items()]
        return "\n\n".join(["What a recipe can name, plug-ins included:", *lines])

    @epilog.setter
    def epilog(self, value: str | None) -> None:
        """Click sets None."""


def kinds() -> dict[str, Registry[Any]]:
    """Every registry, by the key of a recipe that names its kinds."""
    from stillroom.judges.registry import judges
    from stillroom.pipeline.config.kinds import recipe_kinds
    from stillroom.sampling.policy import policies
    from stillroom.sampling.scorers.registry import scorers
    from stillroom.sampling.teachers.registry import teachers
    from stillroom.students.methods.registry import methods
    from stillroom.traces.filters.base import filters
    from stillroom.traces.tasks.registry import sources

    return {
        "tasks.source": sources,
        "teacher.kind": teachers,
        "scorer.kind": scorers,
        "judge.kind": judges,
        "keep.policy": policies,
        "filters": filters,
        "student.method": methods,
        "kinds of recipe": recipe_kinds,
    }
