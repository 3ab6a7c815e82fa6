"""From outcomes to SFT rows: filters, rejects, rows, and the rows of the unfiltered control.

Everything here is a pure function of the outcomes and the recipe, so the same recorded teacher gives the same files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from stillroom.recipes.folder import RunFolder, versions
from stillroom.recipes.schema import Recipe
from stillroom.sampling.hashing import digest
from stillroom.sampling.records import Outcome, StopReason
from stillroom.traces.card import CardFacts
from stillroom.traces.filters import FilterCount, apply_filters, write_rejects
from stillroom.traces.rows import SftRow, sft_row, write_sft
from stillroom.traces.tasks import TaskSet
from stillroom.traces.traces import Trace, traces_of
from stillroom.traces.writing import replaced


class Distilled(NamedTuple):
    """`rows` for the student; `control`: as many rows from attempts that nobody checked; `kept`: before filters."""

    rows: list[SftRow]
    control: list[SftRow]
    kept: int
    counts: Sequence[FilterCount]


def distil(recipe: Recipe, tasks: TaskSet, outcomes: Sequence[Outcome], folder: RunFolder, teacher: str) -> Distilled:
    """Filters, writes `sft/`, `rejects/` and the control's rows. Raises RunError when no trace is left."""
    order, system = tasks.train, recipe.student.system if recipe.student else None
    kept = traces_of(outcomes, order=order)
    filtered = apply_filters(kept, recipe.filters, test=tasks.test)
    write_rejects(filtered.rejects, folder.path / "rejects")
    _write_left_out(tasks, folder)
    rows = [sft_row(trace, system=system) for trace in filtered.kept]
    card = _card(recipe, tasks, outcomes, teacher, filtered.counts)
    write_sft(rows, folder.path / "sft", card)
    control = [sft_row(trace, system=system) for trace in unfiltered(outcomes, tasks, len(rows))]
    return Distilled(rows, control, len(kept), filtered.counts)


def unfiltered(outcomes: Sequence[Outcome], tasks: TaskSet, count: int) -> list[Trace]:
    """The first `count` attempts as a run without a check would have them: every task's first draw, in an order that
    is drawn by hash, then every task's second, and so on."""
    everything = traces_of(outcomes, order=tasks.train, which="all")
    order = sorted(everything, key=lambda t: (t.attempt.index, digest(["control", t.task.id]), t.task.id))
    return order[:count]


def rows_digest(rows: Sequence[SftRow]) -> str:
    """Names the content of rows."""
    return digest(list(rows))


def _card(
    recipe: Recipe, tasks: TaskSet, outcomes: Sequence[Outcome], teacher: str, counts: Sequence[FilterCount]
) -> CardFacts:
    return CardFacts(
        recipe=recipe.name,
        teacher=teacher,
        licence=recipe.teacher.licence,
        scorer=recipe.scorer.kind,
        tasks=f"{recipe.tasks.source}, {len(tasks.train):,} tasks",
        seed=recipe.seed,
        attempts=sum(len(o.attempts) for o in outcomes),
        accepted=sum(len(o.kept) for o in outcomes),
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
            file.write((json.dumps(line) + "\n").encode())


def stops(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many tasks stopped for which reason."""
    return {reason.value: sum(o.stop is reason for o in outcomes) for reason in StopReason}
