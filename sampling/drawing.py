"""One draw, from asking to verdict: ask, write the attempt to the ledger, score, write the verdict.

A request that fails in passing is asked again; one that fails for good is recorded and costs no attempt. An answer
that was cut off is asked for again under the next limit, if there is one, and never under the same. What a cancelled
request had cost is recorded too. A scorer that raises costs one verdict, never the run.
"""

from __future__ import annotations

from collections.abc import Callable

from stillroom.common.records import Attempt, SamplingParams, ScoredAttempt, State, Verdict
from stillroom.errors import RequestFailed, StillroomError
from stillroom.sampling.counts import Counts
from stillroom.sampling.draws import TaskDraws
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.requests import Answered, Requests
from stillroom.sampling.retry import RetrySettings
from stillroom.sampling.scorers.base import Scorer
from stillroom.sampling.teachers.base import OutOfAttempts, Teacher

OVER_LIMIT = "over_limit"
"""The reason of a verdict that a scorer could not come to because it raised."""


def describe(error: Exception) -> str:
    """The kind of an exception, and the beginning of what it says: it may hold all of a hostile text."""
    said = " ".join(str(error)[:SAID].split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


SAID = 200
"""Characters of an exception's message that a verdict keeps."""


class Drawing:
    """Makes draws, one `run` each; holds what they share."""

    def __init__(
        self,
        teacher: Teacher,
        scorer: Scorer,
        ledger: Ledger,
        sampling: SamplingParams,
        seed: int,
        retry: RetrySettings,
        counts: Counts,
        limits: tuple[int, ...] = (),
    ) -> None:
        self.limits = limits or (sampling.max_tokens,)
        self._at = {limit: sampling.model_copy(update={"max_tokens": limit}) for limit in self.limits}
        self._requests = Requests(teacher, ledger, seed, retry, counts)
        self._scorer, self._ledger, self._sampling, self._counts = scorer, ledger, sampling, counts

    async def run(self, draws: TaskDraws, index: int, answered: Callable[[], None]) -> None:
        """Makes draw `index`: only its scoring where the attempt is on record.

        `answered` is called when the teacher is done with it, before the scoring.
        """
        recorded = draws.on_record.get(index)
        if recorded is not None:
            self._counts.reused += 1
            answered()
            if (scored := recorded.scored) is not None:
                return self.resolve(draws, index, scored)
            await self._score(draws, recorded.row, recorded.attempt)
            return
        drawn = await self._climb(draws, index)
        if drawn is not None:
            answered()
            await self._score(draws, *drawn)

    async def _climb(self, draws: TaskDraws, index: int) -> Answered | None:
        """The attempt and its row: under the first limit, or the first that does not cut it off, or the last."""
        drawn: Answered | None = None
        for limit in self.limits[draws.climbed.get(index, 0) :]:
            answered = await self._ask(draws, index, limit)
            if answered is None:
                return None
            self._counts.escalated += drawn is not None
            drawn = answered
            if drawn.attempt.finish_reason != "length":
                break
        return drawn

    def resolve(self, draws: TaskDraws, index: int, result: ScoredAttempt) -> None:
        """Counts a verdict and hands it to the task."""
        self._counts.add(result.verdict.state)
        if result.verdict.state is State.ACCEPTED:
            self._counts.accepted_tokens += result.attempt.completion_tokens
        self._counts.truncated += result.attempt.finish_reason == "length"
        draws.resolve(index, result)

    async def _ask(self, draws: TaskDraws, index: int, limit: int) -> Answered | None:
        """The answer, or None where the draw came to nothing, which is on record then."""
        sampling = self._sampling if limit == self._sampling.max_tokens else self._at[limit]
        request = self._requests.request(draws.task.id, index, draws.messages, sampling)
        try:
            return await self._requests.ask(draws.key, request)
        except OutOfAttempts:
            draws.end_at(index)
        except RequestFailed as error:
            self._requests.fail(draws.key, request, error)
            draws.resolve(index, None)
            self._requests.check_alive(error)
        return None

    async def _score(self, draws: TaskDraws, row: int, attempt: Attempt) -> None:
        verdict = await self._verdict(draws, attempt)
        self._ledger.add_verdict(row, draws.scorer, verdict)
        self.resolve(draws, attempt.index, ScoredAttempt(attempt, verdict))

    async def _verdict(self, draws: TaskDraws, attempt: Attempt) -> Verdict:
        """The scorer's verdict. Whatever it raises over one attempt (out of memory, nested too deeply, a fault in a
        scorer of the user's) leaves that attempt unscored; what it raises on purpose is for the run."""
        try:
            return await self._scorer.score(draws.task, attempt)
        except StillroomError:
            raise
        except Exception as error:  # noqa: BLE001 - anything can come of hostile text; cancellation is no Exception
            return Verdict(State.UNSCORED, OVER_LIMIT, detail=f"the scorer raised {describe(error)}")
