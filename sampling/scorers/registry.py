"""Which kinds of scorer there are, and how a recipe names one.

A new kind is a module in one of the packages below with one registered class: its settings, and how it is made.

    @scorers.register
    class ShortSettings(ScorerBase):
        kind: Literal["short"]
        most: int = 100

        def identity(self, base: Path) -> str:
            return f"short-1:{self.most}"

        def make(self, place: Place) -> Scorer:
            return ShortScorer(self.most)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict

from stillroom.common.registry import Registry
from stillroom.sampling.place import Place
from stillroom.sampling.scorers.base import Scorer


class ScorerBase(BaseModel):
    """Settings that every kind of scorer has. `needs_reference`: it reads the gold answers of the tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    needs_reference: ClassVar[bool] = False

    kind: str

    @property
    def reads_reference(self) -> bool:
        """Whether it reads gold answers with these settings."""
        return self.needs_reference

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its verdicts, as the recipe names them; their hashes go on record."""
        return ()

    def identity(self, base: Path) -> str:
        """The identity that the scorer will have (see `Scorer`), without making it. Relative paths start at `base`.

        Raises MissingFile.
        """
        raise NotImplementedError

    def make(self, place: Place) -> Scorer:
        """The scorer; relative paths start at the place's base. Starts no worker before the first attempt.

        Raises InputError for what cannot be used.
        """
        raise NotImplementedError


scorers: Registry[ScorerBase] = Registry(
    "scorer",
    tag="kind",
    default="answer",
    where=("stillroom.sampling.scorers", "stillroom.traces.scorers", "stillroom.judges.scorer"),
)
"""Every kind of scorer by its name in a recipe. Packages of rooms above are named, not imported, here."""

ScorerSettings = Annotated[ScorerBase, scorers.field()]
"""The settings of any kind, as the type of a recipe's field."""
