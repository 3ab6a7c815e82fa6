"""From outcomes to SFT rows: filters, rejects, rows.

Everything here is a pure function of the outcomes and the recipe, so the same recorded teacher gives the same files.
One task is looked at after the other: what is held is what the filters must remember of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillroom.common.files import replaced
from stillroom.common.hashing import digest
from stillroom.common.records import Outcome, ScoredAttempt, State
from stillroom.common.secrets import named_in
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.folder import RunFolder, versions
from stillroom.pipeline.run.outcomes import Outcomes
from stillroom.sampling.draws import Admits
from stillroom.traces.filters import FilterCount, RejectFiles, Screen, admits_of
from stillroom.traces.rows import CardFacts, SftRow, read_sft, sft_file, sft_row, write_card
from stillroom.traces.tasks import TaskSet
from stillroom.traces.trace import Trace, traces_in


@dataclass(frozen=True, slots=True)
class Distilled:
    """`written`: rows for the student; `kept`: traces before filters. The rows are on disk, read when asked for."""

    written: int
    kept: int
    counts: Sequence[FilterCount]
    folder: Path
    outcomes: Iterable[Outcome]
    system: str | None
    earlier: tuple[Path, ...] = ()

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
            yield from read_sft(folder)


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
    _write_left_out(tasks, folder)
    write_card(sft, _card(recipe, tasks, outcomes, teacher, screen.counts), rows.count)
    return Distilled(rows.count, kept, screen.counts, sft, outcomes, system, tuple(earlier))


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


def _card(
    recipe: Recipe, tasks: TaskSet, outcomes: Outcomes, teacher: str, counts: Sequence[FilterCount]
) -> CardFacts:
    return CardFacts(
        recipe=recipe.name,
        teacher=teacher,
        licence=recipe.teacher.licence,
        scorer=recipe.scorer.kind,
        tasks=f"{recipe.tasks.source}, {len(tasks.train):,} tasks",
        seed=recipe.seed,
        attempts=outcomes.attempts,
        accepted=outcomes.kept,
        filters=counts,
        versions={name: version for name, version in versions().items() if name in _DECIDES_ROWS},
    )


# Only what can change a row: a newer torch does not change what a recording says.
_DECIDES_ROWS = {"stillroom", "sympy", "mpmath", "reasoning-gym"}


def _write_left_out(tasks: TaskSet, folder: RunFolder) -> None:
    path = folder.path / "rejects" / "tasks.jsonl"
    if not tasks.left_out:
        path.unlink(missing_ok=True)
        return
    with replaced(path) as file:
        for left in tasks.left_out:
            line = {"source": left.source, "reason": left.reason.value, "detail": left.detail}
            file.write((json.dumps(named_in(line)) + "\n").encode())
