"""`kind: answer`: the answer checker as the scorer.

scorer: {kind: answer, timeout_s: 2, policies: {percent: bare}}
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.traces.answers.checker import AnswerChecker, identity_of
from stillroom.traces.answers.policies import Policies
from stillroom.traces.answers.scorer import AnswerScorer


@scorers.register
class AnswerScorerSettings(ScorerBase):
    """What decides whether an attempt is accepted. `timeout_s` and `memory_mb` bound one check in its worker;
    `workers` null: one for each core, four at most. `policies`: what is decided by convention."""

    needs_reference: ClassVar[bool] = True

    kind: Literal["answer"] = "answer"
    timeout_s: float = Field(default=5.0, gt=0)
    memory_mb: int = Field(default=2048, ge=512)
    workers: int | None = Field(default=None, ge=1)
    policies: Policies = Policies()

    def identity(self, base: Path) -> str:
        return identity_of(self.timeout_s, self.memory_mb, self.policies)

    def make(self, place: Place) -> AnswerScorer:
        return AnswerScorer(self.checker())

    def checker(self) -> AnswerChecker:
        """The answer checker with these settings; close it."""
        return AnswerChecker(self.workers, self.timeout_s, self.memory_mb, policies=self.policies)
