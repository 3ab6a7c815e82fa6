"""What a recipe is: the whole run as one validated record. `loading.py` reads one from YAML.

Each part is defined in the room that acts on it; here they are only put together. An unknown key is refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stillroom.recipes.evaluation_schema import Baseline, EvaluateSettings
from stillroom.sampling.limits import Limits, Prices
from stillroom.sampling.policy import Budget, Policy, Until
from stillroom.sampling.teachers.settings import RecordedSettings, TeacherSettings
from stillroom.students.settings import StudentSettings
from stillroom.traces.filters import Filters
from stillroom.traces.scorers.answer import AnswerScorerSettings as ScorerSettings
from stillroom.traces.tasks import TaskSettings
from stillroom.traces.tasks.settings import HubTasks, JsonlTasks

# What a recipe that names no filters gets. They are given as in YAML and validated like it.
DEFAULT_FILTERS: Any = ("finished", "one_final_answer", "no_repetition", "dedup", {"decontaminate": "test"})

__all__ = ["Baseline", "EvaluateSettings", "Recipe", "RecipeName", "ScorerSettings"]

RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
"""Also the name of the run's folder."""


def _holds_out(tasks: TaskSettings) -> bool:
    """Whether there will be held-out tasks: a number of them, or all of a test source of its own."""
    match tasks:
        case JsonlTasks(test=None):
            return tasks.test_path is not None
        case HubTasks(test=None):
            return tasks.test_split is not None
    return tasks.test != 0


class Recipe(BaseModel):
    """A whole run. Without `student` it ends with the SFT rows; without `evaluate` nothing is measured. `prices` of
    the teacher's tokens turn them into money; `limits` stop a run cleanly. `earlier`: folders of SFT rows, relative
    to the recipe's, that the student learns from beside this run's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RecipeName
    seed: int = Field(default=0, ge=0, lt=2**31)
    tasks: TaskSettings
    teacher: TeacherSettings
    scorer: ScorerSettings = ScorerSettings()
    keep: Policy = Until()
    prices: Prices | None = None
    limits: Limits = Limits()
    filters: Filters = Field(default=DEFAULT_FILTERS, validate_default=True)
    earlier: tuple[str, ...] = ()
    student: StudentSettings | None = None
    evaluate: EvaluateSettings | None = None

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.evaluate is not None and self.student is None:
            raise ValueError("evaluate compares students, but there is no student: add one, or drop evaluate")
        if self.evaluate is not None and not _holds_out(self.tasks):
            found = "missing" if self.tasks.test is None else "0"
            raise ValueError(f"evaluate needs held-out tasks, but tasks.test is {found}: say how many to hold out")
        dollars = self.limits.usd is not None or (isinstance(self.keep, Budget) and self.keep.usd is not None)
        if dollars and self.prices is None:
            raise ValueError("a limit in usd needs prices: give prices.prompt and prices.completion, USD per million")
        if self.tasks.reference is None:
            raise ValueError("scorer.kind answer needs a reference: name its field in tasks.reference")
        return self

    @property
    def grades_recorded(self) -> bool:
        """Whether the recording holds grades to compare our verdicts with."""
        t = self.teacher
        return isinstance(t, RecordedSettings) and (t.grade is not None or any(c.grade for c in t.columns))
