"""`kind: none`: every finished answer is accepted, whatever it says: plain distillation of a teacher's outputs.

    scorer: {kind: none}

What was cut off, withheld or is empty is unscored, so that it is neither learned from nor taken for a wrong answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stillroom.common.records import Attempt, State, Task, Verdict
from stillroom.sampling.scorers.base import Place, Scorer, ScorerBase, scorers


def unfinished(attempt: Attempt) -> Verdict | None:
    """Unscored for an answer that did not come to its end: `truncated`, `filtered` or `empty`; else None."""
    if attempt.finish_reason == "length":
        return Verdict(State.UNSCORED, "truncated")
    if attempt.finish_reason == "content_filter":
        return Verdict(State.UNSCORED, "filtered")
    if not attempt.text.strip():
        return Verdict(State.UNSCORED, "empty")
    return None


class FinishedScorer:
    """Accepts every answer that ended by itself and is not empty."""

    identity = "finished-1"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        return unfinished(attempt) or Verdict(State.ACCEPTED, "finished")

    async def close(self) -> None:
        """Nothing to free."""


class EveryAnswer(FinishedScorer):
    """Accepts whatever was answered, cut off or empty: what a student writes is measured as it is, and none of it is
    drawn again until it pleases."""

    identity = "every-answer-1"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        return Verdict(State.ACCEPTED, "answered")


@scorers.register
class NoneSettings(ScorerBase):
    """Every finished answer is accepted."""

    kind: Literal["none"]

    def identity(self, base: Path) -> str:
        return FinishedScorer.identity

    def make(self, place: Place) -> Scorer:
        return FinishedScorer()
