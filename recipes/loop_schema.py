"""What a recipe may say of its loop: how often a model distils itself, from what, and when that has to end.

    loop: {rounds: 3, teacher: last, start: born_again, traces: accumulate, tasks: fresh}

A recipe with `loop` is a recipe of traces that is run round after round. Every round is a recipe of its own, which
`rounds.py` makes of this one; what any round would refuse is refused when the recipe is read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stillroom.recipes.schema import Recipe
from stillroom.students.evaluate.guard import GuardSettings

RoundNumber = Annotated[int, Field(ge=1)]


class LoopSettings(BaseModel):
    """How a model distils itself, round after round.

    `teacher`: who samples from round 2 on, the `last` student or the `best` so far, by held-out accuracy. `asked`: it
    is asked as the student is trained (`as_student`), or with the first teacher's system prompt and examples
    (`as_teacher`). `start`: every student starts from `student.model` (`born_again`, Furlanello et al. 2018,
    arXiv:1805.04770, and as in STaR, Zelikman et al. 2022, arXiv:2203.14465), or goes on from the student before
    (`go_on`). `traces`: it learns from those of all rounds so far (`accumulate`) or of this one (`replace`). `tasks`:
    each round takes the next `tasks.limit` (`fresh`) or all take the `same`.

    `levels`: changes to `tasks`, from easy to hard; a round takes the next one when the round before got
    `easy_at` of its tasks right at the first attempt. The held-out tasks are those of `tasks` itself, always.
    `later`: settings that hold from round 2 on; `in_round`: settings for one round, by its number. Both are parts of
    a recipe and are laid over it. `one_round`: also trains a control in one round on as many tasks as all rounds had.
    `guard`: what may not get worse; null for no guard.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=3, ge=1, le=100)
    teacher: Literal["last", "best"] = "last"
    asked: Literal["as_student", "as_teacher"] = "as_student"
    start: Literal["born_again", "go_on"] = "born_again"
    traces: Literal["accumulate", "replace"] = "accumulate"
    tasks: Literal["fresh", "same"] = "fresh"
    levels: tuple[dict[str, Any], ...] = ()
    easy_at: float = Field(default=0.8, gt=0, le=1)
    later: dict[str, Any] = Field(default_factory=dict)
    in_round: dict[RoundNumber, dict[str, Any]] = Field(default_factory=dict)
    one_round: bool = True
    guard: GuardSettings | None = GuardSettings()

    @model_validator(mode="after")
    def _rounds_are_there(self) -> LoopSettings:
        for number in self.in_round:
            if number > self.rounds:
                raise ValueError(f"in_round.{number}: there are {self.rounds} rounds: raise rounds, or leave it out")
        return self


class LoopRecipe(Recipe):
    """A whole loop: a recipe of traces, and how it is repeated. It needs a student and an evaluation: a loop that
    nobody measures is not run."""

    loop: LoopSettings

    @model_validator(mode="after")
    def _can_be_repeated(self) -> LoopRecipe:
        if self.student is None or self.evaluate is None:
            missing = "student" if self.student is None else "evaluate"
            raise ValueError(
                f"a loop trains and measures a student in every round, but there is no {missing}: add one"
            )
        if self.loop.tasks == "fresh" and self.tasks.limit is None and self.loop.rounds > 1:
            raise ValueError("loop.tasks is fresh, but tasks.limit is missing: say how many tasks each round takes")
        if self.tasks.skip:
            raise ValueError("tasks.skip is set by the loop: leave it out")
        if self.earlier:
            raise ValueError("earlier is set by the loop: leave it out")
        return self
