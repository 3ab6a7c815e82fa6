"""Which kinds of judge there are, how a recipe names one, and where one is made to work.

    judge: {kind: llm, rubric: helpfulness, teacher: {kind: openai, model: Qwen/Qwen3-32B, base_url: "http://…/v1"}}
    judge: {kind: jury, how: majority, members: [{kind: llm, …}, {kind: llm, …}, {kind: llm, …}]}

A new kind is a module in this package with one registered class: its settings, and how to build the judge.

    @judges.register
    class LengthSettings(JudgeBase):
        kind: Literal["length"]

        def make(self, place: Place) -> Made:
            return Made(LengthJudge(), None)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stillroom.common.records import SamplingParams
from stillroom.common.registry import Registry
from stillroom.judges.records import PairwiseJudge, PointwiseJudge
from stillroom.sampling.scorers.base import Place
from stillroom.sampling.teachers.base import Teacher

__all__ = ["JudgeBase", "JudgeSettings", "Made", "Name", "Place", "judges"]

Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Made:
    """A judge that rates (`pointwise`) or compares (`pairwise`): one of the two. `teachers`: the models it asks.
    `notes`: what was left out of what it reads, for people."""

    pointwise: PointwiseJudge | None
    pairwise: PairwiseJudge | None
    teachers: tuple[Teacher, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def judge(self) -> PointwiseJudge | PairwiseJudge:
        """The one there is."""
        judge = self.pointwise or self.pairwise
        assert judge is not None  # every kind makes one of the two
        return judge

    @property
    def kind(self) -> Literal["pointwise", "pairwise"]:
        """Whether it rates or compares."""
        return "pairwise" if self.pointwise is None else "pointwise"

    @property
    def identity(self) -> str:
        """The judge's."""
        return self.judge.identity

    async def close(self) -> None:
        """Closes it."""
        await self.judge.close()


class JudgeBase(BaseModel):
    """Settings that every kind of judge has."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its judgements, as the recipe names them."""
        return ()

    @property
    def compares(self) -> bool:
        """Whether it compares answers instead of rating them, as far as the settings alone can tell."""
        return False

    @property
    def request_sampling(self) -> SamplingParams:
        """How its requests are sampled; of no use where it makes none."""
        return SamplingParams(temperature=0)

    def make(self, place: Place) -> Made:
        """The judge. Loads no model yet.

        Raises InputError (a rubric or a file that is not there, a missing extra or key).
        """
        raise NotImplementedError


judges: Registry[JudgeBase] = Registry("judge", tag="kind", where=("stillroom.judges",))
"""Every kind of judge by its name in a recipe."""

JudgeSettings = Annotated[JudgeBase, judges.field()]
"""The settings of any kind, as the type of a recipe's field."""
