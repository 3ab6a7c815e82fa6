"""What a recipe may say of its loop: how often a model distils itself, from what, and when that has to end.

    loop: {rounds: 3, teacher: last, start: from_base, traces: accumulate, tasks: fresh}

A recipe with `loop` is a recipe of traces that is run round after round. Every round is a separate recipe: the
loop's own with what this round takes from those before laid over it. What any round would refuse is refused before
the first.

    round_recipe(recipe, RoundPlan(1))
    round_recipe(recipe, RoundPlan(2, sampler="runs/loop/rounds/1/student/merged", skip=300))

That is pure, and what comes out is an ordinary recipe of traces. All rounds are measured alike: their students answer
within one limit of tokens and end at the same strings, whatever a round's teacher may do. Refused is what would make
rounds that cannot be compared: other held-out tasks, another scorer, another limit for the held-out answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from stillroom.common.settings import Settings
from stillroom.errors import RecipeError
from stillroom.evaluation.guard import GuardSettings
from stillroom.pipeline.config.kinds import recipe_kinds
from stillroom.pipeline.config.recipe import CONTROLS, EvaluateSettings, Recipe
from stillroom.students.methods.registry import Student

RoundNumber = Annotated[int, Field(ge=1)]

LONGEST_NAME = 90
"""Of a loop, in characters: `-round-100` and `-one_round` still make the name of a run."""

LOCAL = ("transformers", "vllm")
"""Kinds of teachers that load a model from a folder, as the student of a round is."""

WHO = frozenset({"kind", "model", "path", "base_url"})
"""What of a teacher's settings says who it is; the rest says how it is asked."""

HOW = ("sampling", "licence", "system", "examples", "retry")
"""What of a teacher's settings holds for every kind."""

_NOT_OF_A_ROUND = {
    "name": "the loop sets it: leave it out",
    "loop": "it holds for all rounds: leave it out",
    "earlier": "the loop sets it, as loop.traces says: leave it out",
    "limits": "they hold for the loop as a whole: set limits itself",
    "scorer": "rounds that are scored otherwise cannot be compared: set scorer itself",
    "seed": "the held-out tasks, which are the same in every round, are drawn from it: set seed itself",
    "tasks": "the held-out tasks are the same in every round: set tasks itself, or what to learn from in loop.levels",
}
_BLOCKS = ("teacher", "student", "evaluate", "keep")


class RoundOverrides(Settings):
    """Settings that differ between rounds: parts of a recipe, which are laid over it."""

    from_round_2: dict[str, Any] = Field(default_factory=dict)
    """For round 2 and all after it; `teacher` in it says how the sampling student is asked."""
    round: dict[RoundNumber, dict[str, Any]] = Field(default_factory=dict)
    """For one round, by its number; `teacher` in it, with a `kind`, `model`, `path` or `base_url`, samples in the
    student's place."""


class LoopSettings(Settings):
    """How a model distils itself, round after round."""

    rounds: int = Field(default=3, ge=1, le=100)
    """Rounds at most."""
    teacher: Literal["last", "best"] = "last"
    """Who samples from round 2 on: the `last` student, or the `best` so far by held-out accuracy."""
    prompt: Literal["student", "teacher"] = "student"
    """How that student is asked: as it is trained (`student`), or with the first teacher's system prompt and examples
    (`teacher`)."""
    start: Literal["from_base", "continue"] = "from_base"
    """Every student starts from `student.model` (`from_base`, Furlanello et al. 2018, arXiv:1805.04770, and as in
    STaR, Zelikman et al. 2022, arXiv:2203.14465), or goes on from the student before (`continue`)."""
    traces: Literal["accumulate", "replace"] = "accumulate"
    """Train on the traces of all rounds so far (`accumulate`) or of this one (`replace`)."""
    tasks: Literal["fresh", "same"] = "fresh"
    """Each round takes the next `tasks.limit` (`fresh`), or all take the `same`."""
    levels: tuple[dict[str, Any], ...] = ()
    """Changes to `tasks`, from easy to hard. The held-out tasks are those of `tasks` itself, always."""
    advance_at: float = Field(default=0.8, gt=0, le=1)
    """Share of a round's tasks right at the first attempt, from which the next round takes the next level."""
    overrides: RoundOverrides = RoundOverrides()
    """Other settings for some rounds."""
    control_one_round: bool = True
    """Also train a control in one round, on as many tasks as all rounds had."""
    guard: GuardSettings | None = GuardSettings()
    """What may not get worse; null: no guard."""

    @model_validator(mode="after")
    def _rounds_are_there(self) -> LoopSettings:
        for number in self.overrides.round:
            if number > self.rounds:
                raise ValueError(
                    f"overrides.round.{number}: there are {self.rounds} rounds: raise rounds, or leave it out"
                )
        return self

    @model_validator(mode="after")
    def _rounds_can_be_compared(self) -> LoopSettings:
        later, rounds = self.overrides.from_round_2, self.overrides.round
        for name, changes in {"from_round_2": later, **{f"round.{n}": of for n, of in rounds.items()}}.items():
            for problem in _problems(changes):
                raise ValueError(f"overrides.{name}.{problem}")
        if "baselines" in _mapping(later.get("evaluate")):
            raise ValueError(
                "overrides.from_round_2.evaluate.baselines: the loop compares its last student with "
                "evaluate.baselines: set those, or name those of one round in overrides.round"
            )
        for key in sorted(WHO & _mapping(later.get("teacher")).keys()):
            if key != "kind" or later["teacher"][key] not in LOCAL:
                raise ValueError(
                    f"overrides.from_round_2.teacher.{key}: from round 2 on a student of the loop samples, on "
                    f"{' or '.join(LOCAL)}: leave it out, or give a round another teacher in overrides.round"
                )
        for number, level in enumerate(self.levels, 1):
            for key in sorted({"seed", "skip"} & level.keys()):
                raise ValueError(f"levels.{number}.{key} is set by the loop: leave it out")
        return self


