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
    """A model that judges by a rubric (the name of a shipped one, or a file).

    `mode`: `pointwise` rates each candidate, `pairwise` compares two, `tournament` finds the best and the worst by
    comparisons. `logprobs`: pointwise scores are expected values where the teacher gives log-probabilities.
    `structured`: verdicts as JSON by schema where the server knows that. `reasons`: reasons before the verdict; null:
    where no probabilities are read. `accept`: the least score that is accepted; null: every score. `both_orders`:
    false shows each pair once, at half the cost.
    """

    kind: Literal["llm"]
    teacher: TeacherSettings
    rubric: Name = "helpfulness"
    mode: Literal["pointwise", "pairwise", "tournament"] = "pointwise"
    logprobs: bool = True
    structured: bool = False
    reasons: bool | None = None
    accept: float | None = None
    both_orders: bool = True

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
