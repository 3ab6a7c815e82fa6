"""The recipe of one round of a loop: the loop's own with what this round takes from those before laid over it.

    round_recipe(recipe, RoundPlan(1))
    round_recipe(recipe, RoundPlan(2, sampler="runs/loop/rounds/1/student/merged", skip=300))

Pure: nothing is read, run or written. What comes out is an ordinary recipe of traces. All rounds are measured alike:
their students answer within one limit of tokens and end at the same strings, whatever a round's teacher may do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from stillroom.errors import RecipeError
from stillroom.pipeline.config.evaluation import CONTROLS
from stillroom.pipeline.config.loop import LOCAL, WHO, LoopRecipe
from stillroom.pipeline.config.recipe import Recipe

HOW = ("sampling", "licence", "system", "examples", "retry")
"""What of a teacher's settings holds for every kind."""


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What a round takes from those before it.

    `sampler`: folder of the student that teaches, None in round 1 and where the round has its own teacher.
    `start`: folder of the student to go on from, None for `student.model`. `level`: index into `loop.levels`. `skip`:
    tasks of that level that earlier rounds took. `earlier`: folders of rows that are learned from, too.
    """

    number: int
    sampler: str | None = None
    start: str | None = None
    level: int = 0
    skip: int = 0
    earlier: tuple[str, ...] = ()


def round_recipe(recipe: LoopRecipe, plan: RoundPlan) -> Recipe:
    """The recipe of a round. Raises RecipeError where the loop's settings make one that cannot be run."""
    values = recipe.model_dump(mode="json", by_alias=True, exclude={"loop"})
    if plan.number > 1:
        values = laid_over(values, _but_teacher(recipe.loop.overrides.from_round_2))
        values["evaluate"]["baselines"] = []
    values = laid_over(values, _but_teacher(recipe.loop.overrides.round.get(plan.number, {})))
    values = _with(values, recipe, plan)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        said = "; ".join(_mistake(dict(e), values, recipe, plan) for e in error.errors())
        raise RecipeError(f"round {plan.number} of the loop cannot be run: {said}") from None


def names_teacher(recipe: LoopRecipe, number: int) -> bool:
    """Whether `loop.overrides.round` gives a round its own teacher in place of a student."""
    return not WHO.isdisjoint(_teacher_in(recipe.loop.overrides.round.get(number, {})))


def _but_teacher(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: change for key, change in changes.items() if key != "teacher"}


def _teacher_in(changes: Mapping[str, Any]) -> dict[str, Any]:
    return dict(changes.get("teacher", {}))


def _with(values: dict[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> dict[str, Any]:
    """What the plan says, over the settings."""
    taught = plan.sampler is not None and not names_teacher(recipe, plan.number)
    values["teacher"] = (_student_teacher if taught else _own_teacher)(values, recipe, plan)
    if taught and values["prices"] is not None:
        values["prices"] = {"prompt": 0, "completion": 0}  # a local student costs nothing
    if plan.start is not None:
        values["student"]["model"] = plan.start
    if recipe.loop.levels:
        values = laid_over(values, {"tasks": recipe.loop.levels[plan.level]})
    baselines = [who for who in values["evaluate"]["baselines"] if who not in CONTROLS]
    if plan.number == 1 and "student_before" not in baselines:
        baselines.insert(0, "student_before")  # what the guard holds the first student against
    asked = recipe.greedy
    values["evaluate"] |= {"baselines": baselines, "max_tokens": asked.max_tokens, "plots": False}
    values["evaluate"]["stop"] = list(asked.stop)
    values["name"] = f"{recipe.name}-round-{plan.number}"
    values["tasks"]["skip"] = plan.skip
    values["earlier"] = list(plan.earlier)
    return values


# -- who samples -------------------------------------------------------------------------------------------------


def _own_teacher(values: Mapping[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> dict[str, Any]:
    """The first teacher, or the one that the round names. A kind in `from_round_2` is the students', and not its."""
    later = _teacher_in(recipe.loop.overrides.from_round_2) if plan.number > 1 else {}
    kept = later if WHO.isdisjoint(later) else {}
    block = {"teacher": laid_over(values["teacher"], kept)}
    return dict(
        laid_over(block, {"teacher": _teacher_in(recipe.loop.overrides.round.get(plan.number, {}))})["teacher"]
    )


def _student_teacher(values: Mapping[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> dict[str, Any]:
    """The settings of a teacher that is a student of an earlier round: as the first teacher samples, then what the
    loop says about it."""
    first = values["teacher"]
    teacher = _of_kind(first, first["kind"] if first["kind"] in LOCAL else LOCAL[0])
    if recipe.loop.prompt == "student":
        teacher |= {"system": values["student"]["system"], "examples": []}
    for changes in map(
        _teacher_in, (recipe.loop.overrides.from_round_2, recipe.loop.overrides.round.get(plan.number, {}))
    ):
        teacher = laid_over(_of_kind(teacher, changes.get("kind", teacher["kind"])), changes)
    return teacher | {"model": plan.sampler}


def _of_kind(teacher: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The same as a teacher of another kind: without what only the old one has."""
    kept = teacher if kind == teacher["kind"] else {key: teacher[key] for key in HOW}
    return {**kept, "kind": kind}


# -- laying over -------------------------------------------------------------------------------------------------


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `values` with `changes` in it, key by key. A block of another `kind`, `source` or `policy` replaces
    the whole block: its other keys would mean nothing.

    >>> laid_over({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}})
    {'a': {'b': 9, 'c': 2}, 'd': 3}
    """
    found = dict(values)
    for key, change in changes.items():
        old = found.get(key)
        if isinstance(old, Mapping) and isinstance(change, Mapping) and not _other_kind(old, change):
            found[key] = laid_over(old, change)
        else:
            found[key] = change
    return found


def _other_kind(old: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    return any(key in change and change[key] != old.get(key) for key in ("kind", "source", "policy"))


# -- what cannot be run ------------------------------------------------------------------------------------------

Keys = tuple[int | str, ...]


def _mistake(error: Mapping[str, Any], values: Mapping[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> str:
    """`keep.max_attemptz (from loop.overrides.from_round_2): unknown key`."""
    keys = _keys(error["loc"], values)
    said = "unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    origin = next((f" (from {name})" for name, block in _changes(recipe, plan) if _holds(block, keys)), "")
    return f"{'.'.join(map(str, keys))}{origin}: {said}" if keys else said


def _changes(recipe: LoopRecipe, plan: RoundPlan) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was laid over, the last first."""
    loop = recipe.loop
    if loop.levels:
        yield f"loop.levels.{plan.level + 1}", {"tasks": loop.levels[plan.level]}
    yield f"loop.overrides.round.{plan.number}", loop.overrides.round.get(plan.number, {})
    if plan.number > 1:
        yield "loop.overrides.from_round_2", loop.overrides.from_round_2


def _keys(loc: Keys, values: Any) -> Keys:
    """Without what pydantic adds for unions (`keep.until.max_attempts`)."""
    kept: Keys = ()
    for i, part in enumerate(loc):
        inside = isinstance(values, Mapping) and part in values
        if inside or isinstance(part, int) or i == len(loc) - 1:
            kept = (*kept, part)
        values = values[part] if inside else values
    return kept


def _holds(block: Any, keys: Keys) -> bool:
    for key in keys:
        if not isinstance(block, Mapping) or key not in block:
            return isinstance(block, list | tuple)
        block = block[key]
    return bool(keys)