def _problems(changes: Mapping[str, Any]) -> Iterator[str]:
    """What may not be changed for a round, and why."""
    yield from (f"{key}: {why}" for key, why in _NOT_OF_A_ROUND.items() if key in changes)
    for key in _BLOCKS:
        if key in changes and not isinstance(changes[key], Mapping):
            yield f"{key}: every round has one: give the keys of it that change, found {changes[key]!r}"
    for key in sorted({"max_tokens", "stop"} & _mapping(changes.get("evaluate")).keys()):
        yield (
            f"evaluate.{key}: rounds whose students' answers end otherwise cannot be compared: set evaluate.{key} "
            "itself"
        )
    if _mapping(changes.get("evaluate")).get("retention") is not None:
        yield (
            "evaluate.retention: rounds that are measured otherwise cannot be compared: set evaluate.retention itself"
        )
    if "system" in _mapping(changes.get("student")):
        yield (
            "student.system: rounds whose students are asked otherwise cannot be compared: set student.system itself"
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@recipe_kinds.register(name="loop")
class LoopRecipe(Recipe):
    """A whole loop: a recipe of traces, and how it is repeated. It needs a student and an evaluation: a loop that
    nobody measures is not run."""

    marks: ClassVar[frozenset[str]] = frozenset({"loop"})

    student: Student
    """The model to train in every round."""
    evaluate: EvaluateSettings
    """How every round is measured on the held-out tasks."""
    loop: LoopSettings
    """How a round follows on the one before."""

    @model_validator(mode="before")
    @classmethod
    def _is_measured(cls, values: Any) -> Any:
        for key in ("student", "evaluate") if isinstance(values, Mapping) else ():
            if values.get(key) is None:
                raise ValueError(
                    f"a loop trains and measures a student in every round, but there is no {key}: add one"
                )
        return values

    @model_validator(mode="after")
    def _can_be_repeated(self) -> LoopRecipe:
        if len(self.name) > LONGEST_NAME:
            raise ValueError(
                f"name has {len(self.name)} characters, and the runs of a loop add theirs to it: {LONGEST_NAME} at "
                "most"
            )
        if self.loop.tasks == "fresh" and self.tasks.limit is None and self.loop.rounds > 1:
            raise ValueError("loop.tasks is fresh, but tasks.limit is missing: say how many tasks each round takes")
        if self.scorer.kind == "recorded":
            raise ValueError(
                "scorer.kind recorded knows the answers of its recording, and the rounds of a loop give new ones: "
                "take a scorer that reads them, such as answer"
            )
        if self.learners_of_labels:
            raise ValueError(
                "method kto learns from the rejected answers of one run, and the rounds of a loop learn from those "
                "before as well: set method: sft"
            )
        if self.tasks.skip:
            raise ValueError("tasks.skip is set by the loop: leave it out")
        if self.earlier:
            raise ValueError("earlier is set by the loop: leave it out")
        return self


# -- the recipe of a round -----------------------------------------------------------------------------------------


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
    loop, number = recipe.loop, plan.number
    later = loop.overrides.from_round_2 if number > 1 else {}
    own = loop.overrides.round.get(number, {})
    values = laid_over(recipe.model_dump(mode="json", by_alias=True, exclude={"loop"}), _but_teacher(later))
    if number > 1:
        values["evaluate"]["baselines"] = []
    values = laid_over(values, _but_teacher(own))

    # Who samples: a student of an earlier round, the first teacher, or the one that the round names.
    if plan.sampler is not None and not names_teacher(recipe, number):
        values["teacher"] = _student_teacher(values, recipe, plan)
        if values["prices"] is not None:
            values["prices"] = {"prompt": 0, "completion": 0}  # a local student costs nothing
    else:
        teacher = later.get("teacher", {})  # a kind in it is the students', and not this teacher's
        block = {"teacher": laid_over(values["teacher"], teacher if WHO.isdisjoint(teacher) else {})}
        values["teacher"] = laid_over(block, {"teacher": own.get("teacher", {})})["teacher"]

    if plan.start is not None:
        values["student"]["model"] = plan.start
    if loop.levels:
        values = laid_over(values, {"tasks": loop.levels[plan.level]})
    baselines = [who for who in values["evaluate"]["baselines"] if who not in CONTROLS]
    if number == 1 and "student_before" not in baselines:
        baselines.insert(0, "student_before")  # what the guard holds the first student against
    asked = recipe.greedy
    values["evaluate"] |= {"baselines": baselines, "max_tokens": asked.max_tokens, "plots": False}
    values["evaluate"]["stop"] = list(asked.stop)
    values["name"] = f"{recipe.name}-round-{number}"
    values["tasks"]["skip"] = plan.skip
    values["earlier"] = list(plan.earlier)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        said = "; ".join(_mistake(dict(e), values, recipe, plan) for e in error.errors())
        raise RecipeError(f"round {number} of the loop cannot be run: {said}") from None


def names_teacher(recipe: LoopRecipe, number: int) -> bool:
    """Whether `loop.overrides.round` gives a round its own teacher in place of a student."""
    return not WHO.isdisjoint(recipe.loop.overrides.round.get(number, {}).get("teacher", {}))


def _but_teacher(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: change for key, change in changes.items() if key != "teacher"}


def _student_teacher(values: Mapping[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> dict[str, Any]:
    """The settings of a teacher that is a student of an earlier round: as the first teacher samples, then what the
    loop says about it."""

    def of_kind(teacher: Mapping[str, Any], kind: str) -> dict[str, Any]:  # without what only the old kind has
        kept = teacher if kind == teacher["kind"] else {key: teacher[key] for key in HOW}
        return {**kept, "kind": kind}

    first, overrides = values["teacher"], recipe.loop.overrides
    teacher = of_kind(first, first["kind"] if first["kind"] in LOCAL else LOCAL[0])
    if recipe.loop.prompt == "student":
        teacher |= {"system": values["student"]["system"], "examples": []}
    for block in (overrides.from_round_2, overrides.round.get(plan.number, {})):
        changes = block.get("teacher", {})
        teacher = laid_over(of_kind(teacher, changes.get("kind", teacher["kind"])), changes)
    return teacher | {"model": plan.sampler}


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `values` with `changes` in it, key by key. A block of another `kind`, `source` or `policy` replaces
    the whole block: its other keys would mean nothing.

    >>> laid_over({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}})
    {'a': {'b': 9, 'c': 2}, 'd': 3}
    """
    found = dict(values)
    for key, change in changes.items():
        old = found.get(key)
        if isinstance(old, Mapping) and isinstance(change, Mapping):
            other = any(tag in change and change[tag] != old.get(tag) for tag in ("kind", "source", "policy"))
            found[key] = change if other else laid_over(old, change)
        else:
            found[key] = change
    return found


def _mistake(error: Mapping[str, Any], values: Mapping[str, Any], recipe: LoopRecipe, plan: RoundPlan) -> str:
    """`keep.max_attemptz (from loop.overrides.from_round_2): unknown key`."""
    # Without what pydantic adds for unions (`keep.until.max_attempts`).
    keys: list[int | str] = []
    inner: Any = values
    for i, part in enumerate(error["loc"]):
        inside = isinstance(inner, Mapping) and part in inner
        if inside or isinstance(part, int) or i == len(error["loc"]) - 1:
            keys.append(part)
        inner = inner[part] if inside else inner

    # What was laid over, the last first.
    loop, changes = recipe.loop, dict[str, Mapping[str, Any]]()
    if loop.levels:
        changes[f"loop.levels.{plan.level + 1}"] = {"tasks": loop.levels[plan.level]}
    changes[f"loop.overrides.round.{plan.number}"] = loop.overrides.round.get(plan.number, {})
    if plan.number > 1:
        changes["loop.overrides.from_round_2"] = loop.overrides.from_round_2
    origin = next((f" (from {name})" for name, block in changes.items() if _holds(block, keys)), "")

    said = "unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, keys))}{origin}: {said}" if keys else said


def _holds(block: Any, keys: Sequence[int | str]) -> bool:
    for key in keys:
        if not isinstance(block, Mapping) or key not in block:
            return isinstance(block, list | tuple)
        block = block[key]
    return bool(keys)
