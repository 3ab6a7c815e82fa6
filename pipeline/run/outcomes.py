"""How the tasks of a run ended, kept in its ledger and read back one task at a time, in the order of the tasks.

What is held in memory are sums. An outcome is put together again from the ledger whenever it is read: its attempts
and
verdicts are on disk anyway, and the order in which tasks finished plays no part. Reading refuses a ledger that does
not hold what this run wrote to it.

    outcomes = Outcomes(ledger, tasks.train, Asked.of(recipe, teacher_identity, base))
    await sampler.answer_into(tasks.train, recipe.keep, outcomes.add, label="sampling")
    for outcome in outcomes: ...        # as often as wanted
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from stillroom.common.records import Outcome, Prompt, SamplingParams, ScoredAttempt, StopReason, Task
from stillroom.errors import LedgerError
from stillroom.pipeline.config.recipe import Recipe
from stillroom.sampling.ledger import Ledger, StoredOutcome, request_key, scorer_key


class Asked(NamedTuple):
    """How the tasks were asked and scored: what the ledger's keys are made of. `limits`: every `max_tokens` that was
    asked under, the last one last."""

    teacher: str
    scorer: str
    prompt: Prompt
    sampling: SamplingParams
    limits: tuple[int, ...]
    seed: int

    @classmethod
    def of(cls, recipe: Recipe, teacher: str, base: Path) -> Self:
        """As the recipe asks its training tasks. `teacher`: the teacher's identity; `base`: its paths start there."""
        settings = recipe.teacher
        limits = recipe.keep.escalate or (settings.sampling.max_tokens,)
        scorer, prompt = recipe.scorer.identity(base), settings.teacher_prompt
        return cls(teacher, scorer, prompt, settings.sampling, limits, recipe.seed)


class Outcomes:
    """The outcomes of `tasks`. Making one forgets those of an earlier run, unless they are `reopened`; `add` takes
    them in any order.

    `attempts`, `kept`, `failed`: their sums over all tasks so far. Iterating raises LedgerError where an outcome, or
    an attempt that it names, is not in the ledger.
    """

    def __init__(self, ledger: Ledger, tasks: Sequence[Task], asked: Asked, *, reopened: bool = False) -> None:
        self.attempts = self.kept = self.failed = 0
        self._stops: Counter[StopReason] = Counter()
        self._ledger, self._tasks, self._asked = ledger, tasks, asked
        if not reopened:
            return ledger.clear_outcomes()
        for stored in ledger.outcomes():
            self._count(len(stored.draws), len(stored.kept), stored.failed, stored.stop)

    def add(self, position: int, outcome: Outcome) -> None:
        """Writes the outcome of the task at that position."""
        self._ledger.add_outcome(position, outcome)
        self._count(len(outcome.attempts), len(outcome.kept), outcome.failed, outcome.stop)

    def _count(self, attempts: int, kept: int, failed: int, stop: StopReason) -> None:
        self.attempts += attempts
        self.kept += kept
        self.failed += failed
        self._stops[stop] += 1

    @property
    def stops(self) -> dict[str, int]:
        """How many tasks stopped for which reason."""
        return {reason.value: self._stops[reason] for reason in StopReason}

    def __len__(self) -> int:
        return self._stops.total()

    def __iter__(self) -> Iterator[Outcome]:
        stored = self._ledger.outcomes()
        for position, task in enumerate(self._tasks):
            found = next(stored, None)
            if found is None or (found.position, found.task_id) != (position, task.id):
                raise self._lost(task)
            yield self._read(task, found)

    def _read(self, task: Task, stored: StoredOutcome) -> Outcome:
        asked = self._asked
        key = request_key(asked.prompt.messages(task), asked.sampling, asked.teacher, asked.seed)
        scorer, found = scorer_key(asked.scorer, task), dict[int, ScoredAttempt]()
        for limit in asked.limits:  # a later limit goes before an earlier one, as it does in the core
            for index, recorded in self._ledger.find(key, limit, task.id, scorer).items():
                if (scored := recorded.scored) is not None:
                    found[index] = scored
        if not found.keys() >= set(stored.draws):
            raise self._lost(task)
        return Outcome(task, tuple(found[i] for i in stored.draws), stored.kept, stored.stop, stored.failed)

    def _lost(self, task: Task) -> LedgerError:
        return LedgerError(
            f"{self._ledger.path} does not hold how task {task.id!r} ended, which this run wrote to it: did another "
            "program change it? Run the same command again: only what is missing is asked for"
        )
