"""`kind: python`: a function of the user's as the scorer.

    scorer: {kind: python, path: "mine.py:score", accept: 0.5, strict: true}

    def score(task, attempt, strict=False) -> bool | float | Verdict: ...     # or async def

True and False accept and reject; a number is accepted from `accept` up. What the function raises, what takes too long
or returns something else leaves the attempt unscored, with the line and the reason. An answer that was cut off,
withheld or is empty is unscored without asking it.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from stillroom.common.records import Attempt, State, Task, Verdict
from stillroom.sampling.ledger import READS_METADATA
from stillroom.sampling.live import Live, LiveFunction
from stillroom.sampling.plugins import ERROR, Hosted, PythonCode, Returned
from stillroom.sampling.scorers.base import Place, Scorer, ScorerBase, scorers
from stillroom.sampling.scorers.none import unfinished
from stillroom.sampling.workers.pool import OVER_LIMIT, TIMEOUT

GOOD, BAD = "good", "bad"


class PythonScorer:
    """Scores with a function. `accept`: the least number that is accepted; None: it gives no numbers."""

    accidents = frozenset({TIMEOUT, OVER_LIMIT, ERROR})

    def __init__(self, function: Hosted | Live, identity: str, accept: float | None) -> None:
        self._function, self.identity, self._accept = function, identity, accept

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        early = unfinished(attempt)
        if early is not None:
            return early
        returned = await self._function.acall(task, attempt)
        return replace(self._verdict(returned), seconds=returned.seconds)

    async def close(self) -> None:
        self._function.close()

    def _verdict(self, returned: Returned) -> Verdict:
        value = returned.value
        if returned.reason:
            return Verdict(State.UNSCORED, returned.reason, detail=returned.detail)
        if returned.verdict is not None:
            return returned.verdict
        if isinstance(value, bool):
            return Verdict(State.ACCEPTED, GOOD) if value else Verdict(State.REJECTED, BAD)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return _unscored(f"it returned {value!r:.100}, expected True, False, a number or a Verdict")
        if self._accept is None:
            return _unscored(f"it returned the number {value:g}: say in scorer.accept from where on it is good")
        state, reason = (State.ACCEPTED, GOOD) if value >= self._accept else (State.REJECTED, BAD)
        return Verdict(state, reason, float(value))


def _unscored(detail: str) -> Verdict:
    return Verdict(State.UNSCORED, ERROR, detail=detail)


@scorers.register
class PythonScorerSettings(ScorerBase, PythonCode):
    """A function of the user's (see docs/plugins.md)."""

    given: ClassVar[tuple[str, ...]] = ("task", "attempt")

    kind: Literal["python"]
    accept: float | None = None
    """Least number that is accepted, if the function returns numbers."""
    workers: int | None = Field(default=None, ge=1)
    """Worker processes for a function that is not async; null: one per core, at most four."""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.file_part,)

    def identity(self, base: Path) -> str:
        more = {"accept": self.accept, "timeout_s": self.timeout_s, "memory_mb": self.memory_mb}
        return self.identity_at(base, **more) + READS_METADATA

    def make(self, place: Place) -> Scorer:
        workers = self.workers or min(4, os.cpu_count() or 1)
        function = self.hosted(place.base, "scorer", workers=workers)
        return PythonScorer(function, self.identity(place.base), self.accept)


@scorers.register
class FunctionScorerSettings(ScorerBase, LiveFunction):
    """A function of the program that makes the run, as for `python`. `accept`: the least number that is accepted, for
    a function that returns numbers."""

    kind: Literal["function"]
    accept: float | None = None

    def identity(self, base: Path) -> str:
        return f"{self.name_and_hash}:{self.accept}{READS_METADATA}"

    def make(self, place: Place) -> Scorer:
        return PythonScorer(self.live(PythonScorerSettings.given), self.identity(place.base), self.accept)
