"""Rows from reasoning-gym: procedurally generated tasks with an answer, as many as are asked for.

Training and test rows come from two seeds. A family makes item i from `seed + i`, so seeds that lie close give the
same items shifted: both are drawn from a hash of (run seed, split), far apart. Small families repeat themselves; a
repeated prompt is left out, counted, and another item is drawn for it, up to a budget.

    GymTasks(source="reasoning_gym", family="chain_sum").open(Path("."), seed=7).train
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from stillroom.common.hashing import digest
from stillroom.errors import MissingExtra, RecipeError, TaskError
from stillroom.traces.tasks.registry import CommonTasks, Name, Row, Source, sources


@sources.register
class GymTasks(CommonTasks):
    """A family of reasoning-gym with its parameters; tasks are generated, so there are as many as are asked for."""

    source: Literal["reasoning_gym"]
    family: Name
    """Name of the family in reasoning-gym."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of the family."""
    limit: int = Field(default=500, ge=1)
    """Training tasks to generate, after `skip`."""
    test: int = Field(default=100, ge=0)
    """Held-out tasks to generate."""

    @model_validator(mode="after")
    def _own_params(self) -> GymTasks:
        taken = sorted({"seed", "size"} & self.params.keys())
        if taken:
            raise ValueError(f"params.{taken[0]} is set by Stillroom: use tasks.seed, tasks.limit and tasks.test")
        return self

    def open(self, base: Path, seed: int) -> Source:
        return Source(_rows(self, seed, "train"), _rows(self, seed, "test"), generated=True)

    def check_enough(self, held: int, train: int, drawn: int) -> None:
        if held >= (self.held_out or 0) and train >= self.skip + self.limit:
            return
        skipped = f", `tasks.skip: {self.skip}`" if self.skip else ""
        raise TaskError(
            f"the family {self.family!r} gave {held + train:,} different tasks in {drawn:,} draws, but "
            f"{self.held_out_in_words}{skipped} and `tasks.limit: {self.limit}` ask for more: "
            "lower them, or widen `tasks.params`"
        )


def _rows(settings: GymTasks, seed: int, split: str) -> Iterator[Row]:
    """Rows of one split, at most the draw budget. Raises MissingExtra, or RecipeError for family and params."""
    family = settings.family
    wanted = settings.held_out or 0 if split == "test" else settings.skip + settings.limit
    if wanted == 0:
        return iter(())
    try:
        # A dependency of reasoning-gym (cellpylib) is compiled with SyntaxWarnings, which are not the user's affair.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import reasoning_gym
    except ImportError as error:
        raise MissingExtra("the task source reasoning_gym", "reasoning-gym", "quickstart") from error
    known = sorted(reasoning_gym.factory.DATASETS)
    if family not in known:
        near = difflib.get_close_matches(family, known, n=3) or known[:3]
        raise RecipeError(
            f"tasks.family: reasoning-gym has no family {family!r}; it has {len(known)}, among them: "
            + ", ".join(near)
        )
    split_seed = int(digest([seed, "reasoning_gym", split], 8), 16) & 0x7FFFFFFF
    size = 10 * wanted + 1000
    try:
        dataset = reasoning_gym.create_dataset(family, seed=split_seed, size=size, **settings.params)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"tasks.params: the family {family!r} does not take them: {error}") from error
    # Items are made one by one by index: iterating the dataset keeps state inside it.
    return (Row(f"{family}[{split}]:{index + 1}", dict(dataset[index])) for index in range(dataset.size))
