"""The recipe of one round of a loop: the loop's own with what this round takes from those before laid over it.

    round_recipe(recipe, RoundPlan(1))
    round_recipe(recipe, RoundPlan(2, sampler="runs/loop/rounds/1/student/merged", skip=300))

Pure: nothing is read, run or written. What comes out is an ordinary recipe of traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from stillroom.errors import RecipeError
from stillroom.recipes.evaluation_schema import CONTROLS
from stillroom.recipes.loop_schema import LoopRecipe
from stillroom.recipes.schema import Recipe

LOCAL = ("transformers", "vllm")
"""Kinds of teachers that load a model from a folder."""


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """What a round takes from those before it.

    `sampler`: folder of the student that teaches, None in round 1. `start`: folder of the student to go on from, None
    for `student.model`. `level`: index into `loop.levels`. `skip`: tasks of that level that earlier rounds took.
    `earlier`: folders of rows that are learned from, too.
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
        values = laid_over(values, recipe.loop.later)
        values["evaluate"]["baselines"] = []
    values = laid_over(values, recipe.loop.in_round.get(plan.number, {}))
    values = _with(values, recipe, plan)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"round {plan.number} of the loop cannot be run: {said}") from None


def _with(values: dict[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> dict[str, Any]:
    """What the plan says, over the settings."""
    own_teacher = "teacher" in recipe.loop.in_round.get(plan.number, {})
    if plan.sampler is not None and not own_teacher:
        values["teacher"] = _taught_by(values, plan.sampler, recipe)
    if plan.start is not None:
        values["student"]["model"] = plan.start
    if recipe.loop.levels:
        values["tasks"] = laid_over(values["tasks"], recipe.loop.levels[plan.level])
    baselines = [who for who in values["evaluate"]["baselines"] if who not in CONTROLS]
    if plan.number == 1 and "student_before" not in baselines:
        baselines.insert(0, "student_before")  # what the guard holds the first student against
    values["evaluate"]["baselines"] = baselines
    values["evaluate"]["plots"] = False
    values["name"] = f"{recipe.name}-round-{plan.number}"
    values["tasks"]["skip"] = plan.skip
    values["earlier"] = list(plan.earlier)
    return values


def _taught_by(values: Mapping[str, Any], model: str, recipe: LoopRecipe) -> dict[str, Any]:
    """The settings of a teacher that is a student of an earlier round."""
    teacher = dict(values["teacher"])
    if teacher["kind"] not in LOCAL:
        teacher = {key: teacher[key] for key in ("sampling", "licence", "retry")} | {"kind": "transformers"}
    teacher["model"] = model
    if recipe.loop.asked == "as_student":
        teacher |= {"system": values["student"]["system"], "examples": []}
    else:
        teacher |= {key: values["teacher"][key] for key in ("system", "examples")}
    return teacher


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
