"""Rows from reasoning-gym: procedurally generated tasks with an answer, as many as are asked for.

Training and test rows come from two seeds. A family makes item i from `seed + i`, so seeds that lie close give the
same items shifted: both are drawn from a hash of (run seed, split), far apart. Small families repeat themselves; a
repeated prompt is left out, counted, and another item is drawn for it, up to a budget.

    rows = gym_rows(settings, seed=7, split="test")
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from stillroom.errors import MissingExtra, RecipeError, TaskError
from stillroom.sampling.hashing import digest
from stillroom.traces.tasks.gathering import Gathered
from stillroom.traces.tasks.records import Row
from stillroom.traces.tasks.settings import GymTasks


def gym_rows(settings: GymTasks, seed: int, split: str) -> Iterator[Row]:
    """Rows of one split, at most the draw budget. Raises MissingExtra, or RecipeError for family and params."""
    wanted = settings.held_out or 0 if split == "test" else settings.skip + settings.limit
    if wanted == 0:
        return iter(())
    dataset = _create(_import(), settings, size=10 * wanted + 1000, seed=_split_seed(seed, split))
    return _rows(dataset, f"{settings.family}[{split}]")


def fill(gathered: Gathered, rows: Iterable[Row], wanted: int) -> int:
    """Adds rows until `wanted` tasks are there or the rows end; says how many rows were drawn."""
    drawn = 0
    for row in rows if wanted else ():
        gathered.add(row)
        drawn += 1
        if len(gathered) >= wanted:
            break
    return drawn


def check_enough(settings: GymTasks, held: int, train: int, drawn: int) -> None:
    """Raises TaskError where a family is too small for what is asked of it."""
    if held >= (settings.held_out or 0) and train >= settings.skip + settings.limit:
        return
    skipped = f", `tasks.skip: {settings.skip}`" if settings.skip else ""
    raise TaskError(
        f"the family {settings.family!r} gave {held + train:,} different tasks in {drawn:,} draws, but "
        f"{settings.held_out_in_words}{skipped} and `tasks.limit: {settings.limit}` ask for more: "
        "lower them, or widen `tasks.params`"
    )


def _split_seed(seed: int, split: str) -> int:
    return int(digest([seed, "reasoning_gym", split], 8), 16) & 0x7FFFFFFF


def _import() -> ModuleType:
    try:
        # A dependency of reasoning-gym (cellpylib) is compiled with SyntaxWarnings, which are not the user's affair.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import reasoning_gym
    except ImportError as error:
        raise MissingExtra("the task source reasoning_gym", "reasoning-gym", "quickstart") from error
    module: ModuleType = reasoning_gym
    return module


def _create(module: ModuleType, settings: GymTasks, *, size: int, seed: int) -> Any:
    known = sorted(module.factory.DATASETS)
    if settings.family not in known:
        near = difflib.get_close_matches(settings.family, known, n=3) or known[:3]
        raise RecipeError(
            f"tasks.family: reasoning-gym has no family {settings.family!r}; it has {len(known)}, among them: "
            + ", ".join(near)
        )
    try:
        return module.create_dataset(settings.family, seed=seed, size=size, **settings.params)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"tasks.params: the family {settings.family!r} does not take them: {error}") from error


def _rows(dataset: Any, where: str) -> Iterator[Row]:
    # Items are made one by one by index: iterating the dataset keeps state inside it.
    for index in range(dataset.size):
        yield Row(f"{where}:{index + 1}", dict(dataset[index]))
