"""How the tasks of a run ended, and the SFT rows that come of it: outcomes, filters, rejects, rows.

    outcomes = Outcomes(ledger, tasks.train, Asked.of(recipe, teacher_identity, base))
    await sampler.answer(tasks.train, recipe.keep, label="sampling", take=outcomes.add)
    for outcome in outcomes: ...                                # as often as wanted
    distil(recipe, tasks, outcomes, folder, teacher_identity)   # writes `sft/` and `rejects/`

Outcomes are kept in the ledger and read back one task at a time, in the order of the tasks: what is held in memory
are sums, and the order in which tasks finished plays no part. Reading refuses a ledger that does not hold what this
run wrote to it. Rows are a pure function of the outcomes and the recipe, so the same recorded teacher gives the same
files. One task is looked at after the other: what is held is what the filters must remember of it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from stillroom.common.files import at_home, remove, replaced
from stillroom.common.hashing import digest
from stillroom.common.labelled_rows import FOLDER as LABELLED
from stillroom.common.labelled_rows import read_answers
from stillroom.common.records import Outcome, Prompt, SamplingParams, ScoredAttempt, State, StopReason, Task
from stillroom.common.secrets import named_in
from stillroom.errors import LedgerError
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.folder import RunContext, RunFolder, versions
from stillroom.pipeline.stages.labels import LABEL_FILES, LabelReport, label_report
from stillroom.sampling.draws import Admits
from stillroom.sampling.ledger import Ledger, StoredOutcome, request_key, scorer_key
from stillroom.sampling.teachers.base import identity_of
from stillroom.students.data.rows import Row
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.earlier import earlier_rows
from stillroom.traces.filters import FilterCount, RejectFiles, Screen, admits_of
from stillroom.traces.rows import CardFacts, SftRow, read_sft, sft_file, sft_row, write_card
from stillroom.traces.scorers.label import LabelScorerSettings
from stillroom.traces.tasks import TaskSet
from stillroom.traces.trace import Trace, traces_in

# Only what can change a row: a newer torch does not change what a recording says.
_DECIDES_ROWS = {"stillroom", "sympy", "mpmath", "reasoning-gym"}


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


# -- rows -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Distilled:
    """`written`: rows for the student; `kept`: traces before filters. The rows are on disk, read when asked for.
    `labels`: None where the scorer reads no labels. `labelled`: the folder of answers with labels, None where no
    student learns from such."""

    written: int
    kept: int
    counts: Sequence[FilterCount]
    folder: Path
    outcomes: Iterable[Outcome]
    system: str | None
    earlier: tuple[Path, ...] = ()
    labels: LabelReport | None = None
    labelled: Path | None = None

    def rows_for(self, student: StudentSettings) -> Sequence[Row]:
        """What that student learns from."""
        if student.learns_from == "labelled rows" and self.labelled is not None:
            return read_answers(self.labelled)
        return self.training

    @property
    def rows(self) -> list[SftRow]:
        """This run's rows."""
        return read_sft(self.folder)

    @property
    def training(self) -> list[SftRow]:
        """What the student learns from: the rows of earlier runs, then this run's."""
        return self.after_earlier(self.rows)

    def after_earlier(self, rows: Sequence[SftRow]) -> list[SftRow]:
        """The rows of earlier runs, then these. One that says the same as another before it is left out; without
        earlier runs they are given as they are."""
        if not self.earlier:
            return list(rows)
        found = {digest([row["prompt"], row["completion"]]): row for row in (*self._earlier(), *rows)}
        return list(found.values())

    @property
    def said_before(self) -> int:
        """Rows, of earlier runs and this one, that say the same as another and are learned from once."""
        return sum(1 for _ in self._earlier()) + self.written - len(self.training) if self.earlier else 0

    def _earlier(self) -> Iterator[SftRow]:
        for folder in self.earlier:
            yield from earlier_rows(folder)


