"""The tasks of a loop: what is held out for all rounds, and what each round learns from.

The held-out tasks are those of the recipe's own `tasks`, the same in every round, so that rounds can be compared.
Where `loop.levels` change the tasks, a round's training tasks are those of its level, without any that is held out,
in whatever words it is asked there. Refuses, before anything is paid for, a loop that would run out of tasks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from stillroom.common.records import Task
from stillroom.errors import RecipeError, TaskError
from stillroom.pipeline.config.loop import LoopRecipe
from stillroom.pipeline.config.round_recipe import laid_over
from stillroom.traces.tasks import GymTasks, TaskSet, TaskSettings, load_tasks
from stillroom.traces.tasks.load import TEST_PREFIX

_SETTINGS: TypeAdapter[TaskSettings] = TypeAdapter(TaskSettings)


class HeldOut(NamedTuple):
    """What no round learns from. `test`: what is reported rests on them; `validation`: choices do, where there are
    any (else on `test`, too)."""

    test: tuple[Task, ...]
    validation: tuple[Task, ...] = ()

    @property
    def all(self) -> tuple[Task, ...]:
        """Both."""
        return (*self.test, *self.validation)


def held_out(recipe: LoopRecipe, base: Path) -> HeldOut:
    """The held-out tasks. Raises TaskError where there are too few training tasks for all rounds, RecipeError where
    rounds could not be told apart by their tasks."""
    rounds, levels = recipe.loop.rounds, len(recipe.loop.levels)
    for level in range(levels):
        _enough(recipe, level, base, max(1, rounds - level))  # a round more for each level before it
    if levels:  # nothing is learned from the tasks of the recipe itself
        found = load_tasks(recipe.tasks.model_copy(update={"limit": 1}), base=base, seed=recipe.seed)
    else:
        found = _enough(recipe, None, base, rounds)
    return HeldOut(found.test, found.validation)


def of_level(settings: TaskSettings, held: HeldOut, base: Path, seed: int) -> TaskSet:
    """Training tasks as `settings` say, without those that are held out; held out is what `held` says.

    The same task: the same messages, or, where ids are hashes of the row's prompt, the same row in other words."""
    loaded = load_tasks(settings, base=base, seed=seed)
    messages = {task.messages for task in held.all}
    ids = {task.id.removeprefix(TEST_PREFIX) for task in held.all} if settings.id is None else set()
    train = [task for task in loaded.train if task.messages not in messages and task.id not in ids]
    same, spare = len(loaded.train) - len(train), sum(task.messages not in messages for task in loaded.held_out)
    notes = [*loaded.notes]
    if same:
        notes.append(f"{same:,} tasks are held out, and not learned from")
    if spare and not isinstance(settings, GymTasks):  # which makes as many as are wanted
        notes.append(f"{spare:,} tasks of this level are used by nobody: with test: 1 in the level most would be")
    return TaskSet(train, held.test, loaded.left_out, loaded.beyond_limit, tuple(notes), held.validation)


def tasks_at(recipe: LoopRecipe, level: int | None) -> TaskSettings:
    """What a level (None: the recipe itself) says about the tasks. Raises pydantic's ValidationError where
    `round_recipe` has not checked it."""
    return _SETTINGS.validate_python(_values(recipe, level))


def _values(recipe: LoopRecipe, level: int | None) -> dict[str, Any]:
    block = {"tasks": recipe.tasks.model_dump(mode="json", by_alias=True)}
    changed = block if level is None else laid_over(block, {"tasks": recipe.loop.levels[level]})
    return dict(changed["tasks"])


def _enough(recipe: LoopRecipe, level: int | None, base: Path, rounds: int) -> TaskSet:
    """The tasks of a level, as many as `rounds` rounds take."""
    settings, fresh = tasks_at(recipe, level), recipe.loop.tasks == "fresh" and rounds > 1
    if fresh:
        _refuse(settings, level)
    wanted = settings.limit * rounds if fresh and settings.limit is not None else settings.limit
    tasks = load_tasks(settings.model_copy(update={"limit": wanted}), base=base, seed=recipe.seed)
    if fresh and wanted is not None and len(tasks.train) < wanted:
        at = "" if level is None else f" at level {level + 1}"
        raise TaskError(
            f"{rounds} rounds of {settings.limit:,} fresh tasks take {wanted:,}, and there are "
            f"{len(tasks.train):,}{at}: lower tasks.limit or loop.rounds, or set loop.tasks: same"
        )
    return tasks


def _refuse(settings: TaskSettings, level: int | None) -> None:
    """What would hand a task to two rounds."""
    key = "tasks" if level is None else f"loop.levels.{level + 1}"
    if settings.limit is None:
        raise RecipeError(f"loop.tasks is fresh, but {key}.limit is null: say how many tasks each round takes")
