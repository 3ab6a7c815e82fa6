"""`kind: python`: a function of the user's as the judge.

    judge: {kind: python, path: "mine.py:rate", scale: [1, 5], focus: tone}

    def rate(task, attempt, focus="all") -> float: ...     # or async def; None where it declines to rate

Its ratings are in the ledger like the requests of a model that judges, so that none is asked for twice.
"""

from __future__ import annotations

import math
import os
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Completion, Request, Task, Usage, user
from stillroom.errors import RequestFailed
from stillroom.judges.dialogue import JUDGE_PREFIX, Asks
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeBase, Made, Place, judges
from stillroom.sampling.plugins import Hosted, PythonCode
from stillroom.sampling.requests import Asker

DECLINED = "declined"


class Rater:
    """The function as whatever answers requests: each is about a task and an answer that are waiting to be rated."""

    def __init__(self, function: Hosted, identity: str, concurrency: int) -> None:
        self._function, self.identity, self.concurrency = function, identity, concurrency
        self.waiting: dict[str, tuple[Task, Attempt]] = {}

    async def sample(self, request: Request, usage: Usage) -> Completion:
        """The number as text. Raises RequestFailed for what the function raises or gives back that is not a
        number."""
        returned = await self._function.acall(*self.waiting[request.task_id])
        if returned.reason:
            raise RequestFailed(returned.detail, retryable=False)
        value = returned.value
        if value is None:
            return Completion(DECLINED, "stop", 0, 0)
        if isinstance(value, bool | str) or not math.isfinite(value):
            raise RequestFailed(f"it returned {value!r:.100}, expected a number", retryable=False)
        return Completion(repr(float(value)), "stop", 0, 0)

    async def close(self) -> None:
        self._function.close()


class PythonJudge:
    """Rates with a function; a `PointwiseJudge`."""

    def __init__(self, rater: Rater, ask: Asks, scale: tuple[float, float]) -> None:
        self._rater, self._ask, self.scale = rater, ask, scale
        self.identity = rater.identity

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """The rating. `api_error` where the function raised or ran into a limit, `parse_failed` for a number off the
        scale, `refused` where it returned None."""
        # All that a function may look at. Metadata as its text, since it may hold what JSON cannot.
        asked = [[message.as_dict() for message in task.messages], task.reference, str(dict(task.metadata))]
        seen = digest([*asked, answer.text, answer.reasoning, answer.finish_reason])
        about = f"{JUDGE_PREFIX}{task.id}-{seen}"
        self._rater.waiting[about] = (task, answer)
        try:
            text = (await self._ask.ask(user(seen), about=about)).text
        except RequestFailed as error:
            return Rating(JudgeState.API_ERROR, None, detail=str(error))
        finally:
            self._rater.waiting.pop(about, None)
        if text == DECLINED:
            return Rating(JudgeState.REFUSED, None, detail="the function returned None")
        score, (low, high) = float(text), self.scale
        if not low <= score <= high:
            return Rating(JudgeState.PARSE_FAILED, None, detail=f"rated {score:g}, the scale is {low:g} to {high:g}")
        return Rating(JudgeState.OK, score)

    async def close(self) -> None:
        await self._ask.close()


@judges.register
class PythonJudgeSettings(JudgeBase, PythonCode):
    """A function of the user's that rates (see docs/plugins.md)."""

    given: ClassVar[tuple[str, ...]] = ("task", "attempt")

    kind: Literal["python"]
    scale: tuple[float, float]
    """Lowest and highest number that the function returns."""
    workers: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1)
    """Worker processes, or calls in flight if the function is async; by default one per core, at most four."""

    @field_validator("scale")
    @classmethod
    def _rises(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not scale[0] < scale[1]:
            raise ValueError(f"scale is {list(scale)}: give the lowest and the highest score, such as [1, 5]")
        return scale

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file_part,)

    def make(self, place: Place) -> Made:
        limits = {"timeout_s": self.timeout_s, "memory_mb": self.memory_mb}
        identity = self.identity_at(place.base, scale=self.scale, **limits)
        rater = Rater(self.hosted(place.base, "judge", workers=self.workers), identity, self.workers)
        if place.asks is not None:
            ask = place.asks(rater, self)
        else:
            sampling, meter = self.request_sampling, place.meter
            ask = Asker(rater, place.kept, sampling, seed=place.seed, meter=meter, again=place.again)
        return Made(PythonJudge(rater, ask, self.scale), None)
