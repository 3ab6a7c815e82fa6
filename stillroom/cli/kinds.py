"""What a recipe can name, at the end of `stillroom run --help` and of its page in the docs.

The names come from the registries, so a new kind is listed as soon as its module is there. They are loaded when the
help is shown, not when the command line is imported.
"""

from __future__ import annotations

from typer.core import TyperCommand


class RunCommand(TyperCommand):
    """A command whose help ends with the kinds."""

    @property
    def epilog(self) -> str:
        """A line for each part of a recipe, and one for the kinds of recipe."""
        from stillroom.pipeline.config.kinds import recipe_kinds
        from stillroom.pipeline.config.schema import COMPONENTS

        known = {**COMPONENTS, "kinds of recipe": recipe_kinds}
        lines = [f"{where}: {', '.join(each.in_yaml)}" for where, each in known.items()]
        return "\n\n".join(["What a recipe can name, plug-ins included:", *lines])

    @epilog.setter
    def epilog(self, value: str | None) -> None:
        """Click sets None."""
