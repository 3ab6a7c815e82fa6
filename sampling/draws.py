"""The draws of one task: which are resolved, what the policy makes of them, which to ask for next, and making one.

`TaskDraws` is plain bookkeeping. In draw order, only the unbroken run of resolved draws from index 0 (the prefix) can
stop a task, one draw at a time, so that timing never decides what is kept.

`Drawing` makes a draw: it asks, writes the attempt to the ledger, scores, and writes the verdict. A request that
fails in passing is asked again; one that fails for good is recorded and costs no attempt. An answer that was cut off
is asked for again under the next limit, if there is one, and never under the same. A scorer that raises costs one
verdict, never the run. Half an answer says nothing about the whole, whatever the scorer makes of it: it is never
rejected. A run whose first answers all end in a way that nobody knows stops, before more is paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set

from stillroom.common.records import (
    Attempt,
    Messages,
    Outcome,
    SamplingParams,
    ScoredAttempt,
    State,
    StopReason,
    Task,
    Usage,
    Verdict,
)
from stillroom.common.text import describe
from stillroom.errors import RequestFailed, RunError, StillroomError
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger, Recorded
from stillroom.sampling.policy import Policy, Tally
from stillroom.sampling.requests import Answered, Requests
from stillroom.sampling.scorers.base import Scorer
from stillroom.sampling.teachers.base import OutOfAttempts, RetrySettings, Teacher
from stillroom.sampling.workers.pool import OVER_LIMIT

SAID = 200
"""Characters of an exception's message that a verdict keeps."""

Admits = Callable[[Task, ScoredAttempt], bool]
"""Whether an accepted attempt at a task may be kept."""


def counts_as(task: Task, scored: ScoredAttempt, admits: Admits | None) -> State:
    """What a draw counts as towards stopping its task: an accepted one that is not admitted was spent, and satisfies
    nothing."""
    state = scored.verdict.state
    if state is State.ACCEPTED and admits is not None and not admits(task, scored):
        return State.REJECTED
    return state


# A task whose draws failed for good this often is left: the fault is likely its own (a prompt too long, say).
MAX_FAILED_DRAWS = 3

# Answers that all end in an unknown way before the run stops; as many in a row are rare where some are known.
UNKNOWN_ENDS_TO_STOP = 10
_CUT = {"length": "truncated", "content_filter": "filtered", "unknown": "unknown_end"}


def not_rejected(attempt: Attempt, verdict: Verdict) -> Verdict:
    """The verdict; unscored instead of rejected for an answer that was cut off, or may have been."""
    if verdict.state is not State.REJECTED or attempt.finish_reason == "stop":
        return verdict
    detail = f"would be rejected ({verdict.reason}) were it whole"
    return Verdict(State.UNSCORED, _CUT[attempt.finish_reason], detail=detail, seconds=verdict.seconds)


class _Ends:
    """How the first answers ended."""

    def __init__(self, teacher: str) -> None:
        self._teacher, self._raw, self._known = teacher, list[str](), False

    def note(self, ended: str) -> None:
        """Takes what an answer's end was called, "" for one that is known. Raises RunError after too many others."""
        self._known = self._known or not ended
        if self._known:
            return
        self._raw.append(ended)
        if len(self._raw) == UNKNOWN_ENDS_TO_STOP:
            names = list(dict.fromkeys(self._raw))[:3]
            raise RunError(
                f"all of the first {UNKNOWN_ENDS_TO_STOP} answers of {self._teacher} ended in an unknown way "
                f"(finish reason {' or '.join(map(repr, names))}), so nobody can tell whether they are whole; they "
                f"are kept. Say what it means and run the same command again: teacher.finish_reasons: "
                f"{{{names[0]}: stop}}, or length, or content_filter"
            )


