"""What a progressive recipe is: a chain of runs, in which the student of one stage teaches or begins a later one.

    name: steps
    stages:
      - {name: tutor, recipe: quickstart}
      - {name: pupil, recipe: quickstart, set: ["teacher.model=stage:tutor", "teacher.examples=[]"]}

Each stage is a separate recipe of traces, changed by `set`. Where a model stands, `stage:NAME` is the student of an
earlier stage. Refuses a stage that names one which does not come before it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from stillroom.common.settings import Settings
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds

STAGE_PREFIX = "stage:"
"""Before the name of a stage: its student."""


class StageSettings(Settings):
    """One stage."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
    """Name of the stage; `stage:NAME` in a later one is its student."""
    recipe: str = Field(min_length=1)
    """Name of a shipped recipe, or a path relative to this recipe's folder."""
    set: tuple[str, ...] = ()
    """Changes to it, as after `--set`."""


@recipe_kinds.register(name="progressive")
class ProgressiveRecipe(RecipeBase):
    """A chain of stages, run in order."""

    marks: ClassVar[frozenset[str]] = frozenset({"stages"})

    seed: int | None = Field(default=None, ge=0, lt=2**31)
    """Seed of every stage; null: each its own."""
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1)]
    """The stages, in order."""

    @model_validator(mode="after")
    def _each_name_once(self) -> ProgressiveRecipe:
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two stages are called {name!r}: give each its own name")
        return self
