"""What a recipe is that trains on preferences somebody else has judged: a file, pairs, a student trained on them.

    name: hh_dpo
    given:   {path: hh.jsonl, layout: hh_rlhf, bad_rows: skip}
    pairs:   {length: matched, test: 0.1}
    student: {model: Qwen/Qwen3-0.6B, method: dpo}

A recipe with `given` is one of these. Nobody is asked and nothing is paid for.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from stillroom.common.preferred import Reading
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds
from stillroom.preferences.settings import AuditSettings, PairSettings
from stillroom.sampling.limits import Limits
from stillroom.students.methods.registry import Student


class GivenFile(Reading):
    """A file of preferences."""

    path: str = Field(min_length=1)
    """The file, relative to the recipe's folder; several by a pattern such as `shards/*.parquet`."""


@recipe_kinds.register(name="given")
class GivenRecipe(RecipeBase):
    """Preferences of a file become audited pairs, and a student learns from them."""

    marks: ClassVar[frozenset[str]] = frozenset({"given"})
    limits: ClassVar[Limits] = Limits()
    prices: ClassVar[None] = None

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything drawn at random."""
    given: GivenFile
    """The preferences, and how they are read."""
    pairs: PairSettings = PairSettings()
    """How answers become pairs; where rows say which is better, length control and held-out pairs alone."""
    audit: AuditSettings = AuditSettings()
    """Limits of the warnings about the pairs."""
    licence: str | None = None
    """Licence of the pairs, for the data set card."""
    student: Student | None = None
    """The model to train; null ends the run with the pairs."""

    @model_validator(mode="after")
    def _fits(self) -> GivenRecipe:
        if self.student is not None and self.student.learns_from == "rows":
            raise ValueError(
                f"student.method is {self.student.method}: pairs are learned with method: dpo, orpo or kto"
            )
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The file of preferences."""
        return (self.given.path,)
