"""Sends requests to a teacher: each is retried while it fails in passing, and on record however it ends.

`Requests` sends one. An answer is in the ledger when the call returns, a request that failed for good as a failure,
and of one that was cancelled what it had cost. It looks nothing up, and decides on nothing but this: when a long row
of requests got no answer, nobody is there (TeacherDown).

`Asker` is for requests that are not draws for a task (a judge's, say). What is on record is not asked again; the rest
goes to the teacher, at most its `concurrency` at once for all who share the Asker. The same thing asked twice at once
is one request. It scores nothing and shortens no prompt.

    asker = Asker(teacher, ledger, SamplingParams(temperature=0, max_tokens=8, top_logprobs=20), seed=0)
    attempt = await asker.ask(user("Rate this from 1 to 5: …"), about="task-7/draw-2")
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from stillroom.common.files import storable
from stillroom.common.formatting import duration
from stillroom.common.hashing import draw_seed
from stillroom.common.marks import split_named
from stillroom.common.outside import tokens_in
from stillroom.common.records import Attempt, Completion, Messages, Request, SamplingParams, TokenChoice, Usage
from stillroom.common.secrets import blot, named
from stillroom.errors import InputError, Interrupted, RequestFailed, RunError, TeacherDown
from stillroom.sampling.again import STEP, Again, latest
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger, request_key
from stillroom.sampling.limits import Meter, cost_of
from stillroom.sampling.rate_limit import MAX_RETRY_AFTER_S
from stillroom.sampling.teachers.base import (
    CountsTokens,
    OutOfAttempts,
    RetrySettings,
    SendsBatches,
    Teacher,
    special_tokens_of,
)

T = TypeVar("T")

# This many requests in a row, each after its retries, without one answer: nobody is there.
FAILURES_IN_A_ROW = 12
# This many in a row that were put off for longer than anybody waits: a limit per day is used up, say.
PUT_OFF_IN_A_ROW = 3
# Refusals of a key or a model before it is believed: where it may be about one prompt (a 403), and where earlier
# calls of the run were answered.
REFUSALS_TO_BELIEVE, REFUSALS_AFTER_ANSWERS = 3, 50
_MOST_DOUBLINGS = 30  # a float has an end


async def with_retries(
    call: Callable[[], Awaitable[T]],
    settings: RetrySettings,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    on_too_many: Callable[[RequestFailed], object] = lambda error: None,
    wanted: Callable[[], bool] = lambda: True,
) -> T:
    """The result of `call`, asked again while it fails in a way that may pass; else its last RequestFailed.

    Waits grow exponentially, with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/);
    what the server asks for (`Retry-After`) comes first. A server that is well and says "too many" (429) is asked
    until it answers, which costs no try; `on_too_many` hears of each. What is not
    `wanted` any more is not asked again.
    """
    failed = too_many = 0
    while True:
        try:
            return await call()
        except RequestFailed as error:
            step = min(too_many if error.too_many else failed, _MOST_DOUBLINGS)
            jittered = random.uniform(0, min(settings.cap_s, settings.base_s * 2**step))
            # At least what the server asked for; jitter on top keeps the clients from coming back all at once.
            wait = jittered + (error.retry_after_s or 0.0)
            failed, too_many = failed + (not error.too_many), too_many + error.too_many
            if not error.retryable or failed >= settings.attempts or (error.retry_after_s or 0.0) > MAX_RETRY_AFTER_S:
                raise
            if not wanted():
                raise
            if error.too_many:
                on_too_many(error)
        await sleep(wait)


class Answered(NamedTuple):
    """An attempt, and the id of its row in the ledger. `ended`: as in Completion."""

    row: int
    attempt: Attempt
    ended: str = ""


class Requests:
    """Makes the requests of one asker; holds what they share. `seed` is the run's, `counts` the asker's own."""

    def __init__(self, teacher: Teacher, ledger: Ledger, seed: int, retry: RetrySettings, counts: Counts) -> None:
        self.identity = teacher.identity
        self._teacher, self._ledger, self._seed = teacher, ledger, seed
        self._retry, self._counts = retry, counts
        self._failures_in_a_row = self._put_off = 0
        self._answered_any = False
        self._in_flight = self._undecided = self._unbelieved = 0
        self._news = asyncio.Event()
        if isinstance(teacher, SendsBatches):
            teacher.keep_in(ledger.path.parent, counts)

    def request(self, task_id: str, index: int, messages: Messages, sampling: SamplingParams) -> Request:
        """The request for a draw, with the seed of that draw."""
        return Request(task_id, index, messages, sampling, draw_seed(self._seed, task_id, index))

    async def ask(
        self, key: str, request: Request, usage: Usage | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> Answered:
        """The answer to `request`, whose request_key is `key`. `usage` may be watched meanwhile. A request that is
        not `wanted` any more is not repeated when it fails.

        Raises RequestFailed (call `fail` with it), OutOfAttempts, or what the teacher raised as pointless.
        """
        self._in_flight += 1
        try:
            return await self._ask(key, request, usage or Usage(), wanted)
        except InputError as error:
            found = await self._whose_fault(error)
            if found is error:
                raise
            raise found from None
        finally:
            self._in_flight -= 1
            self._tell()

    async def _ask(self, key: str, request: Request, usage: Usage, wanted: Callable[[], bool]) -> Answered:
        ended = ""

        async def once() -> Attempt:
            nonlocal ended
            started = time.monotonic()
            completion = await self._teacher.sample(request, usage)
            ended = named(storable(completion.ended)) if completion.finish_reason == "unknown" else ""
            marks = request.sampling.thinking
            if marks is not None and not completion.reasoning:
                reasoning, text = split_named(completion.text, marks)
                completion = replace(completion, reasoning=reasoning, text=text)
            return _as_attempt(request, completion, usage, self.identity, time.monotonic() - started)

        try:
            attempt = await with_retries(once, self._retry, on_too_many=self._refused, wanted=wanted)
        except asyncio.CancelledError:
            if usage.resumes:  # the same request is found again, or it was never sent
                raise
            self._counts.cancelled += 1
            self._counts.cancelled_tokens += usage.completion_tokens or 0
            self._ledger.add_cancelled(key, request.index, request.task_id, usage)
            raise
        self._failures_in_a_row, self._put_off, self._answered_any = 0, 0, True
        self._counts.refused_since = None
        self._counts.prompt_tokens += attempt.prompt_tokens
        self._counts.completion_tokens += attempt.completion_tokens
        self._counts.estimated += usage.uncounted
        self._counts.odd += usage.odd
        self._counts.unknown_ends += bool(ended)
        self._counts.unknown_end = ended or self._counts.unknown_end
        return Answered(self._ledger.add_attempt(key, request.sampling.max_tokens, attempt), attempt, ended)

    def fail(self, key: str, request: Request, error: RequestFailed) -> None:
        """Counts and records a request that failed for good. Raises TeacherDown where it was the last of a long
        row."""
        self._counts.failed += 1
        self._counts.last_failure = named(storable(str(error)))
        self._ledger.add_failure(key, request.index, request.task_id, self._counts.last_failure)
        if error.too_many:
            self._put_off_once(error)
            return
        # A request that was refused for what it says does not say that nobody is there, unless all are refused.
        self._failures_in_a_row += error.retryable or not self._answered_any
        if self._failures_in_a_row >= FAILURES_IN_A_ROW:
            raise TeacherDown(
                f"{FAILURES_IN_A_ROW} requests in a row got no answer from {self.identity}; the last one: "
                f"{error}. Everything answered is kept: run the same command again when the teacher is back"
            ) from error

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _whose_fault(self, error: InputError) -> Exception:
        """The failure of one request, where a refusal of a key or a model is only that: others are answered, or were
        in an earlier call. Else the error itself. What is in flight may yet be answered and is waited for."""
        if (failed := error.if_answered) is None:
            return error
        self._undecided += 1
        self._tell()
        try:
            while not self._answered_any and self._undecided < self._in_flight:
                await self._news.wait()
        finally:
            self._undecided -= 1
        if self._answered_any:
            return failed
        self._unbelieved += 1
        most = 1 if error.sure else REFUSALS_TO_BELIEVE
        if self._ledger.mean_tokens(self.identity) is not None:
            most = REFUSALS_AFTER_ANSWERS
        return error if self._unbelieved >= most else failed

    def _refused(self, error: RequestFailed) -> None:
        self._counts.refused += 1
        self._counts.last_refusal = named(storable(str(error)))
        if self._counts.refused_since is None:
            self._counts.refused_since = time.monotonic()

    def _put_off_once(self, error: RequestFailed) -> None:
        """Takes a refusal with a wait that is too long to be waited for; it says nothing about who is there. Raises
        TeacherDown after a row of them: the rest would be put off as well, one after the other."""
        self._put_off += 1
        if self._put_off >= PUT_OFF_IN_A_ROW:
            raise TeacherDown(
                f"{self.identity} asks to come back in {duration(error.retry_after_s or 0.0)}, longer than the "
                f"{duration(MAX_RETRY_AFTER_S)} that a run waits at most: {error}. Everything answered is kept: run "
                "the same command again then"
            ) from error


def _as_attempt(request: Request, answer: Completion, usage: Usage, teacher: str, latency_s: float) -> Attempt:
    # Where nobody counted the tokens, an estimate: a limit or a budget has to hold there too.
    prompt, completion = tokens_in(answer.prompt_tokens), tokens_in(answer.completion_tokens)
    usage.uncounted |= prompt is None or completion is None or (completion == 0 and bool(answer.text))
    counted = replace(answer, prompt_tokens=prompt or 0, completion_tokens=completion or 0)
    cost = cost_of(request, counted, uncounted=usage.uncounted)

    told = any(blot(part) != part for part in (answer.text, answer.reasoning or ""))
    choices = None
    if answer.choices is not None and not told:  # a secret stands in the tokens, too, a few letters in each
        choices = tuple(
            TokenChoice(storable(one.token), one.logprob, tuple((storable(token), p) for token, p in one.top))
            for one in answer.choices
        )
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
        choices=choices,
    )


_Wanted = tuple[str, int, int]  # what makes two asks the same: request_key, draw index, limit


@dataclass(slots=True)
class _Job:
    """A request in flight, and how many wait for its answer."""

    task: asyncio.Task[Attempt]
    waiting: int = 0


class Asker:
    """Asks one teacher. `seed` is the run's; `counts` (its own where none is given) may be watched meanwhile. At a
    limit of `meter`, which others may share, nothing more is asked: Interrupted. `again`: whether what is on record
    may be asked again, and is (see `ask`).

    Of `counts` it keeps the tokens, `reused` (on record, or asked for by another at the same moment), `truncated`,
    `failed`, `cancelled` and `last_failure`. Belongs to one event loop.
    """

    def __init__(
        self,
        teacher: Teacher,
        ledger: Ledger,
        sampling: SamplingParams,
        *,
        seed: int,
        retry: RetrySettings | None = None,
        counts: Counts | None = None,
        meter: Meter | None = None,
        again: Again | None = None,
    ) -> None:
        if isinstance(teacher, SendsBatches):
            raise InputError(
                f"{teacher.identity} answers in batches, hours later, and a judge or verifier asks one thing after "
                "the other: set batch: false for it"
            )
        self.sampling, self.again = sampling, again
        self.before_asking: Callable[[], Awaitable[object]] | None = None
        """Awaited before each request that is to be paid for; what it raises, `ask` raises."""
        self._lost: set[str] | None = None  # what requests that failed in earlier calls were about
        self._new: set[tuple[str, int]] = set()  # what was asked in this call: about what, and which draw
        self.counts = counts if counts is not None else Counts()
        self._teacher, self._ledger, self._seed = teacher, ledger, seed
        self._meter = meter
        self.identity = teacher.identity
        self._requests = Requests(teacher, ledger, seed, retry or RetrySettings(), self.counts)
        self._slots = asyncio.Semaphore(teacher.concurrency)
        self._jobs: dict[_Wanted, _Job] = {}

    async def ask(
        self,
        messages: Messages,
        *,
        about: str,
        index: int = 0,
        sampling: SamplingParams | None = None,
        again: bool = False,
    ) -> Attempt:
        """The answer to `messages`: from the ledger where it is there, as an attempt at the task `about`.

        `index`: which draw of the same request; `sampling`: other settings than the Asker's own. `again`: an answer
        of an earlier call does not do; it is asked for once more, and counts from then on in the place of the other.
        Raises RequestFailed for a request that failed for good, which is on record then; TeacherDown after a long
        row of these; LedgerError; or what the teacher raised as pointless (a wrong key). Cancelled, it stops the
        request, unless somebody else waits for the same.
        """
        params = sampling or self.sampling
        key = request_key(messages, params, self.identity, self._seed)
        found = self._ledger.find(key, params.max_tokens, about, scorer="")
        if (known := latest(found.keys(), index)) is not None:
            index = known + STEP if again and (about, known) not in self._new else known
        wanted = (key, index, params.max_tokens)
        recorded, job = found.get(index), self._jobs.get(wanted)
        reused = recorded is not None or job is not None
        if recorded is not None:
            attempt = recorded.attempt
            if self.again is not None:
                self.again.lost.discard(about)  # with other settings it was answered
        else:
            if job is None:
                self._not_while_counting(about)
                request = self._requests.request(about, index, messages, params)
                started = job = self._jobs[wanted] = _Job(asyncio.create_task(self._request(key, request)))
                job.task.add_done_callback(lambda _: self._forget(wanted, started))
            attempt = await self._wait(wanted, job)
            self._new.add((about, index))
        self.counts.reused += reused
        self.counts.truncated += attempt.finish_reason == "length"
        return attempt if attempt.task_id == about else replace(attempt, task_id=about)

    def _not_while_counting(self, about: str) -> None:
        """Raises RequestFailed while failures are only counted, and notes one of an earlier call."""
        if self.again is None or not self.again.held:
            return
        if self._lost is None:
            self._lost = self._ledger.failed_tasks()
        if about in self._lost:
            self.again.lost.add(about)
        raise RequestFailed("not asked: the failures on record are being counted", retryable=False)

    def is_new(self, attempt: Attempt) -> bool:
        """Whether an answer was asked for in this call."""
        return (attempt.task_id, attempt.index) in self._new

    def room(self, messages: Messages, max_tokens: int) -> int | None:
        """Tokens of the teacher's context that prompt and answer leave free; below 0: how many they are too long by.

        None where the teacher cannot count, or has no limit that is known.
        """
        teacher = self._teacher
        if not isinstance(teacher, CountsTokens) or (context := teacher.context) is None:
            return None
        try:
            return context - teacher.count_tokens(messages) - max_tokens
        except InputError:  # of messages that its template does not take: the request will say so
            return None

    @property
    def special_tokens(self) -> frozenset[str]:
        """Those of the teacher's tokenizer; empty where it has none at hand."""
        return special_tokens_of(self._teacher)

    async def close(self) -> None:
        """Cancels what is in flight and closes the teacher. Safe to call twice."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._teacher.close()

    async def _wait(self, wanted: _Wanted, job: _Job) -> Attempt:
        """The job's answer. The last who waits takes the job along when cancelled, and sees it recorded."""
        job.waiting += 1
        try:
            return await asyncio.shield(job.task)
        except asyncio.CancelledError:
            asker = asyncio.current_task()
            if job.task.cancelled() and not (asker is not None and asker.cancelling()):
                raise RunError(f"the asker of {self.identity!r} was closed before it had an answer") from None
            if job.waiting == 1:
                self._forget(wanted, job)  # a later ask sends a new request
                job.task.cancel()
                await asyncio.gather(job.task, return_exceptions=True)
            raise
        finally:
            job.waiting -= 1

    def _forget(self, wanted: _Wanted, job: _Job) -> None:
        if self._jobs.get(wanted) is job:
            del self._jobs[wanted]

    async def _request(self, key: str, request: Request) -> Attempt:
        async with self._slots:
            if self._meter is not None and (because := self._meter.reached()):
                raise Interrupted(f"stopped asking {self.identity} ({because}); run the same command again to go on")
            if self.before_asking is not None:
                await self.before_asking()
            try:
                return (await self._requests.ask(key, request)).attempt
            except OutOfAttempts:
                error = RequestFailed(
                    f"{self.identity} has no draw {request.index} of {request.task_id!r} on record", retryable=False
                )
            except RequestFailed as failed:
                error = failed
            self._requests.fail(key, request, error)
            raise error
