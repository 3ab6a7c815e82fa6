"""One request, whoever makes it: asked, asked again while it fails in passing, and on record however it ends.

An answer is in the ledger when the call returns, a request that failed for good as a failure, and of one that was
cancelled what it had cost. It looks nothing up (whoever asks does), and decides on nothing but this: when a long row
of requests got no answer, nobody is there (TeacherDown).

    requests = Requests(teacher, ledger, seed=0, retry=RetrySettings(), counts=Counts())
    row, attempt = await requests.ask(request_key(messages, sampling, teacher.identity, 0), request)
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import NamedTuple

from stillroom.common.files import storable
from stillroom.common.hashing import draw_seed
from stillroom.common.outside import tokens_in
from stillroom.common.records import (
    Attempt,
    Completion,
    Messages,
    Request,
    SamplingParams,
    TokenChoice,
    Usage,
)
from stillroom.common.secrets import blot, named
from stillroom.errors import RequestFailed, TeacherDown
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.rate_limit.cost_estimate import Cost, estimated_cost
from stillroom.sampling.retry import RetrySettings, with_retries
from stillroom.sampling.teachers.base import Teacher

# This many requests in a row, each after its retries, without one answer: nobody is there.
FAILURES_IN_A_ROW = 12


class Answered(NamedTuple):
    """An attempt, and the id of its row in the ledger."""

    row: int
    attempt: Attempt


class Requests:
    """Makes the requests of one asker; holds what they share. `seed` is the run's, `counts` the asker's own."""

    def __init__(self, teacher: Teacher, ledger: Ledger, seed: int, retry: RetrySettings, counts: Counts) -> None:
        self.identity = teacher.identity
        self._teacher, self._ledger, self._seed = teacher, ledger, seed
        self._retry, self._counts = retry, counts
        self._failures_in_a_row = 0
        self._answered_any = False

    def request(self, task_id: str, index: int, messages: Messages, sampling: SamplingParams) -> Request:
        """The request for a draw, with the seed of that draw."""
        return Request(task_id, index, messages, sampling, draw_seed(self._seed, task_id, index))

    async def ask(self, key: str, request: Request) -> Answered:
        """The answer to `request`, whose request_key is `key`.

        Raises RequestFailed (call `fail` with it), OutOfAttempts, or what the teacher raised as pointless.
        """
        usage = Usage()
        try:
            attempt = await self._answer(request, usage)
        except asyncio.CancelledError:
            self._counts.cancelled += 1
            self._counts.cancelled_tokens += usage.completion_tokens or 0
            self._ledger.add_cancelled(key, request.index, request.task_id, usage)
            raise
        self._failures_in_a_row, self._answered_any = 0, True
        self._counts.prompt_tokens += attempt.prompt_tokens
        self._counts.completion_tokens += attempt.completion_tokens
        self._counts.estimated += usage.uncounted
        return Answered(self._ledger.add_attempt(key, request.sampling.max_tokens, attempt), attempt)

    def fail(self, key: str, request: Request, error: RequestFailed) -> None:
        """Counts and records a request that failed for good."""
        self._counts.failed += 1
        self._counts.last_failure = named(storable(str(error)))
        self._ledger.add_failure(key, request.index, request.task_id, self._counts.last_failure)
        # A request that was refused for what it says is no sign that nobody is there, unless all are refused.
        self._failures_in_a_row += error.retryable or not self._answered_any

    def check_alive(self, error: RequestFailed) -> None:
        """Raises TeacherDown where `error` was the last of a long row of failures."""
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise TeacherDown(
                f"{FAILURES_IN_A_ROW} requests in a row got no answer from {self.identity}; the last one: "
                f"{error}. Everything answered is kept: run the same command again when the teacher is back"
            ) from error

    async def _answer(self, request: Request, usage: Usage) -> Attempt:
        async def once() -> Attempt:
            started = time.monotonic()
            completion = await self._teacher.sample(request, usage)
            cost = _cost(request, completion, usage)
            return _as_attempt(request, completion, cost, self.identity, time.monotonic() - started)

        return await with_retries(once, self._retry)


def _cost(request: Request, answer: Completion, usage: Usage) -> Cost:
    """What the answer cost. Where nobody counted, an estimate: a limit or a budget has to hold there too."""
    prompt, completion = tokens_in(answer.prompt_tokens), tokens_in(answer.completion_tokens)
    usage.uncounted |= prompt is None or completion is None or (completion == 0 and bool(answer.text))
    counted = replace(answer, prompt_tokens=prompt or 0, completion_tokens=completion or 0)
    return estimated_cost(request, counted) if usage.uncounted else Cost.of(counted)


def _as_attempt(request: Request, answer: Completion, cost: Cost, teacher: str, latency_s: float) -> Attempt:
    told = any(blot(part) != part for part in (answer.text, answer.reasoning or ""))
    choices = None if told else answer.choices  # a secret stands in the tokens, too, a few letters in each
    return Attempt(
        task_id=request.task_id,
        index=request.index,
        text=storable(answer.text),
        reasoning=None if answer.reasoning is None else storable(answer.reasoning),
        finish_reason=answer.finish_reason,
        prompt_tokens=cost.prompt,
        completion_tokens=cost.completion,
        logprobs=answer.logprobs,
        latency_s=latency_s,
        teacher=teacher,
        choices=None if choices is None else tuple(map(_storable, choices)),
    )


def _storable(choice: TokenChoice) -> TokenChoice:
    top = tuple((storable(token), logprob) for token, logprob in choice.top)
    return TokenChoice(storable(choice.token), choice.logprob, top)
