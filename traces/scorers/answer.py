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
    """Compares the final answer with the gold answer."""

    needs_reference: ClassVar[bool] = True

    kind: Literal["answer"] = "answer"
    timeout_s: float = Field(default=5.0, gt=0)
    """Time limit of one check, in seconds."""
    memory_mb: int = Field(default=2048, ge=512)
    """Memory of a worker, in MB."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes; null: one per core, at most four."""
    policies: Policies = Policies()
    """What is decided by convention, such as whether 10% equals 10."""

    def identity(self, base: Path) -> str:
        return identity_of(self.timeout_s, self.memory_mb, self.policies)

    def make(self, place: Place) -> AnswerScorer:
        return AnswerScorer(self.checker())

    def checker(self) -> AnswerChecker:
        """The answer checker with these settings; close it."""
        return AnswerChecker(self.workers, self.timeout_s, self.memory_mb, policies=self.policies)
