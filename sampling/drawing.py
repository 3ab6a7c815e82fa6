"""One draw, from asking to verdict: ask, write the attempt to the ledger, score, write the verdict.

A request that fails in passing is asked again; one that fails for good is recorded and costs no attempt. An answer
that was cut off is asked for again under the next limit, if there is one, and never under the same. What a cancelled
request had cost is recorded too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from stillroom.errors import RequestFailed, TeacherDown
from stillroom.sampling.counts import Counts
from stillroom.sampling.draws import TaskDraws
from stillroom.sampling.hashing import draw_seed
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.records import Attempt, Completion, Request, SamplingParams, ScoredAttempt, State, Usage
from stillroom.sampling.retry import RetrySettings, with_retries
from stillroom.sampling.scorer import Scorer
from stillroom.sampling.teachers.base import OutOfAttempts, Teacher

# This many requests in a row, each after its retries, without one answer: nobody is there.
FAILURES_IN_A_ROW = 12


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
        self._identity = teacher.identity
        self.limits = limits or (sampling.max_tokens,)
        self._at = {limit: sampling.model_copy(update={"max_tokens": limit}) for limit in self.limits}
        self._teacher, self._scorer, self._ledger = teacher, scorer, ledger
        self._sampling, self._seed, self._retry, self._counts = sampling, seed, retry, counts
        self._failures_in_a_row = 0
        self._answered_any = False

    async def run(self, draws: TaskDraws, index: int, answered: Callable[[], None]) -> None:
        """Makes draw `index`: only its scoring where the attempt is on record.

        `answered` is called when the teacher is done with it, before the scoring.
        """
        recorded = draws.on_record.get(index)
        if recorded is not None:
            self._counts.reused += 1
            answered()
            await self._score(draws, recorded.row, recorded.attempt)
            return
        drawn = await self._climb(draws, index)
        if drawn is not None:
            answered()
            await self._score(draws, *drawn)

    async def _climb(self, draws: TaskDraws, index: int) -> tuple[int, Attempt] | None:
        """The attempt and its row: under the first limit, or the first that does not cut it off, or the last."""
        drawn: tuple[int, Attempt] | None = None
        for limit in self.limits[draws.climbed.get(index, 0) :]:
            attempt = await self._ask(draws, index, limit)
            if attempt is None:
                return None
            self._counts.escalated += drawn is not None
            drawn = self._record(draws, attempt, limit), attempt
            if attempt.finish_reason != "length":
                break
        return drawn

    def resolve(self, draws: TaskDraws, index: int, result: ScoredAttempt) -> None:
        """Counts a verdict and hands it to the task."""
        self._counts.add(result.verdict.state)
        if result.verdict.state is State.ACCEPTED:
            self._counts.accepted_tokens += result.attempt.completion_tokens
        self._counts.truncated += result.attempt.finish_reason == "length"
        draws.resolve(index, result)

    def _record(self, draws: TaskDraws, attempt: Attempt, limit: int) -> int:
        self._failures_in_a_row, self._answered_any = 0, True
        self._counts.prompt_tokens += attempt.prompt_tokens
        self._counts.completion_tokens += attempt.completion_tokens
        return self._ledger.add_attempt(draws.key, limit, attempt)

    async def _ask(self, draws: TaskDraws, index: int, limit: int) -> Attempt | None:
        """The attempt, or None where the draw came to nothing, which is on record then."""
        usage = Usage()
        try:
            return await self._answer(draws, index, limit, usage)
        except OutOfAttempts:
            draws.end_at(index)
        except RequestFailed as error:
            self._fail(draws, index, error)
        except asyncio.CancelledError:
            self._counts.cancelled += 1
            self._counts.cancelled_tokens += usage.completion_tokens or 0
            self._ledger.add_cancelled(draws.key, index, draws.task.id, usage)
            raise
        return None

    async def _answer(self, draws: TaskDraws, index: int, limit: int, usage: Usage) -> Attempt:
        seed = draw_seed(self._seed, draws.task.id, index)
        sampling = self._sampling if limit == self._sampling.max_tokens else self._at[limit]
        request = Request(draws.task.id, index, draws.messages, sampling, seed)

        async def once() -> Attempt:
            started = time.monotonic()
            completion = await self._teacher.sample(request, usage)
            return _as_attempt(request, completion, self._identity, time.monotonic() - started)

        return await with_retries(once, self._retry)

    def _fail(self, draws: TaskDraws, index: int, error: RequestFailed) -> None:
        self._counts.failed += 1
        self._counts.last_failure = str(error)
        self._ledger.add_failure(draws.key, index, draws.task.id, str(error))
        draws.resolve(index, None)
        # A request that was refused for what it says is no sign that nobody is there, unless all are refused.
        self._failures_in_a_row += error.retryable or not self._answered_any
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise TeacherDown(
                f"{FAILURES_IN_A_ROW} requests in a row got no answer from {self._teacher.identity}; the last one: "
                f"{error}. Everything answered is kept: run the same command again when the teacher is back"
            ) from error

    async def _score(self, draws: TaskDraws, row: int, attempt: Attempt) -> None:
        verdict = await self._scorer.score(draws.task, attempt)
        self._ledger.add_verdict(row, draws.scorer, verdict)
        self.resolve(draws, attempt.index, ScoredAttempt(attempt, verdict))


def _as_attempt(request: Request, answer: Completion, teacher: str, latency_s: float) -> Attempt:
    return Attempt(
        task_id=request.task_id,
        index=request.index,
        text=_storable(answer.text),
        reasoning=None if answer.reasoning is None else _storable(answer.reasoning),
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        logprobs=answer.logprobs,
        latency_s=latency_s,
        teacher=teacher,
    )


def _storable(text: str) -> str:
    """Lone surrogates, which JSON from a server may hold, cannot be written as UTF-8: U+FFFD instead."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
