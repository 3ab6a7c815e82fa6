"""What a recipe may say of its loop: how often a model distils itself, from what, and when that has to end.

    loop: {rounds: 3, teacher: last, start: from_base, traces: accumulate, tasks: fresh}

A recipe with `loop` is a recipe of traces that is run round after round. Every round is a separate recipe, which
`rounds.py` makes of this one; what any round would refuse is refused before the first. Refused here is what would
make rounds that cannot be compared: other held-out tasks, another scorer, another limit for the held-out answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stillroom.common.settings import Settings
from stillroom.evaluation.guard import GuardSettings
from stillroom.pipeline.config.evaluation import EvaluateSettings
from stillroom.pipeline.config.kinds import recipe_kinds
from stillroom.pipeline.config.recipe import Recipe
from stillroom.students.methods.registry import Student

RoundNumber = Annotated[int, Field(ge=1)]

LONGEST_NAME = 90
"""Of a loop, in characters: `-round-100` and `-one_round` still make the name of a run."""

LOCAL = ("transformers", "vllm")
"""Kinds of teachers that load a model from a folder, as the student of a round is."""

WHO = frozenset({"kind", "model", "path", "base_url"})
"""What of a teacher's settings says who it is; the rest says how it is asked."""

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
        if self.tasks.skip:
            raise ValueError("tasks.skip is set by the loop: leave it out")
        if self.earlier:
            raise ValueError("earlier is set by the loop: leave it out")
        return self
