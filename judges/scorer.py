"""A judge as the scorer of the core: ratings become verdicts, and failures stay what they are.

An answer is accepted from the score `accept` up, rejected below; without `accept`, whatever was judged is accepted
and the score is what counts. A judgement that failed is *unscored* with the failure as its reason, never a
rejection. An answer that was cut off, withheld or is empty is unscored too, and the judge is not asked about it.

    scorer: {kind: judge, accept: 4.0, judge: {kind: llm, rubric: helpfulness, teacher: {kind: openai, …}}}

    scorer = JudgeScorer(Pointwise(asker, rubric), accept=4.0)

A judge that compares two answers cannot say whether one is good, and is refused.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from stillroom.common.records import Attempt, Messages, SamplingParams, State, Task, Verdict
from stillroom.errors import InputError
from stillroom.judges.records import FAILURES, JudgeState, PointwiseJudge
from stillroom.judges.registry import JudgeBase, JudgeSettings, Place
from stillroom.sampling.scorers.base import ScorerBase, scorers
from stillroom.sampling.scorers.none import unfinished
from stillroom.sampling.teachers.base import Teacher

GOOD, BELOW = "good", "below"
UNFINISHED = frozenset({"answer_truncated", "answer_filtered", "answer_empty"})
REASONS = frozenset({GOOD, BELOW}) | UNFINISHED | {state.value for state in FAILURES}
"""Every reason of a verdict. The failures are those of `JudgeState`."""


class JudgeScorer:
    """Scores with `judge`. `accept`: the least score that is accepted, on the judge's scale; None: every score."""

    accidents: frozenset[str] = frozenset({JudgeState.API_ERROR})  # of one request: the next may be answered
    failures: frozenset[str] = frozenset(FAILURES - {JudgeState.OVERFLOW})  # what another reply may put right

    def __init__(self, judge: PointwiseJudge, accept: float | None = None) -> None:
        low, high = judge.scale
        if accept is not None and not low <= accept <= high:
            raise InputError(f"accept is {accept:g}, but the judge's scale is {low:g} to {high:g}")
        self._judge, self._accept = judge, accept

    @property
    def identity(self) -> str:
        return f"judge accept={self._accept} {self._judge.identity}"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """The verdict on `attempt`. `detail`: JSON with the ratings, whether they are expected ones, the requests
        made, and a note where there is one."""
        if (early := unfinished(attempt)) is not None:
            return replace(early, reason=f"answer_{early.reason}", detail="the judge was not asked")
        started = time.monotonic()
        rating = await self._judge.rate(task, attempt)
        seconds = time.monotonic() - started
        ratings = {name: round(value, 4) for name, value in rating.ratings.items()}
        said = {"ratings": ratings, "expected": rating.expected, "calls": rating.calls}
        detail = json.dumps(said | ({"note": rating.detail} if rating.detail else {}), ensure_ascii=False)
        if rating.score is None:
            return Verdict(State.UNSCORED, rating.state.value, None, detail, seconds)
        good = self._accept is None or rating.score >= self._accept
        state, reason = (State.ACCEPTED, GOOD) if good else (State.REJECTED, BELOW)
        return Verdict(state, reason, rating.score, detail, seconds)

    async def close(self) -> None:
        """Closes the judge."""
        await self._judge.close()


class AsksNobody:
    """Has the identity of what would ask, so that a judge can be named before there is a ledger."""

    def __init__(self, teacher: Teacher, sampling: SamplingParams) -> None:
        self.teacher, self.identity, self.sampling = teacher, teacher.identity, sampling

    async def ask(
        self, messages: Messages, *, about: str, index: int = 0, sampling: SamplingParams | None = None
    ) -> Attempt:
        raise AssertionError("a judge that was made to be named is not asked")

    def room(self, messages: Messages, max_tokens: int) -> int | None:
        return None

    async def close(self) -> None:
        await self.teacher.close()


@scorers.register
class JudgeScorerSettings(ScorerBase):
    """A judge that rates, with a threshold."""

    kind: Literal["judge"]
    judge: JudgeSettings
    """The judge."""
    accept: float
    """Least score that is accepted, on the judge's scale."""

    @field_validator("judge")
    @classmethod
    def _rates(cls, judge: JudgeBase) -> JudgeBase:
        if judge.compares:
            raise ValueError(
                "it compares two answers, and a scorer looks at one: set mode to pointwise, or use the judge in a "
                "recipe of preferences"
            )
        if getattr(judge, "accept", None) is not None:
            raise ValueError("accept is given twice: leave it out here, scorer.accept decides")
        return judge

    @property
    def files(self) -> tuple[str, ...]:
        return self.judge.files

    def identity(self, base: Path) -> str:
        """As `ScorerBase.identity`. Asks nobody; a rubric, a recording or a local model is read to be named."""
        return self._scorer(
            Place(None, base, asks=lambda teacher, settings: AsksNobody(teacher, settings.request_sampling))
        ).identity

    def make(self, place: Place) -> JudgeScorer:
        """As `ScorerBase.make`. Raises InputError where the place has no ledger."""
        _ = place.kept  # even for a judge that asks nobody: whether one is needed must not depend on the recipe
        return self._scorer(place)

    def _scorer(self, place: Place) -> JudgeScorer:
        made = self.judge.make(place)
        if made.pointwise is None:
            raise InputError(f"scorer.judge ({made.identity}) compares two answers: name one that rates")
        return JudgeScorer(made.pointwise, self.accept)
