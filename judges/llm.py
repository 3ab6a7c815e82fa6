"""`kind: llm`: a model that judges by a rubric.

judge: {kind: llm, rubric: helpfulness, mode: pairwise, teacher: {kind: openai, model: m, base_url: "http://…/v1"}}
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from stillroom.common.records import SamplingParams
from stillroom.judges.dialogue import Asks
from stillroom.judges.pairwise import Pairwise
from stillroom.judges.pointwise import Pointwise
from stillroom.judges.registry import JudgeBase, Made, Name, Place, judges
from stillroom.judges.rubric import load_rubric
from stillroom.sampling.requests import Asker
from stillroom.sampling.teachers.base import Teacher, TeacherSettings


@judges.register
class LlmJudgeSettings(JudgeBase):
    """A model that judges by a rubric."""

    kind: Literal["llm"]
    teacher: TeacherSettings
    """The model that judges."""
    rubric: Name = "helpfulness"
    """Name of a shipped rubric, or a file."""
    mode: Literal["pointwise", "pairwise", "tournament"] = "pointwise"
    """`pointwise` rates each candidate, `pairwise` compares two, `tournament` finds best and worst by comparisons."""
    logprobs: bool = True
    """Pointwise scores are expected values, where the model gives log-probabilities."""
    structured: bool = False
    """Ask for verdicts as JSON that follows a schema, where the server can."""
    reasons: bool | None = None
    """Ask for reasons before the verdict; null: where no probabilities are read."""
    accept: float | None = None
    """Least score that is accepted; null: every score."""
    both_orders: bool = True
    """Compare each pair in both orders; false shows it once, at half the cost."""

    @model_validator(mode="after")
    def _fits(self) -> LlmJudgeSettings:
        if self.accept is not None and self.mode != "pointwise":
            raise ValueError(f"accept is about scores, and mode is {self.mode}: leave one out")
        if not self.both_orders and self.mode == "pointwise":
            raise ValueError("both_orders is about comparisons, and mode is pointwise: leave it out")
        return self

    @property
    def compares(self) -> bool:
        """As `JudgeBase.compares`."""
        return self.mode != "pointwise"

    @property
    def request_sampling(self) -> SamplingParams:
        """The teacher's."""
        return self.teacher.sampling

    def make(self, place: Place) -> Made:
        teacher = self.teacher.make(place.base)
        rubric = load_rubric(self.rubric, place.base)
        ask = self._asker(teacher, place) if place.asks is None else place.asks(teacher, self)
        if self.mode == "pointwise":
            judge = Pointwise(ask, rubric, logprobs=self.logprobs, structured=self.structured, reasons=self.reasons)
            return Made(judge, None, (teacher,))
        reasons = self.reasons is not False
        pairwise = Pairwise(ask, rubric, structured=self.structured, reasons=reasons, both_orders=self.both_orders)
        return Made(None, pairwise, (teacher,))

    def _asker(self, teacher: Teacher, place: Place) -> Asks:
        ask = Asker(
            teacher,
            place.kept,
            self.teacher.sampling,
            seed=place.seed,
            retry=self.teacher.retry,
            meter=place.meter,
        )
        if place.meter is not None:
            place.meter.watch(ask.counts, place.prices)
        return ask
