"""A recipe of traces: the whole run as one validated record. `load.py` reads it from YAML.

Each part is defined in the room that acts on it and only put together here. An unknown key is refused.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from stillroom.common.records import SamplingParams
from stillroom.pipeline.config.evaluation import EvaluateSettings
from stillroom.pipeline.config.kinds import RecipeBase, recipe_kinds
from stillroom.sampling.limits import Limits, Prices
from stillroom.sampling.policy import Budget, Policy, Until
from stillroom.sampling.scorers.base import ScorerSettings
from stillroom.sampling.teachers.base import TeacherSettings
from stillroom.students.methods.registry import Student
from stillroom.traces.filters import Filters
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSettings

# What a recipe that names no filters gets. They are given as in YAML and validated like it.
DEFAULT_FILTERS: Any = ("finished", "one_final_answer", "no_repetition", "dedup", {"decontaminate": "test"})


@recipe_kinds.register(name="traces")
class Recipe(RecipeBase):
    """A whole run: tasks, a teacher that answers them, a scorer, filters, a student."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything drawn at random."""
    tasks: TaskSettings
    """Where the tasks come from."""
    teacher: TeacherSettings
    """The model that answers the tasks."""
    scorer: ScorerSettings = AnswerScorerSettings()
    """What accepts or rejects an answer."""
    keep: Policy = Until()
    """When a task has enough answers, and how many are kept."""
    prices: Prices | None = None
    """Prices of the teacher's tokens, to turn them into money."""
    limits: Limits = Limits()
    """Totals at which a run stops cleanly."""
    filters: Filters = Field(default=DEFAULT_FILTERS, validate_default=True)
    """Filters for accepted traces, in the order in which they are applied: names, or one name with its settings."""
    earlier: tuple[str, ...] = ()
    """Folders of SFT rows of earlier runs, relative to the recipe's, to train on as well."""
    student: Student | None = None
    """The model to train; null ends the run with the SFT rows."""
    evaluate: EvaluateSettings | None = None
    """How the student is measured on held-out tasks; null measures nothing."""

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.evaluate is not None and self.student is None:
            raise ValueError("evaluate compares students, but there is no student: add one, or drop evaluate")
        if self.student is not None and self.student.learns_from != "rows":
            raise ValueError(
                f"student.method is {self.student.method}, which learns from pairs, and this recipe makes traces: "
                "set method: sft, or write a recipe with candidates and pairs"
            )
        if self.evaluate is not None and not self.tasks.holds_out:
            found = "missing" if self.tasks.test is None else "0"
            raise ValueError(f"evaluate needs held-out tasks, but tasks.test is {found}: say how many to hold out")
        dollars = self.limits.usd is not None or (isinstance(self.keep, Budget) and self.keep.usd is not None)
        if dollars and self.prices is None:
            raise ValueError("a limit in usd needs prices: give prices.prompt and prices.completion, USD per million")
        if self.tasks.reference is None and self.scorer.reads_reference:
            raise ValueError(f"scorer.kind {self.scorer.kind} needs a reference: name its field in tasks.reference")
        shortened = self.evaluate is not None and "control_answers" in self.evaluate.baselines
        if shortened and not isinstance(self.scorer, AnswerScorerSettings):
            raise ValueError(
                f"control_answers is trained on answers that the answer checker finds, and scorer.kind is "
                f"{self.scorer.kind}: drop it from evaluate.baselines"
            )
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Its tasks, a recording, code of a scorer, and what retention is measured by."""
        retention = None if self.evaluate is None else self.evaluate.retention
        return (
            *self.tasks.files,
            *self.teacher.files,
            *self.scorer.files,
            *(() if retention is None else retention.files),
        )

    @property
    def greedy(self) -> SamplingParams:
        """How the held-out tasks are answered: within the evaluation's limit of tokens, or the teacher's."""
        sampling, evaluate = self.teacher.sampling, self.evaluate
        limit, stop = (None, None) if evaluate is None else (evaluate.max_tokens, evaluate.stop)
        return SamplingParams(
            temperature=0, max_tokens=limit or sampling.max_tokens, stop=sampling.stop if stop is None else stop
        )
