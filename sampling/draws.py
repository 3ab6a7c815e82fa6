"""The draws of one task: which are resolved, what the policy makes of them, which to ask for next.

Plain bookkeeping without any waiting; the core does the waiting. Only the unbroken run of resolved draws from index 0
(the prefix) can stop a task, one draw at a time, so that timing never decides what is kept.
"""

from __future__ import annotations

import asyncio

from stillroom.sampling.ledger import Recorded
from stillroom.sampling.policy import Until
from stillroom.sampling.records import Messages, Outcome, ScoredAttempt, State, StopReason, Task

# A task whose draws failed for good this often is left: the fault is likely its own (a prompt too long, say).
MAX_FAILED_DRAWS = 3


class TaskDraws:
    """A task that is being drawn for. `running` holds, by index, the draws that are being asked or scored."""

    def __init__(self, task: Task, messages: Messages, key: str, scorer: str, policy: Until) -> None:
        self.task, self.messages, self.key, self.scorer = task, messages, key, scorer
        self.on_record: dict[int, Recorded] = {}
        self.running: dict[int, asyncio.Task[None]] = {}
        self.queued = False  # the core's mark: waits for a slot
        self.closed = False  # the core's mark: its outcome was handed over
        self.stop: StopReason | None = None
        self._policy = policy
        self._results: dict[int, ScoredAttempt | None] = {}  # None: the draw failed
        self._prefix = 0
        self._states: list[State] = []
        self._accepted = 0
        self._failed = 0
        self._cap: int | None = None

    def resolve(self, index: int, result: ScoredAttempt | None) -> None:
        """Takes a scored attempt, or None for a draw that failed, which costs no attempt."""
        self._results[index] = result
        if result is None:
            self._failed += 1
        elif result.verdict.state is State.ACCEPTED:
            self._accepted += 1
        self._advance()

    def end_at(self, index: int) -> None:
        """The teacher has no draw `index`, nor a later one."""
        self._cap = index if self._cap is None else min(index, self._cap)
        self._advance()

    def next_index(self, run_rate: float) -> int | None:
        """The draw to start next, given the run's pass rate; None while no more are wanted."""
        index = self._first_missing()
        if self.stop is not None or (self._cap is not None and index >= self._cap):
            return None
        # A gap below a resolved draw (left by a killed run) blocks the prefix: always wanted.
        if self._results and index < max(self._results):
            return index
        # What is on record is scored before anything is asked for on top of it: it may suffice.
        if index not in self.on_record and any(i in self.on_record for i in self.running):
            return None
        resolved = len(self._results) - self._failed
        wanted = self._policy.wanted(self._accepted, resolved, run_rate)
        return index if wanted > len(self.running) else None

    def outcome(self) -> Outcome:
        """What became of the task: its draws up to the one that stopped it, since later ones depend on timing."""
        assert self.stop is not None, "outcome() of an open task"
        scored = tuple(r for i in range(self._prefix) if (r := self._results[i]) is not None)
        accepted = [s.attempt.index for s in scored if s.verdict.state is State.ACCEPTED]
        return Outcome(self.task, scored, tuple(accepted[: self._policy.per_task]), self.stop, self._failed)

    def surplus(self) -> int:
        """Attempts that were answered beyond the draw that stopped the task."""
        return sum(i >= self._prefix and r is not None for i, r in self._results.items())

    def _first_missing(self) -> int:
        index = self._prefix
        while index in self._results or index in self.running:
            index += 1
        return index

    def _advance(self) -> None:
        while self.stop is None and self._prefix in self._results:
            result = self._results[self._prefix]
            self._prefix += 1
            if result is not None:
                self._states.append(result.verdict.state)
                self.stop = self._policy.stop(self._states)
        if self.stop is None and self._failed >= MAX_FAILED_DRAWS:
            self.stop = StopReason.GAVE_UP
        if self.stop is None and self._cap is not None and self._prefix >= self._cap:
            self.stop = StopReason.EXHAUSTED