def distil(
    recipe: Recipe,
    tasks: TaskSet,
    outcomes: Outcomes,
    folder: RunFolder,
    teacher: str,
    earlier: Sequence[Path] = (),
    base: Path = Path(),
) -> Distilled:
    """Filters, and writes `sft/` and `rejects/`, one task at a time. `earlier`: folders of rows that the student
    learns from, too. `base`: relative paths of filters start there. Raises NothingLeft when no trace is left."""
    system, sft = recipe.student.system if recipe.student else None, folder.path / "sft"
    screen, kept = Screen(recipe.filters, test=tasks.held_out, base=base), 0
    admits = admits_of(recipe.filters, base)
    with RejectFiles(folder.path / "rejects") as rejects, sft_file(sft) as rows:
        for outcome in outcomes:
            screen.begin(outcome)
            left = sys.maxsize if recipe.keep.per_task is None else max(recipe.keep.per_task, len(outcome.kept))
            for trace in _candidates(outcome, admits):
                if not left:
                    break
                kept += 1
                reject = screen.look(trace)
                if reject is None:
                    rows.add(sft_row(trace, system=system))
                    left -= 1
                else:
                    rejects.add(reject)

    left_out = folder.path / "rejects" / "tasks.jsonl"
    if tasks.left_out:
        with replaced(left_out) as file:
            for task in tasks.left_out:
                line = {"source": task.source, "reason": task.reason.value, "detail": task.detail}
                file.write((json.dumps(named_in(line)) + "\n").encode())
    else:
        left_out.unlink(missing_ok=True)

    labels = _labels(recipe, outcomes, rows.count, sft, folder)
    card = CardFacts(
        recipe=recipe.name,
        teacher=teacher,
        licence=recipe.teacher.licence,
        scorer=recipe.scorer.kind,
        tasks=f"{recipe.tasks.source}, {len(tasks.train):,} tasks",
        seed=recipe.seed,
        attempts=outcomes.attempts,
        accepted=outcomes.kept,
        filters=screen.counts,
        versions={name: version for name, version in versions().items() if name in _DECIDES_ROWS},
        more=() if labels is None else labels.tables(),
    )
    write_card(sft, card, rows.count)
    return Distilled(rows.count, kept, screen.counts, sft, outcomes, system, tuple(earlier), labels)


def _labels(recipe: Recipe, outcomes: Outcomes, rows: int, sft: Path, folder: RunFolder) -> LabelReport | None:
    """The report of a run of labels; of another run, and of one without rows, nothing, also of an earlier time."""
    if rows and isinstance(recipe.scorer, LabelScorerSettings):
        return label_report(outcomes, read_sft(sft), recipe.scorer, folder)
    for name in LABEL_FILES:
        remove(folder.path / name)
    return None


def _candidates(outcome: Outcome, admits: Admits) -> list[Trace]:
    """The accepted traces of a task in the order in which they may become rows: those that the policy kept, and with
    them those that a filter kept from counting, each in draw order; then the others, which take the place of what a
    filter over the whole data set (a duplicate, say) drops."""
    accepted = [trace for trace in traces_in(outcome) if trace.verdict.state is State.ACCEPTED]
    spare = [
        trace
        for trace in accepted
        if trace.attempt.index not in outcome.kept and admits(trace.task, ScoredAttempt(trace.attempt, trace.verdict))
    ]
    return [trace for trace in accepted if trace not in spare] + spare


def distilled_before(context: RunContext, recipe: Recipe, tasks: TaskSet) -> Distilled:
    """The rows that the run wrote, and its outcomes as they are in the ledger."""
    asked, sft = (
        Asked.of(recipe, identity_of(recipe.teacher, context.base), context.base),
        context.folder.path / "sft",
    )
    outcomes = Outcomes(context.ledger, tasks.train, asked, reopened=True)
    system = recipe.student.system if recipe.student is not None else None
    earlier = tuple(context.base / at_home(each) for each in recipe.earlier)
    labelled = context.folder.path / LABELLED if recipe.learners_of_labels else None
    return Distilled(len(read_sft(sft)), outcomes.kept, (), sft, outcomes, system, earlier, labelled=labelled)
