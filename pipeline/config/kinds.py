"""Which kinds of recipe there are: what one says, and how it is run.

A kind is two registered classes under one name: what the YAML may hold, in a module of this package, and the flow
that runs it, in `pipeline/flows/`. Both may be in one module there; nothing else is edited. A recipe that has a key
of `marks` is of that kind; any other recipe distils traces.

    @recipe_kinds.register(name="mine")
    class MineRecipe(RecipeBase):
        marks: ClassVar[frozenset[str]] = frozenset({"mine"})
        mine: MineSettings

    @flows.register(name="mine")
    class Mine(Flow[MineRecipe]):
        def run(self, loaded, folder, display): ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import Field

from stillroom.common.registry import Registry
from stillroom.common.settings import Settings

RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
"""Also the name of the run's folder."""


class RecipeBase(Settings):
    """What every recipe has. An unknown key is refused."""

    marks: ClassVar[frozenset[str]] = frozenset()
    """Keys that only recipes of this kind have."""

    name: RecipeName
    """Name of the run, and of its folder under `runs/`."""

    @property
    def files(self) -> tuple[str, ...]:
        """The local files that it reads, as it names them; their hashes go on record."""
        return ()


R = TypeVar("R", bound=RecipeBase)


class Loaded(NamedTuple, Generic[R]):
    """A recipe, the folder its relative paths start at, and where it was read from."""

    recipe: R
    base: Path
    path: Path


FLOWS = "stillroom.pipeline.flows"
"""The package of the flows; a kind that is one module is a module of it."""

recipe_kinds: Registry[RecipeBase] = Registry(
    "kind of recipe", tag="kind", where=("stillroom.pipeline.config", FLOWS)
)
"""What a recipe of each kind may hold."""


def kind_of(values: dict[str, Any]) -> type[RecipeBase]:
    """The kind of a recipe with these keys."""
    marked = [kind for kind in recipe_kinds.values() if kind.marks & values.keys()]
    return marked[0] if marked else recipe_kinds["traces"]


def kind_name(recipe: RecipeBase) -> str:
    """The name of a recipe's kind."""
    return next(name for name, kind in recipe_kinds.items() if type(recipe) is kind)
