"""The rejection-sampling core: one async loop that draws, scores and stops, for both paths.

No batch barrier: a finished attempt goes to its scorer at once, its slot to the next draw, and a task that is
satisfied frees its slots at once. Tasks are opened one after the other and older ones are served first, each with the
draws that it needs in any case; only when no task is left to open do idle slots go to draws that are merely
expected to be needed. Whatever a teacher answers is in the ledger before anything depends on it. A task keeps its
first k accepted *in draw order*.

It retries requests that failed in passing, records those that failed for good and goes on without them; it stops the
run only when a long row of requests failed (TeacherDown) or when a teacher says that asking anybody is pointless.

    core = Core(teacher, scorer, Until(per_task=4, max_attempts=16), ledger, sampling=SamplingParams(), seed=0)
    await core.run(tasks, outcomes.append)
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from stillroom.common.records import Outcome, Prompt, SamplingParams, StopReason, Task
from stillroom.errors import Interrupted, LedgerError, RunError
from stillroom.sampling.again import Again
from stillroom.sampling.counts import Counts
from stillroom.sampling.draws import Admits, Drawing, TaskDraws
from stillroom.sampling.ledger import Ledger, Spent, request_key, scorer_key
from stillroom.sampling.limits import Meter, Outlay, Prices
from stillroom.sampling.policy import Budget, Policy
from stillroom.sampling.scorers.base import Scorer, has_failed, worth_another_try
from stillroom.sampling.spending import Spending
from stillroom.sampling.teachers.base import RetrySettings, SendsBatches, Teacher

# Answered attempts that wait for their scorer, per slot, before drawing pauses.
UNSCORED_PER_SLOT = 4


class Core:
    """Draws for tasks until each stops. `counts` may be watched while it runs; one `run` per Core.

    The limits of `meter`, which others may share, stop it cleanly; with `prices` in money too. `ahead`: how many
    requests that may turn out not to be needed may be under way at once, in idle slots; True: any number, False or 0:
    none, and a request that has begun is answered and kept, even if its task is given up meanwhile. `admits`: whether
    an accepted attempt may be kept; one that may not satisfies nobody, and its task is drawn for as if it had been
    rejected. `again`: verdicts of a scorer that failed are asked for again, and draws that were never answered where
    a task is not satisfied.
    """

    def __init__(
        self,
        teacher: Teacher,
        scorer: Scorer,
        policy: Policy,
        ledger: Ledger,
        *,
        sampling: SamplingParams,
        seed: int,
        prompt: Prompt | None = None,
        retry: RetrySettings | None = None,
        meter: Meter | None = None,
        prices: Prices | None = None,
        ahead: bool | int = True,
        admits: Admits | None = None,
        again: Again | None = None,
    ) -> None:
        self.counts = Counts()
        self._ahead = math.inf if ahead is True else int(ahead)
        self._admits, self._again = admits, again
        self._teacher, self._scorer, self._policy, self._ledger = teacher, scorer, policy, ledger
        self._sampling, self._seed, self._prompt = sampling, seed, prompt or Prompt()
        self._drawing = Drawing(
            teacher, scorer, ledger, sampling, seed, retry or RetrySettings(), self.counts, policy.escalate
        )
        self._meter, self._prices = meter or Meter(), prices
        self._meter.watch(self.counts, prices)
        self._teacher_identity, self._scorer_identity = teacher.identity, scorer.identity
        self._before, self._cancelled_before = Spent(), 0  # what the opened tasks had cost in earlier calls
        self._open: dict[int, TaskDraws] = {}  # those that have not stopped, in the order they were opened
        self._more_tasks = True
        self._spending = Spending(policy) if isinstance(policy, Budget) else None
        self._hungry: deque[TaskDraws] = deque()  # those that may want another draw
        self._changed: deque[TaskDraws] = deque()  # those with news since the loop last looked
        self._jobs: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()  # the jobs that hold a slot of the teacher
        self._fatal: BaseException | None = None
        self._stopping, self._because = False, ""
        # A teacher that sends requests together: nothing is sent that would pass a limit, or is cancelled once sent.
        self._batches = teacher if isinstance(teacher, SendsBatches) else None
        self._outlay = Outlay(prices)
        self._wake = asyncio.Event()

    async def run(self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], object]) -> None:
        """Draws until every task has stopped; hands each outcome over as it comes.

        Raises Interrupted after `stop_drawing`, TeacherDown, LedgerError, or what the teacher raised as pointless. In
        every case what was answered is in the ledger and no request is left running.
        """
        source = iter(tasks)
        # Of earlier calls, by request: the draws that failed, and the tokens of those that were cancelled.
        self._failed = self._ledger.failed_draws()
        self._cancelled = self._ledger.cancelled_tokens() if isinstance(self._policy, Budget) else {}
        try:
            while True:
                self._wake.clear()
                self._settle_changed(on_outcome)
                opened = self._start_draws(source)
                if (fatal := self._fatal) is not None:
                    # A teacher that dies while we are stopping anyway is told of, not raised.
                    if self._stopping and isinstance(fatal, RunError) and not isinstance(fatal, LedgerError):
                        raise self._interrupted(f" (the requests in flight were lost: {fatal})")
                    raise fatal
                if opened or self._changed:
                    await asyncio.sleep(0)
                elif not self._jobs:
                    break
                else:
                    await self._send_gathered()
                    await self._wake.wait()
        finally:
            jobs = list(self._jobs)
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        if self._stopping:
            raise self._interrupted(self._because)

    def failures(self, tasks: Iterable[Task]) -> int:
        """Failures on record that would be asked or scored again: draws that were never answered, and verdicts that
        say that the scorer failed. Asks nobody."""
        failed, found = self._ledger.failed_draws(), 0
        for task in tasks:
            draws, reset = self._recall(task)
            for index, recorded in sorted(draws.on_record.items()):
                if recorded.scored is not None:
                    draws.resolve(index, recorded.scored)
            draws.leave_out(gaps := failed.get(draws.key, set()), satisfied=True)
            found += reset + (len(gaps - draws.on_record.keys()) if draws.stop is None else 0)
        return found

    def stop_drawing(self) -> None:
        """Starts no more draws; those in flight are answered, scored and kept, then `run` raises Interrupted. What a
        batch has is not waited for: the same command finds it again."""
        self._stopping = True
        if self._batches is not None:
            self._because = self._because or f" ({self.in_flight:,} requests are in batches, or were not sent)"
            for job in list(self._asking):
                job.cancel()
        self._wake.set()

    @property
    def leaves(self) -> bool:
        """Whether stopping leaves requests where they are found again, and waits for none."""
        return self._batches is not None

    @property
    def in_flight(self) -> int:
        """Requests that the teacher has not answered yet."""
        return len(self._asking)

    async def _send_gathered(self) -> None:
        """Has a teacher that gathers requests send them, where all that is under way waits for it alone."""
        if self._batches is None:
            return
        await asyncio.sleep(0)  # those that were just started reach the teacher
        if self._wake.is_set() or len(self._asking) < len(self._jobs):
            return
        unsent = [
            job
            for draws in self._open.values()
            for index, job in draws.running.items()
            if self._stopping and job in self._asking and not draws.begun(index)
        ]
        for job in unsent:
            job.cancel()
        if unsent:
            return
        rate = self.counts.run_rate
        self._batches.send_gathered(sum(draws.overdraw(rate) for draws in self._open.values()))

    # -- starting ------------------------------------------------------------------------------------------

    def _start_draws(self, source: Iterator[Task]) -> bool:
        """Fills the free slots; says whether it opened a task (there may be more, but others want a turn)."""
        self._check_limits()
        slots = self._teacher.concurrency
        while not self._stopping and len(self._asking) < slots:
            if len(self._jobs) - len(self._asking) >= slots * UNSCORED_PER_SLOT or self._is_committed():
                break
            if self._start_hungry():
                continue
            if self._more_tasks:
                task = next(source, None)
                if task is not None:
                    self._open_task(task)
                    return True
                self._more_tasks = False
                self._check_limits()  # only now is it known what all tasks of a budget have cost before
            elif not (self._ahead and self._start_ahead()):
                break
        return False

    def _start_hungry(self) -> bool:
        """Starts a draw that a task needs in any case: of the oldest, or where a budget is best spent."""
        if self._spending is not None and isinstance(self._policy, Budget):
            return self._start_cheapest(self._policy, self._spending)
        while self._hungry:
            draws = self._hungry[0]
            index = draws.next_index(self.counts.run_rate)
            if index is not None:
                self._start(draws, index)
                return True
            self._hungry.popleft().queued = False
        return False

    def _start_cheapest(self, policy: Budget, spending: Spending) -> bool:
        if self._more_tasks:
            return False  # first all tasks are opened: what is on record of them counts
        rate, all_spent, counts = self.counts.run_rate, self._spent(policy), self.counts
        # Completion tokens of an attempt so far, those of earlier calls included; 1 before there is any.
        answered = self._before.attempts + max(0, counts.scored - counts.reused)
        mean = (self._before.completion_tokens + counts.completion_tokens) / max(1, answered) or 1.0
        found = spending.take(rate, mean, free_only=all_spent)
        if found is None:
            return False
        self._start(found.draws, found.draw)
        spending.add(found.draws)  # one that has a gap may want another
        return True

    def _start_ahead(self) -> bool:
        """Starts a draw that is only expected to be needed, since its slot would stand idle: of the task that has the
        fewest in flight for what it is expected to need. A budget expects nothing."""
        if isinstance(self._policy, Budget):
            return False
        if self._ahead < math.inf and sum(draws.spare for draws in self._open.values()) >= self._ahead:
            return False
        rate = self.counts.run_rate
        waiting = ((draws, draws.next_index(rate, idle=True)) for draws in self._open.values())
        able = [(len(draws.running), draws, index) for draws, index in waiting if index is not None]
        if not able:
            return False
        _, draws, index = min(able, key=lambda entry: entry[0])
        self._start(draws, index)
        return True

    def _check_limits(self) -> None:
        """Stops drawing when a limit of the run, or the budget of the policy, is reached."""
        if self._stopping:
            return
        reached = self._meter.reached()
        if reached:
            self._stopping, self._because = True, f" ({reached})"
        elif isinstance(self._policy, Budget) and not self._more_tasks and self._spent(self._policy):
            for draws in list(self._open.values()):
                # What is on record without a verdict is scored first: it was paid for.
                if not draws.running and draws.next_index(self.counts.run_rate) not in draws.on_record:
                    draws.end(StopReason.EXHAUSTED)
                    self._changed.append(draws)

    def _is_committed(self) -> bool:
        """Whether what was asked for in batches would use up a limit: answers of a batch come at once, and all are
        paid for. Where nothing is under way and one more request would, drawing stops."""
        if self._batches is None or not (because := self._meter.reached(self._outlay)):
            return False
        if not self._outlay:
            self._stopping, self._because = True, f" ({because})"
        return True

    def _spent(self, policy: Budget) -> bool:
        """Whether the total is spent, by this call and those before it, and by what is under way in batches."""
        before, now = self._before, self.counts
        tokens = before.completion_tokens + self._cancelled_before + now.completion_tokens + now.cancelled_tokens
        tokens += round(self._outlay.completion_tokens)
        if policy.tokens is not None and tokens >= policy.tokens:
            return True
        prompt = before.prompt_tokens + now.prompt_tokens + round(self._outlay.prompt_tokens)
        usd = self._prices.of(prompt, tokens) if self._prices else 0.0
        return policy.usd is not None and usd >= policy.usd

    def _recall(self, task: Task) -> tuple[TaskDraws, int]:
        """The task's draws with what is on record of them, not resolved yet; and how many verdicts were left out,
        since their scorer failed."""
        messages = self._prompt.messages(task)
        key = request_key(messages, self._sampling, self._teacher_identity, self._seed)
        scorer = scorer_key(self._scorer_identity, task)
        draws = TaskDraws(task, messages, key, scorer, self._policy, self._admits)
        # Of what was cut off under earlier limits, how many it has tried; and what is on record under the last one.
        *lower, last = self._drawing.limits
        for step, limit in enumerate(lower, 1):
            cut = self._ledger.find(key, limit, task.id, scorer)
            draws.climbed |= {i: step for i, found in cut.items() if found.attempt.finish_reason == "length"}
        draws.on_record = self._ledger.find(key, last, task.id, scorer)
        reset = 0
        for index, recorded in draws.on_record.items():
            if (verdict := recorded.verdict) is None:
                continue
            failed = self._again is not None and has_failed(self._scorer, verdict)
            # A verdict that says nothing of the attempt and is worth another try: it is scored again.
            if failed or worth_another_try(self._scorer, verdict, recorded.tries):
                draws.on_record[index] = recorded._replace(verdict=None)
                reset += failed
        return draws, reset

    def _open_task(self, task: Task) -> None:
        draws, _ = self._recall(task)
        key = draws.key
        self._open[id(draws)] = draws
        self.counts.open += 1
        by_arrival = self._policy.order == "arrival"
        # As their verdicts came, where the order of arrival decides what is kept; else in draw order.
        for index, recorded in sorted(draws.on_record.items(), key=lambda i: (i[1].seq if by_arrival else 0, i[0])):
            # Those beyond what may be spent were drawn after failures; they are taken when their index comes up. A
            # budget that is spent ends a task before that.
            now = by_arrival or index < self._policy.draws or isinstance(self._policy, Budget)
            if (scored := recorded.scored) is not None and now:
                self.counts.reused += 1
                self._drawing.resolve(draws, index, scored)
        if draws.stop is None and (failed := self._failed.get(key)):
            draws.leave_out(failed, satisfied=self._again is not None)
        if isinstance(self._policy, Budget):
            self._before = self._before.plus(self._ledger.spent(key))
            self._cancelled_before += self._cancelled.get(key, 0)
        self._changed.append(draws)

    def _start(self, draws: TaskDraws, index: int) -> None:
        job = asyncio.create_task(self._guarded(draws, index))
        draws.running[index] = job
        self._jobs.add(job)
        self._asking.add(job)
        if self._batches is not None and index not in draws.on_record:
            characters = sum(len(message.content) for message in draws.messages)
            self._outlay.add(job, Outlay.expected(characters, self._drawing.limits[0], self.counts))
        job.add_done_callback(partial(self._ended, draws, index))

    async def _guarded(self, draws: TaskDraws, index: int) -> None:
        """Runs one draw; what it raises ends the run, so nothing it raises is lost."""
        try:
            await self._drawing.run(draws, index, partial(self._answered, draws.running[index]))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - kept for `run`, which raises it
            self._fatal = self._fatal or error

    def _answered(self, job: asyncio.Task[None]) -> None:
        self._asking.discard(job)
        self._outlay.settle(job)
        self._wake.set()

    def _ended(self, draws: TaskDraws, index: int, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._answered(job)
        self._changed.append(draws)
        del draws.running[index]

    def _interrupted(self, because: str) -> Interrupted:
        return Interrupted(
            f"stopped after {self.counts.finished:,} tasks{because}; run the same command again to go on"
        )

    # -- stopping ------------------------------------------------------------------------------------------

    def _settle_changed(self, on_outcome: Callable[[Outcome], object]) -> None:
        """Closes tasks that have stopped; the others may want more draws."""
        while self._changed:
            draws = self._changed.popleft()
            if draws.stop is None and self._spending is not None:
                self._spending.add(draws)
            elif draws.stop is None and not draws.queued:
                draws.queued = True
                self._hungry.append(draws)
            elif draws.stop is not None and not draws.closed:
                draws.closed = True
                for index, job in draws.running.items():
                    if (self._ahead and self._batches is None) or not draws.begun(index):
                        job.cancel()
                del self._open[id(draws)]
                if self._spending is not None:
                    self._spending.drop(draws)
                outcome = draws.outcome()
                self.counts.close(outcome, draws.surplus())
                on_outcome(outcome)