class TaskDraws:
    """A task that is being drawn for. `running` holds, by index, the draws that are being asked or scored; `usages`,
    what those cost so far that are being asked. `admits`: whether an accepted attempt may be kept; None: all may."""

    def __init__(
        self, task: Task, messages: Messages, key: str, scorer: str, policy: Policy, admits: Admits | None
    ) -> None:
        self.task, self.messages, self.key, self.scorer = task, messages, key, scorer
        self.on_record: dict[int, Recorded] = {}
        self.climbed: dict[int, int] = {}  # draws that were cut off: how many of the limits they have tried
        self.running: dict[int, asyncio.Task[None]] = {}
        self.usages: dict[int, Usage] = {}
        self.queued = False  # the core's mark: waits for a slot
        self.closed = False  # the core's mark: its outcome was handed over
        self.stop: StopReason | None = None
        self.tokens = 0  # of its answered draws
        self._policy, self._admits = policy, admits
        self._results: dict[int, ScoredAttempt | None] = {}  # None: the draw failed
        self._order: list[int] = []  # the draws that count, in the order they do
        self._prefix = 0
        self._counting = Tally()  # those that count towards stopping
        self.tally = Tally()  # all with a verdict, whether they count yet or not
        self._failed = 0
        self._cap: int | None = None

    def resolve(self, index: int, result: ScoredAttempt | None) -> None:
        """Takes a scored attempt, or None for a draw that failed, which costs no attempt."""
        self._results[index] = result
        if result is None:
            self._failed += 1
        else:
            self.tally = self.tally.plus(self._state(result))
            self.tokens += result.attempt.completion_tokens
        if self._policy.order == "arrival":
            self._count(index)
        while self._prefix in self._results and (self.stop is None or self._policy.order == "arrival"):
            if self._policy.order == "draw":
                self._count(self._prefix)
            self._prefix += 1
        self._stop_if_out()

    def end_at(self, index: int) -> None:
        """The teacher has no draw `index`, nor a later one."""
        self._cap = index if self._cap is None else min(index, self._cap)
        self._stop_if_out()

    def end(self, stop: StopReason) -> None:
        """Ends the task from outside (the run's total is spent). All that was answered counts: what is missing
        between had failed when the total was not spent yet."""
        for index in sorted(index for index in self._results if index >= self._prefix):
            if self._policy.order == "draw":
                self._count(index)
        self.stop = self.stop or stop

    def leave_out(self, failed: Set[int], *, satisfied: bool = False) -> None:
        """Leaves draws that failed in an earlier call as they are, if the task has stopped without them: its fate was
        sealed then, and asking again would pay for it twice. A task that goes on asks for them again. `satisfied`:
        only if it was satisfied without them."""
        tally, gaps = Tally(), list[int]()
        for index in range(max(self.on_record, default=-1) + 1):
            recorded = self.on_record.get(index)
            if recorded is None and index in failed:
                gaps.append(index)
            elif recorded is None or (scored := recorded.scored) is None:
                return
            elif (stop := self._policy.stop(tally := tally.plus(self._state(scored)))) is not None:
                for gap in gaps if stop is StopReason.SATISFIED or not satisfied else ():
                    self.resolve(gap, None)
                return

    def next_index(self, run_rate: float, *, idle: bool = False) -> int | None:
        """The draw to start next; None while no more are wanted. `idle`: slots would stand idle otherwise."""
        index = self._prefix
        while index in self._results or index in self.running:
            index += 1
        if self.stop is not None or (self._cap is not None and index >= self._cap):
            return None
        # A gap below a resolved draw (left by a killed run) blocks the prefix: wanted where the draws before it can
        # not stop the task, whatever comes of them.
        if self._results and index < max(self._results):
            return index if idle or index in self.on_record or self._needs(index) else None
        # What is on record is scored before anything is asked for on top of it: it may suffice.
        if index not in self.on_record and any(i in self.on_record for i in self.running):
            return None
        wanted = self._policy.expected(self.tally, run_rate) if idle else self._policy.needed(self.tally)
        return index if wanted > len(self.running) else None

    def begun(self, index: int) -> bool:
        """Whether the request for a draw has left for a server that bills what it begins."""
        return index in self.usages and self.usages[index].begun

    @property
    def spare(self) -> int:
        """Draws under way that may turn out not to be needed."""
        return max(0, len(self.running) - self._policy.needed(self.tally))

    def overdraw(self, run_rate: float) -> float:
        """How many of the draws under way are expected not to be needed."""
        return self._policy.overdraw(self.tally, len(self.running), run_rate) if self.spare else 0.0

    def _needs(self, index: int) -> bool:
        """Whether the draw `index` is needed in any case, since the task cannot stop before it."""
        if self._policy.order == "arrival":
            return self._policy.needed(self._counting) > len(self.running)
        tally = self._counting
        for between in range(self._prefix, index):
            if (result := self._results.get(between)) is not None:
                tally = tally.plus(self._state(result))
        return self._policy.needed(tally) > sum(running < index for running in self.running)

    def outcome(self) -> Outcome:
        """What became of the task: its draws up to the one that stopped it, since later ones depend on timing."""
        assert self.stop is not None, "outcome() of an open task"
        scored = tuple(r for i in self._order if (r := self._results[i]) is not None)
        accepted = [s.attempt.index for s in scored if self._state(s) is State.ACCEPTED]
        in_draw_order = tuple(sorted(scored, key=lambda s: s.attempt.index))
        return Outcome(self.task, in_draw_order, tuple(accepted[: self._policy.per_task]), self.stop, self._failed)

    def surplus(self) -> int:
        """Attempts that were answered beyond the draw that stopped the task."""
        counted = set(self._order)
        return sum(i not in counted and r is not None for i, r in self._results.items())

    def _state(self, scored: ScoredAttempt) -> State:
        return counts_as(self.task, scored, self._admits)

    def _count(self, index: int) -> None:
        """Lets a draw count towards stopping."""
        result = self._results[index]
        if self.stop is not None or result is None:
            return
        self._order.append(index)
        self._counting = self._counting.plus(self._state(result))
        self.stop = self._policy.stop(self._counting)

    def _stop_if_out(self) -> None:
        if self.stop is None and self._failed >= MAX_FAILED_DRAWS:
            self.stop = StopReason.GAVE_UP
        if self.stop is None and self._cap is not None and self._prefix >= self._cap:
            self.stop = StopReason.EXHAUSTED


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
        self._scorer, self._ledger, self._counts = scorer, ledger, counts
        self._ends = _Ends(teacher.identity)

    async def run(self, draws: TaskDraws, index: int, answered: Callable[[], None]) -> None:
        """Makes draw `index`: only its scoring where the attempt is on record.

        `answered` is called when the teacher is done with it, before the scoring.
        """
        recorded = draws.on_record.get(index)
        if recorded is not None:
            self._counts.reused += 1
            answered()
            if (scored := recorded.scored) is not None:
                self.resolve(draws, index, scored)
            else:
                await self._score(draws, Answered(recorded.row, recorded.attempt))
            return
        # Under the first limit, or the first that does not cut it off, or the last.
        drawn: Answered | None = None
        for limit in self.limits[draws.climbed.get(index, 0) :]:
            request = self._requests.request(draws.task.id, index, draws.messages, self._at[limit])
            usage = draws.usages[index] = Usage()
            try:
                found = await self._requests.ask(draws.key, request, usage, lambda: draws.stop is None)
            except OutOfAttempts:
                draws.end_at(index)
                return
            except RequestFailed as error:
                draws.resolve(index, None)
                self._requests.fail(draws.key, request, error)
                return
            finally:
                del draws.usages[index]
            self._ends.note(found.ended)
            self._counts.escalated += drawn is not None
            drawn = found
            if drawn.attempt.finish_reason != "length" or draws.stop is not None:
                break
        if drawn is not None:
            answered()
            if draws.closed:  # its task had stopped, and it was only answered since it had begun
                self._counts.surplus += 1
                return
            await self._score(draws, drawn)

    def resolve(self, draws: TaskDraws, index: int, result: ScoredAttempt) -> None:
        """Counts a verdict and hands it to the task."""
        self._counts.add(result.verdict)
        if result.verdict.state is State.ACCEPTED:
            self._counts.accepted_tokens += result.attempt.completion_tokens
        self._counts.truncated += result.attempt.finish_reason == "length"
        draws.resolve(index, result)

    async def _score(self, draws: TaskDraws, drawn: Answered) -> None:
        """Whatever the scorer raises over one attempt (out of memory, nested too deeply, a fault in a scorer of the
        user's) leaves that attempt unscored; what it raises on purpose is for the run."""
        try:
            verdict = not_rejected(drawn.attempt, await self._scorer.score(draws.task, drawn.attempt))
        except StillroomError:
            raise
        except Exception as error:  # noqa: BLE001 - anything can come of hostile text; cancellation is not an Exception
            verdict = Verdict(State.UNSCORED, OVER_LIMIT, detail=f"the scorer raised {describe(error, SAID)}")
        self._ledger.add_verdict(drawn.row, draws.scorer, verdict)
        self.resolve(draws, drawn.attempt.index, ScoredAttempt(drawn.attempt, verdict))
