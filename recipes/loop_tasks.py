"""The tasks of a loop: what is held out for all rounds, and what each round learns from.

The held-out tasks are those of the recipe's own `tasks`, the same in every round, so that rounds can be compared.
Where `loop.levels` change the tasks, a round's training tasks are those of its level, without any whose prompt is
held out. Refuses, before anything is paid for, a loop that would run out of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stillroom.errors import TaskError
from stillroom.recipes.loop_schema import LoopRecipe
from stillroom.recipes.rounds import laid_over
from stillroom.sampling.records import Task
from stillroom.traces.tasks import TaskSet, TaskSettings, load_tasks

_SETTINGS: TypeAdapter[TaskSettings] = TypeAdapter(TaskSettings)


def held_out(recipe: LoopRecipe, base: Path) -> tuple[Task, ...]:
    """The held-out tasks. Raises TaskError where there are too few training tasks for all rounds."""
    tasks = _enough(recipe, {}, base, recipe.loop.rounds)
    for number, change in enumerate(recipe.loop.levels):
        _enough(recipe, change, base, recipe.loop.rounds - number)
    return tuple(tasks.test)


def of_level(settings: TaskSettings, test: Sequence[Task], base: Path, seed: int) -> TaskSet:
    """Training tasks as `settings` say, without those whose prompt is in `test`; held out is `test`."""
    loaded = load_tasks(settings, base=base, seed=seed)
    prompts = {task.messages for task in test}
    train = [task for task in loaded.train if task.messages not in prompts]
    same = len(loaded.train) - len(train)
    notes = (*loaded.notes, f"{same:,} tasks are held out, and not learned from") if same else loaded.notes
    return TaskSet(train, tuple(test), loaded.left_out, loaded.beyond_limit, notes)


def _enough(recipe: LoopRecipe, change: Mapping[str, Any], base: Path, rounds: int) -> TaskSet:
    """The tasks of a level, as many as `rounds` rounds take."""
    values = laid_over(recipe.tasks.model_dump(mode="json", by_alias=True), change)
    each = values["limit"]
    fresh = recipe.loop.tasks == "fresh" and each is not None and rounds > 1
    wanted = each * rounds if fresh else each
    tasks = load_tasks(_SETTINGS.validate_python(values | {"limit": wanted}), base=base, seed=recipe.seed)
    if fresh and len(tasks.train) < wanted:
        level = f" of level {change}" if change else ""
        raise TaskError(
            f"{rounds} rounds of {each:,} fresh tasks take {wanted:,}, and there are {len(tasks.train):,}{level}: "
            "lower tasks.limit or loop.rounds, or set loop.tasks: same"
        )
    return tasks
